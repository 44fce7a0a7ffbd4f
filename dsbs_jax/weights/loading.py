"""Loads the parameters of a checkpoint onto devices."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.student import stacked_layers
from dsbs_jax.weights.reader import Index, ParameterReader, Shape


def check_shapes(
    location: str, stored: Mapping[str, Shape], expected: Mapping[str, Shape]
) -> None:
    """Checks that a checkpoint holds exactly the student's parameters.

    Args:
        location: The checkpoint, for the error message.
        stored: Shapes in the checkpoint, by parameter name.
        expected: Shapes of the student, by parameter name.

    Raises:
        UserError: A parameter differs; the message names it and both shapes.
    """
    for name in sorted(stored.keys() | expected.keys()):
        if stored.get(name) != expected.get(name):
            raise UserError(
                f"{location}: parameter {name} has shape {stored.get(name, 'none')}, "
                f"expected {expected.get(name, 'none')}; the checkpoint holds another "
                "student"
            )


def load_params(reader: ParameterReader, abstract_params: Any) -> Any:
    """Loads a student's parameters; each device reads only its own part.

    Args:
        reader: The checkpoint.
        abstract_params: The parameters' tree, with a `jax.ShapeDtypeStruct` with
            sharding as each leaf; the layers of a stack may be in one array.

    Returns:
        The same tree of float32 arrays, with the shardings of `abstract_params`.

    Raises:
        UserError: The checkpoint holds another student, is damaged, or has values that
            are not finite.
    """
    leaves = traverse_util.flatten_dict(abstract_params, sep="/")
    stored = reader.shapes()
    check_tree(reader, abstract_params)
    # In the reader's order, which is the fastest, except inside a stacked array.
    names = dict.fromkeys(stacked_layers.place(n, leaves)[0] for n in stored)
    params = {name: _load(reader, name, leaves[name]) for name in names}
    return traverse_util.unflatten_dict(params, sep="/")


def check_tree(reader: ParameterReader, abstract_params: Any) -> None:
    """Checks that a checkpoint holds exactly the parameters of a tree.

    Args:
        reader: The checkpoint.
        abstract_params: The tree, as in `load_params`.

    Raises:
        UserError: A parameter differs; the message names it and both shapes.
    """
    leaves = traverse_util.flatten_dict(abstract_params, sep="/")
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    expected = stacked_layers.layer_shapes(shapes)
    check_shapes(reader.location, reader.shapes(), expected)


def check_finite(array: np.ndarray, description: str) -> None:
    """Checks that a parameter has no NaN and no infinity.

    Args:
        array: The parameter or a part of it, of any shape.
        description: What it is, for the error message.

    Raises:
        UserError: A value is not finite.
    """
    # If the sum is finite, all values are. The sum needs no temporary array.
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):
            return
    wrong = array[~np.isfinite(array)]
    if wrong.size:
        raise UserError(
            f"{description} has {wrong.size:,} of {array.size:,} values that are not "
            f"finite (the first is {wrong[0]}), expected finite numbers; the training "
            "or the conversion of these weights failed"
        )


def _load(reader: ParameterReader, name: str, leaf: jax.ShapeDtypeStruct) -> jax.Array:
    def read_layer(name: str, index: Index) -> np.ndarray:
        part = reader.read(name, index)
        check_finite(part, f"{reader.location}: parameter {name}")
        return part

    def read(index: Index | None) -> np.ndarray:
        if not stacked_layers.is_stacked(name):
            return read_layer(name, index or ())
        layers, *rest = index or (slice(None),) * len(leaf.shape)
        numbers = range(*layers.indices(leaf.shape[0]))
        names = [stacked_layers.layer_name(name, i) for i in numbers]
        return np.stack([read_layer(n, tuple(rest)) for n in names])

    return jax.make_array_from_callback(leaf.shape, leaf.sharding, read)
