"""The types that a student computes with.

| precision | factors of products | results of products | residual stream |
| --- | --- | --- | --- |
| float32 | float32 | float32 | float32 |
| mixed, on a CPU | bfloat16 | float32 | float32 |
| mixed, on a GPU or TPU | bfloat16 | bfloat16 | float32 |
| bfloat16 | bfloat16 | bfloat16 | bfloat16 |

Parameters, their gradients, the optimizer's state, norms, softmax and the loss are
float32 in every precision. A CPU that multiplies bfloat16 numbers returns float32 at
least as fast as bfloat16, so that `mixed` rounds the factors only.
"""

import contextlib
import contextvars
import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import jax
from absl import logging

Precision = Literal["float32", "mixed", "bfloat16"]
# Flags of /proc/cpuinfo that name instructions for products of bfloat16 numbers.
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = pathlib.Path("/proc/cpuinfo")
# The first version of jax that multiplies bfloat16 numbers faster than float32 numbers
# on a CPU; version 0.8 does so for some layouts only.
_FIRST_JAX = (0, 9)
# Limits of --xla_cpu_max_isa that still have these instructions.
_ISAS_WITH_BFLOAT16 = frozenset({"AVX512_BF16", "AMX", "AMX_FP16"})


@dataclasses.dataclass(frozen=True)
class ComputeTypes:
    """Types of one precision on one kind of device.

    Attributes:
        factors: Type of the factors of products.
        activations: Type of the results of products and norms.
        residual: Type of the sum over layers.
    """

    factors: str
    activations: str
    residual: str


_FLOAT32 = ComputeTypes("float32", "float32", "float32")
# The platform for which programs are compiled, if it is not that of the default device.
_platform: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "platform", default=None
)


@contextlib.contextmanager
def for_platform(platform: str) -> Iterator[None]:
    """Computes with the types of a platform of which this machine has no device.

    Args:
        platform: "cpu", "gpu" or "tpu".
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def target_platform() -> str:
    """Returns the platform of `for_platform`, or else that of JAX's default device."""
    return _platform.get() or jax.default_backend()


def compute_types(precision: Precision, platform: str | None = None) -> ComputeTypes:
    """Returns the types of a precision.

    Args:
        precision: The precision.
        platform: "cpu", "gpu" or "tpu"; None is `target_platform`.
    """
    if precision == "float32":
        return _FLOAT32
    if precision == "bfloat16":
        return ComputeTypes("bfloat16", "bfloat16", "bfloat16")
    if (platform or target_platform()) != "cpu":
        return ComputeTypes("bfloat16", "bfloat16", "float32")
    if missing := missing_bfloat16(os.environ.get("XLA_FLAGS", "")):
        _note_once(f"PRECISION is 'mixed', but {missing}; float32 is used instead")
        return _FLOAT32
    return ComputeTypes("bfloat16", "float32", "float32")


def missing_bfloat16(xla_flags: str) -> str | None:
    """Returns why this CPU cannot multiply bfloat16 numbers, or None if it can.

    Args:
        xla_flags: The flags of XLA, of which `--xla_cpu_max_isa` limits the
            instructions.
    """
    limit = re.search(r"--xla_cpu_max_isa=(\w+)", xla_flags)
    if limit and limit[1].upper() not in _ISAS_WITH_BFLOAT16:
        return f"XLA_FLAGS limits the instructions to {limit[1]}"
    if jax.__version_info__ < _FIRST_JAX:
        return (
            f"jax {jax.__version__} does not multiply bfloat16 numbers faster than "
            "float32 numbers on a CPU, which needs jax 0.9 or later"
        )
    if not _CPU_FLAGS & _cpu_flags():
        return "this CPU has no instructions for products of bfloat16 numbers"
    return None


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """Reads the flags of the first processor; empty where Linux does not list them."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def round_factors(params: Any, types: ComputeTypes) -> Any:
    """Rounds the weights of products to the type that they are multiplied in.

    Inference does this once. Otherwise each decoded token would read the float32
    weights and round them again. Other parameters stay float32, and so does an
    embedding that is also the output layer.
    """

    def rounded(path: tuple, leaf: jax.Array) -> jax.Array:
        is_kernel = path[-1].key == "kernel" and leaf.dtype != types.factors
        return leaf.astype(types.factors) if is_kernel else leaf

    return jax.tree_util.tree_map_with_path(rounded, params)


@functools.cache
def _note_once(text: str) -> None:
    logging.info("%s", text)
