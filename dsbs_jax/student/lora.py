"""Low-rank adapters of the weights of products (LoRA).

An adapted product adds a term of low rank to that with the kernel:

    y = x W + scale (x A) B    W [I, O], A [I, rank], B [rank, O], scale = alpha / rank

Source: Hu et al. 2021, arXiv 2106.09685, section 4.1. A and B are next to the kernel in
the parameter tree, as `lora_a` and `lora_b`. The network adds the term if they are
there; `scaled` puts the scale into B, so that the network need not know it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

A, B = "lora_a", "lora_b"
Target = Literal["query", "key", "value", "out", "wi", "wi_0", "wi_1", "wo"]
TARGETS: tuple[Target, ...] = get_args(Target)
_KERNEL = re.compile(r"\w+/layers(?:_\d+)?/\w+/(\w+)/kernel")


def is_adapter(name: str) -> bool:
    """Whether a parameter is a factor of an adapter."""
    return name.endswith((f"/{A}", f"/{B}"))


def module_of(name: str) -> str:
    """Returns the module of a parameter: ".../query/kernel" -> ".../query"."""
    return name.rpartition("/")[0]


def kernels(names: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Returns the kernels of the target products, among the names of parameters."""
    wanted = set(targets)
    found = ((name, _KERNEL.fullmatch(name)) for name in names)
    return [name for name, match in found if match and match[1] in wanted]


def init(shapes: Mapping[str, tuple[int, ...]], key: jax.Array) -> dict[str, jax.Array]:
    """Creates adapters that change nothing: A is random, and B is 0.

    A is uniform in +-1 / sqrt(I), as in the peft library.

    Args:
        shapes: The shapes of the factors, by parameter name.
        key: Key for the random numbers.

    Returns:
        Float32 arrays by parameter name.
    """
    uniform = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return {
        name: jnp.zeros(shape)
        if name.endswith(B)
        else uniform(jax.random.fold_in(key, number), shape)
        for number, (name, shape) in enumerate(sorted(shapes.items()))
    }


def scaled(params: Any, scale: float) -> Any:
    """Multiplies each B of a tree of parameters by the scale."""
    return traverse_util.path_aware_map(
        lambda path, leaf: leaf * scale if path[-1] == B else leaf, params
    )


def merge(kernel: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Adds an adapter to a kernel, or to a part of it: [I, O] -> float32 [I, O]."""
    return kernel + np.float32(scale) * (a @ b)
