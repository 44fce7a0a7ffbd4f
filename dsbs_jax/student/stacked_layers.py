"""The parameters of all layers of a stack in one array, for a network that scans them.

    encoder/layers_0/mlp/wo/kernel [F, D], encoder/layers_1/mlp/wo/kernel [F, D], …
    <-> encoder/layers/mlp/wo/kernel [L, F, D]

The state of a training with SCAN_LAYERS has stacked arrays, so that a step does not
copy the parameters to stack them. Checkpoints of all formats are read and written by
the names of the layers.
"""

import re
from collections.abc import Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

# The key of the stacked arrays in the tree of a stack.
STACKED = "layers"
_OF_LAYER = re.compile(rf"((?:encoder|decoder)/{STACKED})_(\d+)(/.+)")
_OF_LAYERS = re.compile(rf"((?:encoder|decoder)/{STACKED})(/.+)")


def is_stacked(name: str) -> bool:
    """Whether a parameter is an array of all layers of a stack."""
    return _OF_LAYERS.fullmatch(name) is not None


def layer_name(name: str, layer: int) -> str:
    """Returns the name of a layer's part of a stacked array.

    ("encoder/layers/mlp/wo/kernel", 3) -> "encoder/layers_3/mlp/wo/kernel"
    """
    match = _OF_LAYERS.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a stacked array")
    return f"{match[1]}_{layer}{match[2]}"


def place(name: str, arrays: Container[str]) -> tuple[str, int | None]:
    """Returns which of the arrays holds a parameter, and the layer in a stacked array.

    "encoder/layers_3/mlp/wo/kernel" -> ("encoder/layers/mlp/wo/kernel", 3)
    """
    match = None if name in arrays else _OF_LAYER.fullmatch(name)
    return (f"{match[1]}{match[3]}", int(match[2])) if match else (name, None)


def layer_shapes(
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes by the names of the layers, for arrays of either layout."""
    split: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if is_stacked(name):
            split |= {layer_name(name, i): shape[1:] for i in range(shape[0])}
        else:
            split[name] = shape
    return split


def stack_abstract(tree: Any) -> Any:
    """Stacks shapes, dtypes and shardings of a tree of parameters."""

    def stacked(leaves: list[jax.ShapeDtypeStruct]) -> jax.ShapeDtypeStruct:
        first = leaves[0]
        sharding: Any = NamedSharding(
            first.sharding.mesh, PartitionSpec(None, *first.sharding.spec)
        )
        return jax.ShapeDtypeStruct(
            (len(leaves), *first.shape), first.dtype, sharding=sharding
        )

    flat = _flat(tree)
    return _tree({n: stacked(v) if is_stacked(n) else v[0] for n, v in _groups(flat)})


def unstack(tree: Any) -> Any:
    """Returns a tree of parameters with each layer apart; the layers are copied.

    A tree without stacked arrays is returned unchanged.
    """
    return _unstack(tree) if any(map(is_stacked, _flat(tree))) else tree


@jax.jit
def _unstack(tree: Any) -> Any:
    apart: dict[str, jax.Array] = {}
    for name, array in _flat(tree).items():
        if is_stacked(name):
            apart |= {layer_name(name, i): array[i] for i in range(array.shape[0])}
        else:
            apart[name] = array
    return _tree(apart)


def convert(tree: Any, like: Any) -> Any:
    """Gives the arrays of a state the layout of another state, stacked or not.

    Args:
        tree: Parameters, or the state of an optimizer, whose dictionaries are trees
            like the parameters.
        like: The same with the wanted layout, real or abstract.
    """

    def converted(part: Any, wanted: Any) -> Any:
        if not isinstance(part, dict):
            return part
        flat = _flat(part)
        groups = dict(_groups(flat))
        return _tree(
            {n: _converted(n, w, flat, groups) for n, w in _flat(wanted).items()}
        )

    return jax.tree.map(converted, tree, like, is_leaf=lambda n: isinstance(n, dict))


def _converted(
    name: str,
    wanted: Any,
    flat: Mapping[str, Any],
    groups: Mapping[str, list[Any]],
) -> Any:
    """Returns one array of the wanted layout.

    An array that an optimizer has in place of one that it does not need has the same
    shape in both layouts.
    """
    if is_stacked(name) and name not in flat:
        layers = groups[name]
        return layers[0] if layers[0].shape == wanted.shape else jnp.stack(layers)
    stored, layer = place(name, flat)
    array = flat[stored]
    return array if layer is None or array.shape == wanted.shape else array[layer]


def _groups(flat: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """Groups the layers' arrays under the name of the stacked array, in order."""
    groups: dict[str, dict[int, Any]] = {}
    for name, array in flat.items():
        stacked, layer = place(name, ())
        groups.setdefault(stacked, {})[layer or 0] = array
    return [(n, [layers[i] for i in sorted(layers)]) for n, layers in groups.items()]


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _tree(flat: Mapping[str, Any]) -> Any:
    return traverse_util.unflatten_dict(dict(flat), sep="/")
