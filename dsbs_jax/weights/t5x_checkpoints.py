"""Parameters in the checkpoints of this project and of T5X.

Both of T5X's formats keep each parameter as a TensorStore array, and so does Orbax,
which this project's runs are saved by; any part of one is read without the rest, from a
local path or a bucket. The formats are read and written here without T5X.

    run/checkpoints/checkpoint_<step>/params/        Orbax, this project
    checkpoint_<step>/state/                         Orbax, T5X: `target` in its tree
    checkpoint_<step>/checkpoint, target.<name>/     T5X native: a msgpack index
"""

import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath
from flax import serialization, traverse_util

from dsbs_jax.errors import UserError

PREFIX = "checkpoint_"
SCORE = "score"
_NATIVE_VERSION = 3
# T5X's scalable_t5, its layers stacked or not.
_SCALABLE = re.compile(r"(encoder/encoder|decoder/decoder|\w+/layers_\d+/relpos_bias)/")
_MISSING_READS = {"fill_missing_data_reads": False}


class Arrays:
    """Parameters that are TensorStore arrays.

    Attributes:
        where: The checkpoint, for errors.
    """

    def __init__(self, where: str, specs: Mapping[str, dict[str, Any]]) -> None:
        """Opens the arrays, of which only shapes are read.

        Args:
            where: The checkpoint.
            specs: TensorStore's, by parameter.

        Raises:
            UserError: An array is missing or damaged, or they are of T5X's scalable_t5.
        """
        self.where = where
        scalable = next(filter(_SCALABLE.match, specs), None)
        if scalable:
            raise UserError(
                f"{where}: {scalable} is of T5X's scalable_t5, where every layer has a "
                "position bias of its own; expected a student of T5X's examples/t5, "
                "where a stack's layers share one"
            )
        for name in specs:
            if not re.fullmatch(r"\w+(/\w+)*", name):
                raise UserError(f"{where}: {name!r} is no name of a parameter")
        opening = {
            name: tensorstore.open({**spec, **_MISSING_READS}, open=True, read=True)
            for name, spec in specs.items()
        }
        self._arrays = {name: self._result(name, f) for name, f in opening.items()}

    def _result(self, name: str, future: Any) -> Any:
        try:
            return future.result()
        # What TensorStore raises for all that can be wrong with an array.
        except ValueError as error:
            raise UserError(
                f"{self.where}: parameter {name} cannot be read: {reason(error)}"
            ) from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters; no array is read."""
        return {name: tuple(array.shape) for name, array in self._arrays.items()}

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """A parameter or a part of it, float32.

        Raises:
            UserError: A part of the array is missing or damaged, or it holds no floating
                point numbers.
        """
        array = self._arrays[name]
        part = self._result(name, array[tuple(index) or ...].read())
        return _float32(self.where, name, part)


class Stored:
    """Parameters that stand in an index itself, as some of T5X's native ones do."""

    def __init__(self, arrays: Arrays, stored: Mapping[str, np.ndarray]) -> None:
        """Takes those that are arrays of their own, and those that are not."""
        self.where = arrays.where
        self._arrays = arrays
        self._stored = stored

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters; no array is read."""
        stored = {name: array.shape for name, array in self._stored.items()}
        return self._arrays.shapes() | stored

    def read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """A parameter or a part of it, float32."""
        if name in self._stored:
            part = self._stored[name][tuple(index) or ...]
            return _float32(self.where, name, part)
        return self._arrays.read(name, index)


def _float32(where: str, name: str, part: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(part.dtype, jnp.floating):
        raise UserError(
            f"{where}: parameter {name} is of {part.dtype}, expected floating point "
            "numbers"
        )
    return np.asarray(part, np.float32)


def reason(error: Exception) -> str:
    """What TensorStore says, without the settings and source lines it adds."""
    text = re.split(r" \[(tensorstore_spec|source locations)=", str(error))[0]
    return " ".join(text.split())


def find(path: str) -> Arrays | Stored | None:
    """The checkpoint that a path stands for.

    Args:
        path: A checkpoint, a folder of them or a run's: the best by the scores that were
            saved with them, else the newest.

    Returns:
        Its parameters, or None where there is no checkpoint.

    Raises:
        UserError: It is damaged.
    """
    folder = epath.Path(path)
    for candidate in (folder, *_best_of(folder), *_best_of(folder / "checkpoints")):
        if (candidate / "params" / "_METADATA").exists():
            return open_orbax(candidate / "params", ())
        if (candidate / "state" / "_METADATA").exists():
            return open_orbax(candidate / "state", ("target",))
        if (candidate / "checkpoint").exists():
            return open_native(candidate)
    return None


def _best_of(folder: epath.Path) -> list[epath.Path]:
    """The best checkpoint of a folder, as a list of at most one."""
    if not folder.is_dir():
        return []
    steps = [re.fullmatch(rf"{PREFIX}(\d+)", entry.name) for entry in folder.iterdir()]
    ranked = []
    for step in (int(match[1]) for match in steps if match):
        checkpoint = folder / f"{PREFIX}{step}"
        score = saved_score(checkpoint)
        # Of equal scores the earliest, without scores the newest.
        ranked.append((*((0.0, step) if score is None else (score, -step)), checkpoint))
    return [max(ranked)[-1]] if ranked else []


def saved_score(checkpoint: epath.Path) -> float | None:
    """The validation score that was saved with a checkpoint of this project."""
    try:
        return float(json.loads((checkpoint / "metrics/metrics").read_text())[SCORE])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _url(path: epath.Path) -> str:
    """A folder as TensorStore takes it, which reads "%20" in it as a space."""
    text = os.fspath(path)
    text = text if "://" in text else f"file://{os.path.abspath(text)}"
    return urllib.parse.quote(text, safe=":/")


def open_orbax(folder: epath.Path, prefix: tuple[str, ...]) -> Arrays:
    """Opens what Orbax has written.

    Args:
        folder: One item of a checkpoint.
        prefix: Keys in its tree below which the parameters stand.

    Raises:
        UserError: The metadata or an array is missing or damaged.
    """
    path = folder / "_METADATA"
    try:
        metadata = json.loads(path.read_text())
        keys = [
            tuple(str(part["key"]) for part in leaf["key_metadata"])
            for leaf in metadata["tree_metadata"].values()
        ]
        driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
        single = bool(metadata.get("use_ocdbt", True))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UserError(f"{path}: no whole checkpoint metadata: {error}") from error
    specs = {}
    for key in keys:
        if key[: len(prefix)] != prefix:
            continue
        name = ".".join(key)
        store = f"{_url(folder)}/{name}/"
        if single:
            store = {"driver": "ocdbt", "base": f"{_url(folder)}/", "path": f"{name}/"}
        specs["/".join(key[len(prefix) :])] = {"driver": driver, "kvstore": store}
    return Arrays(os.fspath(folder.parent), specs)


def open_native(folder: epath.Path) -> Stored:
    """Opens a checkpoint in T5X's native format.

    Raises:
        UserError: The index or an array is missing or damaged.
    """
    path = folder / "checkpoint"
    try:
        index = serialization.msgpack_restore(path.read_bytes())
        flat = traverse_util.flatten_dict(
            dict(index["optimizer"]["target"]),
            is_leaf=lambda _, value: "driver" in value,
        )
        shapes = {
            key: list(value["metadata"]["shape"])
            for key, value in flat.items()
            if not isinstance(value, np.ndarray)
        }
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        msgpack.UnpackException,
    ) as error:
        # Some of these show the whole index where they show themselves.
        raise UserError(
            f"{path}: no whole index of T5X's: {type(error).__name__} {error}"
        ) from error
    specs, stored = {}, {}
    for key, value in flat.items():
        name = "/".join(map(str, key))
        if isinstance(value, np.ndarray):
            stored[name] = value
        else:
            # Where the index says that the array stands is not believed.
            store = f"{_url(folder)}/target.{'.'.join(map(str, key))}/"
            metadata = {"shape": shapes[key]}
            specs[name] = {"driver": "zarr", "kvstore": store, "metadata": metadata}
    return Stored(Arrays(os.fspath(folder), specs), stored)


def write_native(folder: epath.Path, params: Mapping[str, np.ndarray]) -> None:
    """Writes parameters in T5X's native format, without an optimiser's state.

    Args:
        folder: `checkpoint_<step>`, which does not exist yet.
        params: Float32, by path parted by "/".
    """
    folder.mkdir()
    tree, writing = {}, []
    for name, array in params.items():
        key = tuple(name.split("/"))
        path = f"target.{'.'.join(key)}/"
        metadata = {
            "shape": list(array.shape),
            "chunks": list(array.shape),
            "compressor": {"id": "gzip", "level": 1},
        }
        spec = {"driver": "zarr", "metadata": {**metadata, "dtype": "<f4"}}
        store = tensorstore.open(
            {
                **spec,
                "kvstore": f"{_url(folder)}/{path}",
                "store_data_equal_to_fill_value": True,
            },
            create=True,
        ).result()
        writing.append(store.write(array))
        tree[key] = {
            "driver": "zarr",
            "dtype": "float32",
            "kvstore": {"driver": "file", "path": path},
            "metadata": metadata,
        }
    for future in writing:
        future.result()
    index = {
        "version": _NATIVE_VERSION,
        "optimizer": {
            "target": traverse_util.unflatten_dict(tree),
            "state": {"step": np.int32(0), "param_states": {}},
        },
    }
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(index))


def write_orbax(folder: epath.Path, params: Mapping[str, np.ndarray]) -> None:
    """Writes parameters as T5X does today, without an optimiser's state.

    Args:
        folder: `checkpoint_<step>`, which does not exist yet.
        params: Float32, by path parted by "/".
    """
    tree = traverse_util.unflatten_dict(dict(params), sep="/")
    state = {"target": tree, "state": {"step": np.int32(0), "param_states": {}}}
    with ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(state=ocp.PyTreeCheckpointHandler())
    ) as checkpointer:
        checkpointer.save(
            os.path.abspath(folder),
            args=ocp.args.Composite(state=ocp.args.PyTreeSave(state)),
        )
