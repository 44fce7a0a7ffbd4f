"""T5X's native checkpoint format.

    checkpoint_<step>/checkpoint            msgpack: the tree of parameters and state
    checkpoint_<step>/target.<a>.<b>.<c>/   zarr array of the parameter a/b/c

A leaf of the tree is the description of a zarr array, or the array itself: T5X writes
some parameters into the index.
"""

import os
from collections.abc import Mapping
from typing import Any

import msgpack
import msgspec
import numpy as np
from etils import epath
from flax import serialization, traverse_util

from dsbs_jax.errors import UserError, reason
from dsbs_jax.weights import arrays
from dsbs_jax.weights.arrays import ArrayReader
from dsbs_jax.weights.reader import Index, Shape, to_float32

INDEX = "checkpoint"
# The version of the format that T5X writes, and its compression.
_VERSION = 3
_COMPRESSOR = {"id": "gzip", "level": 1}


class NativeReader:
    """Reads parameters that are zarr arrays, or in the index itself.

    Attributes:
        location: The checkpoint, for error messages.
    """

    def __init__(self, files: ArrayReader, inline: Mapping[str, np.ndarray]) -> None:
        """Combines the parameters of the array files and of the index.

        Args:
            files: The parameters that have their own array.
            inline: The parameters in the index, by name.
        """
        self.location = files.location
        self._files = files
        self._inline = inline

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters; reads no array."""
        inline = {name: array.shape for name, array in self._inline.items()}
        return self._files.shapes() | inline

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32."""
        if name not in self._inline:
            return self._files.read(name, index)
        part = self._inline[name][tuple(index) or ...]
        return to_float32(part, f"{self.location}: parameter {name}")


def open_checkpoint(folder: epath.Path) -> NativeReader:
    """Opens a checkpoint in T5X's native format.

    Args:
        folder: `checkpoint_<step>`.

    Raises:
        UserError: The index or an array is missing or damaged.
    """
    inline, specs = {}, {}
    for key, leaf in _read_index(folder / INDEX).items():
        name = "/".join(key)
        if isinstance(leaf, np.ndarray):
            inline[name] = leaf
            continue
        # The index also holds the path of the array. It is not used: it could point to
        # any file, and is wrong after the checkpoint has been moved.
        specs[name] = {
            "driver": "zarr",
            "kvstore": _array_url(folder, key),
            # TensorStore compares this shape with the one of the array.
            "metadata": {"shape": leaf.metadata.shape},
        }
    return NativeReader(ArrayReader(os.fspath(folder), specs), inline)


class _Metadata(msgspec.Struct):
    shape: list[int]


class _ArrayDescription(msgspec.Struct):
    """The part of a zarr array's description that is read."""

    metadata: _Metadata


def _read_index(
    path: epath.Path,
) -> dict[tuple[str, ...], np.ndarray | _ArrayDescription]:
    """Reads the leaves of the tree of parameters, by path."""
    try:
        # Flax and T5X extend msgpack by a type for NumPy arrays.
        index = serialization.msgpack_restore(path.read_bytes())
        leaves = traverse_util.flatten_dict(
            dict(index["optimizer"]["target"]),
            is_leaf=lambda _, value: "driver" in value,
        )
        return {tuple(map(str, key)): _leaf(leaf) for key, leaf in leaves.items()}
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        msgpack.UnpackException,
        msgspec.ValidationError,
    ) as error:
        raise UserError(
            f"{path}: expected the index of a T5X checkpoint, found a damaged file: "
            # The message of some errors is the complete file.
            f"{type(error).__name__} {reason(error):.100}"
        ) from error


def _leaf(leaf: Any) -> np.ndarray | _ArrayDescription:
    if isinstance(leaf, np.ndarray):
        return leaf
    return msgspec.convert(leaf, _ArrayDescription)


def _array_url(folder: epath.Path, key: tuple[str, ...]) -> str:
    return f"{arrays.url(folder)}/target.{'.'.join(key)}/"


def write_checkpoint(folder: epath.Path, params: Mapping[str, np.ndarray]) -> None:
    """Writes parameters in T5X's native format, without an optimizer's state.

    Args:
        folder: `checkpoint_<step>`, which must not exist.
        params: Float32 arrays by parameter name, used one after the other.
    """
    folder.mkdir()
    tree = {}
    for name, array in params.items():
        key = tuple(name.split("/"))
        arrays.write(_array_url(folder, key), array, _COMPRESSOR)
        tree[key] = {
            "driver": "zarr",
            "dtype": "float32",
            "kvstore": {"driver": "file", "path": f"target.{'.'.join(key)}/"},
            "metadata": {
                "shape": list(array.shape),
                "chunks": arrays.chunks(array.shape),
                "compressor": _COMPRESSOR,
            },
        }
    index = {
        "version": _VERSION,
        "optimizer": {
            "target": traverse_util.unflatten_dict(tree),
            "state": {"step": np.int32(0), "param_states": {}},
        },
    }
    # Last, so that a folder with an index is complete.
    (folder / INDEX).write_bytes(serialization.msgpack_serialize(index))
