"""Reading and writing the files of a Hugging Face model folder.

Nothing in a file is ever executed: safetensors and msgpack hold data alone, and
`pytorch_model.bin`, a pickle, is read by PyTorch's restricted unpickler.
"""

import json
import pathlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import huggingface_hub
import msgpack
import numpy as np
import safetensors
from flax import serialization, traverse_util
from safetensors.numpy import save_file

from dsbs_jax.errors import UserError
from dsbs_jax.weights import huggingface_names as huggingface

HUB = "hub:"
CONFIG = "config.json"
_INDEX = ".index.json"
Index = tuple[slice, ...]


class Container(Protocol):
    """The tensors of one or more files, by their names in the state dict."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors."""

    def read(self, name: str, index: Index) -> np.ndarray:
        """A part of a tensor, in the file's dtype."""


class Safetensors:
    """`model.safetensors`: parts of tensors are read without the rest."""

    name = "model.safetensors"

    def __init__(self, paths: list[pathlib.Path]) -> None:
        """Opens the files.

        Raises:
            UserError: One of them is cut short or damaged.
        """
        self._slices = {}
        self._files = []
        for path in paths:
            try:
                file = safetensors.safe_open(path, framework="numpy")
            except (safetensors.SafetensorError, OSError) as error:
                raise UserError(f"{path}: no whole safetensors file: {error}") from None
            self._files.append(file)
            self._slices.update({key: file.get_slice(key) for key in file.keys()})  # noqa: SIM118

    def shapes(self) -> dict[str, tuple[int, ...]]:  # noqa: D102
        return {key: tuple(part.get_shape()) for key, part in self._slices.items()}

    def read(self, name: str, index: Index) -> np.ndarray:  # noqa: D102
        return self._slices[name][index or ...]


class Msgpack:
    """`flax_model.msgpack`, whose linear layers are the other way round."""

    name = "flax_model.msgpack"

    def __init__(self, paths: list[pathlib.Path]) -> None:
        """Reads the files.

        Raises:
            UserError: One of them is cut short or damaged.
        """
        self._arrays = {}
        for path in paths:
            try:
                tree = serialization.msgpack_restore(path.read_bytes())
                flat = traverse_util.flatten_dict(tree)
            except (msgpack.UnpackException, ValueError, TypeError, KeyError) as error:
                raise UserError(f"{path}: no whole msgpack file: {error}") from error
            for key, array in flat.items():
                if not isinstance(array, np.ndarray):
                    raise UserError(
                        f"{path}: {'.'.join(map(str, key))} is a "
                        f"{type(array).__name__}, expected an array"
                    )
                name, transposed = huggingface.from_flax_name(tuple(map(str, key)))
                self._arrays[name] = array.T if transposed else array

    def shapes(self) -> dict[str, tuple[int, ...]]:  # noqa: D102
        return {key: array.shape for key, array in self._arrays.items()}

    def read(self, name: str, index: Index) -> np.ndarray:  # noqa: D102
        return self._arrays[name][index or ...]


class Torch:
    """`pytorch_model.bin`; needs the extra `hf`."""

    name = "pytorch_model.bin"

    def __init__(self, paths: list[pathlib.Path]) -> None:
        """Reads the files, weights only.

        Raises:
            UserError: One of them is damaged or holds more than weights, or PyTorch is
                not installed.
        """
        try:
            import torch
        except ImportError as error:
            raise UserError(
                f"{paths[0]}: reading it needs PyTorch: pip install 'dsbs-jax[hf]'"
            ) from error
        self._tensors = {}
        for path in paths:
            try:
                # Old files are no zip, and cannot be mapped.
                mapped = path.read_bytes()[:2] == b"PK"
                found = torch.load(
                    path, map_location="cpu", weights_only=True, mmap=mapped
                )
            except (
                pickle.UnpicklingError,
                RuntimeError,
                EOFError,
                ValueError,
                KeyError,
                AttributeError,
            ) as error:
                reason = str(error).strip().partition("\n")[0]
                raise UserError(
                    f"{path}: expected a file of weights alone: {reason}"
                ) from error
            if not isinstance(found, dict):
                raise UserError(
                    f"{path}: holds a {type(found).__name__}, expected a state dict"
                )
            for key, tensor in found.items():
                if not isinstance(tensor, torch.Tensor):
                    raise UserError(
                        f"{path}: {key} is a {type(tensor).__name__}, expected a tensor"
                    )
                self._tensors[str(key)] = tensor

    def shapes(self) -> dict[str, tuple[int, ...]]:  # noqa: D102
        return {key: tuple(t.shape) for key, t in self._tensors.items()}

    def read(self, name: str, index: Index) -> np.ndarray:  # noqa: D102
        part = self._tensors[name][index or ...]
        return part.float().numpy() if part.is_floating_point() else part.numpy()


# In the order of preference: what needs PyTorch comes last.
CONTAINERS: tuple[Callable[[list[pathlib.Path]], Container], ...] = (
    Safetensors,
    Msgpack,
    Torch,
)


def is_folder(path: pathlib.Path) -> bool:
    """Whether a folder is a Hugging Face model."""
    return (path / CONFIG).is_file()


def open_container(folder: pathlib.Path) -> Container:
    """Opens a model folder's weights, sharded or not.

    Raises:
        UserError: There are none, or a file is missing, cut short or damaged.
    """
    for container in CONTAINERS:
        paths = list(_paths(folder, container.name))
        if paths:
            return container(paths)
    names = ", ".join(container.name for container in CONTAINERS)
    raise UserError(f"{folder}: expected {names} or an index of one, found none")


def _paths(folder: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    if (folder / name).is_file():
        yield folder / name
        return
    index = folder / (name + _INDEX)
    if not index.is_file():
        return
    parts = read_json(index).get("weight_map")
    if not isinstance(parts, dict) or not all(
        isinstance(part, str) for part in parts.values()
    ):
        raise UserError(f"{index}: weight_map is no object of file names")
    for part in sorted(set(parts.values())):
        if pathlib.PurePath(part).name != part:
            raise UserError(f"{index}: {part!r} is no name of a file in the folder")
        if not (folder / part).is_file():
            raise UserError(f"{index}: names {part!r}, which is missing")
        yield folder / part


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: It is missing or no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds a {type(values).__name__}, expected an object")
    return values


def download(repository: str) -> pathlib.Path:
    """Gets a model's configuration and weights from the hub, or from its cache.

    Raises:
        UserError: The repository is unknown or cannot be reached.
    """
    folder = None
    for container in CONTAINERS:
        stem = pathlib.PurePath(container.name)
        patterns = ["*.json", "spiece.model", f"{stem.stem}*{stem.suffix}"]
        try:
            folder = huggingface_hub.snapshot_download(
                repository, allow_patterns=patterns
            )
        # Network trouble or an unknown repository; a malformed id.
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"{HUB}{repository}: {reason}") from error
        if list(_paths(pathlib.Path(folder), container.name)):
            break
    return pathlib.Path(folder)


def write(folder: pathlib.Path, config: Mapping, tensors: Mapping) -> None:
    """Writes configuration and weights into an empty folder.

    Args:
        folder: Where to.
        config: Of `config.json`.
        tensors: Float32 arrays by their names in the state dict.
    """
    for name, values in (
        (CONFIG, config),
        ("generation_config.json", huggingface.generation_config()),
    ):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n")
    contiguous = {key: np.ascontiguousarray(t) for key, t in tensors.items()}
    save_file(contiguous, folder / Safetensors.name, metadata={"format": "pt"})
