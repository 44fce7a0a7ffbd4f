"""A student as two StableHLO programs, for programs that do not install dsbs_jax.

encode.stablehlo        (parameters, tokens int32 [B, S]) -> cache
decode_step.stablehlo   (parameters, tokens int32 [B], cache, position int32)
                        -> (logits float32 [B, V], cache)
params.safetensors      the parameters, float32 by name
programs.json           S, T and the platforms

`jax.export.deserialize` reads a program. B is any number. S is fixed, because the
relative positions are constants of the program; 0 pads the tokens. The cache is a list
of arrays for T positions.
"""

import functools
import json
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export
from safetensors.numpy import save_file

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Cache, Transformer

# The programs, in the folder of an exported student.
MODEL_FOLDER = "stablehlo"
ENCODE, DECODE_STEP = "encode.stablehlo", "decode_step.stablehlo"
PARAMS, PROGRAMS = "params.safetensors", "programs.json"
Platform = Literal["cpu", "cuda", "rocm", "tpu"]
PLATFORMS: tuple[Platform, ...] = typing.get_args(Platform)

_Params = Mapping[str, jax.Array]


def write_model(
    folder: pathlib.Path,
    params: Mapping[str, np.ndarray],
    student: T5Config,
    input_length: int,
    max_length: int,
    platforms: Sequence[str],
) -> None:
    """Creates a folder with the programs and the parameters.

    Args:
        folder: The folder; it must not exist.
        params: Float32 arrays by parameter name.
        student: The student.
        input_length: S, tokens of an input.
        max_length: T, tokens of an answer.
        platforms: Some of `PLATFORMS`, for which the programs are lowered. No device of
            the platform is needed.
    """
    model = Transformer(student)
    weights = {
        name: jax.ShapeDtypeStruct(value.shape, jnp.float32)
        for name, value in params.items()
    }
    (batch,) = export.symbolic_shape("b")
    inputs = jax.ShapeDtypeStruct((batch, input_length), jnp.int32)
    cache = jax.eval_shape(
        functools.partial(_start, model, max_length), weights, inputs
    )
    tree = jax.tree.structure(cache)

    def encode(params: _Params, tokens: jax.Array) -> list[jax.Array]:
        return jax.tree.leaves(_start(model, max_length, params, tokens))

    def decode_step(
        params: _Params, tokens: jax.Array, leaves: list[jax.Array], position: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        logits, cache = model.apply(
            {"params": _tree(params)},
            tokens,
            jax.tree.unflatten(tree, leaves),
            position,
            method=Transformer.decode_step,
        )
        return cast(jax.Array, logits), jax.tree.leaves(cache)

    lower = functools.partial(export.export, platforms=tuple(platforms))
    programs = {
        ENCODE: lower(jax.jit(encode))(weights, inputs),
        DECODE_STEP: lower(jax.jit(decode_step))(
            weights,
            jax.ShapeDtypeStruct((batch,), jnp.int32),
            jax.tree.leaves(cache),
            jax.ShapeDtypeStruct((), jnp.int32),
        ),
    }
    folder.mkdir()
    for name, program in programs.items():
        (folder / name).write_bytes(program.serialize())
    # safetensors writes the memory of an array, so it must be contiguous.
    arrays = {name: np.ascontiguousarray(value) for name, value in params.items()}
    save_file(arrays, folder / PARAMS)
    facts = {
        "input_length": input_length,
        "max_length": max_length,
        "platforms": list(platforms),
    }
    (folder / PROGRAMS).write_text(json.dumps(facts, indent=2) + "\n")


def check_platforms(platforms: Sequence[str]) -> None:
    """Checks names of platforms.

    Raises:
        UserError: The list is empty, or a platform is not known.
    """
    wrong = next((name for name in platforms if name not in PLATFORMS), None)
    if wrong is not None or not platforms:
        raise UserError(
            f"platforms is {','.join(platforms)!r}, expected some of "
            f"{', '.join(PLATFORMS)}"
        )


def _start(
    model: Transformer, max_length: int, params: _Params, tokens: jax.Array
) -> Cache:
    cache = model.apply(
        {"params": _tree(params)}, tokens, max_length, method=Transformer.start_decoding
    )
    # `apply` returns what the method returns, but Flax types it as variables.
    return cast(Cache, cache)


def _tree(params: _Params) -> Any:
    return traverse_util.unflatten_dict(dict(params), sep="/")
