"""Parameters in Orbax checkpoints, of this project and of T5X.

An item of a checkpoint is a folder with `_METADATA`, which lists the leaves of a tree,
and one zarr array for each leaf. The arrays are folders, or all in one OCDBT store: a
database of TensorStore that keeps many arrays in few files.

The arrays are opened with TensorStore, as those of T5X's native format. Orbax itself
restores complete arrays of a tree, and cannot read a part of one parameter by name.
"""

import os
import pathlib
from collections.abc import Mapping

import msgspec
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from dsbs_jax import json_input
from dsbs_jax.errors import UserError, reason
from dsbs_jax.json_input import JsonError
from dsbs_jax.weights import arrays, failed_writes
from dsbs_jax.weights.arrays import ArrayReader

METADATA = "_METADATA"
# Orbax's own compression.
_COMPRESSOR = {"id": "zstd", "level": 1}


class _Key(msgspec.Struct):
    key: str | int


class _Leaf(msgspec.Struct):
    key_metadata: list[_Key]


class _Metadata(msgspec.Struct):
    """The part of `_METADATA` that is read."""

    tree_metadata: dict[str, _Leaf]
    use_zarr3: bool | None = False
    use_ocdbt: bool | None = True


def open_item(folder: epath.Path, prefix: tuple[str, ...]) -> ArrayReader:
    """Opens one item of a checkpoint.

    Args:
        folder: The item's folder.
        prefix: Keys of the parameters' subtree; other leaves are ignored.

    Raises:
        UserError: The metadata or an array is missing or damaged.
    """
    metadata = _read_metadata(folder / METADATA)
    driver = "zarr3" if metadata.use_zarr3 else "zarr"
    specs = {}
    for leaf in metadata.tree_metadata.values():
        key = tuple(str(part.key) for part in leaf.key_metadata)
        if key[: len(prefix)] == prefix:
            store = _store(folder, ".".join(key), bool(metadata.use_ocdbt))
            specs["/".join(key[len(prefix) :])] = {"driver": driver, "kvstore": store}
    return ArrayReader(os.fspath(folder.parent), specs)


def _read_metadata(path: epath.Path) -> _Metadata:
    try:
        return json_input.parse(path.read_bytes(), _Metadata)
    except (OSError, JsonError) as error:
        raise UserError(
            f"{path}: expected the metadata of an Orbax checkpoint, found a damaged "
            f"file: {reason(error)}"
        ) from error


def _store(folder: epath.Path, name: str, in_ocdbt: bool) -> str | dict[str, str]:
    """Returns TensorStore's address of one array."""
    base = f"{arrays.url(folder)}/"
    if in_ocdbt:
        return {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    return f"{base}{name}/"


def write_checkpoint(folder: epath.Path, params: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint as T5X's Orbax format, without an optimizer's state.

    Orbax takes all arrays of a tree at once, and copies each. Therefore it writes the
    tree with an array of one number for each parameter, and TensorStore then replaces
    them, one after the other.

    Args:
        folder: `checkpoint_<step>`, which must not exist.
        params: Float32 arrays by parameter name, used one after the other.
    """
    tree = traverse_util.unflatten_dict(
        {name: np.zeros(1, np.float32) for name in params}, sep="/"
    )
    state = {"target": tree, "state": {"step": np.int32(0), "param_states": {}}}
    with (
        failed_writes.without_library_messages(pathlib.Path(folder)),
        ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(state=ocp.PyTreeCheckpointHandler())
        ) as checkpointer,
    ):
        checkpointer.save(
            os.path.abspath(folder),
            args=ocp.args.Composite(state=ocp.args.PyTreeSave(state)),
        )
        for name, array in params.items():
            key = ".".join(("target", *name.split("/")))
            store = _store(folder / "state", key, in_ocdbt=True)
            arrays.write(store, array, _COMPRESSOR)
