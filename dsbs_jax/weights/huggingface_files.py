"""The files of a Hugging Face model folder.

Reading a file never executes code from it: safetensors and msgpack files hold only
data, and `pytorch_model.bin`, a pickle, is read by PyTorch's restricted unpickler,
which refuses everything that is not a tensor or a plain container.
"""

import abc
import json
import math
import pathlib
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgpack
import msgspec
import numpy as np
import safetensors
from etils import epath
from flax import serialization, traverse_util
from safetensors.numpy import save_file

from dsbs_jax import files, hub, json_input
from dsbs_jax.errors import UserError, reason
from dsbs_jax.json_input import JsonError
from dsbs_jax.weights import huggingface_names
from dsbs_jax.weights.reader import Index, Shape

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
SENTENCEPIECE = "spiece.model"
# The file of a tokenizer, in one of two formats.
TOKENIZERS = (SENTENCEPIECE, "tokenizer.json")
_INDEX = ".index.json"
# Floating point types of safetensors files that NumPy can read.
_FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
T = TypeVar("T")


class TensorFiles(abc.ABC):
    """The tensors of a model in one format, in one or several files.

    Attributes:
        file_name: Name of the file of a model that is in one file.
    """

    file_name: ClassVar[str]

    def __init__(
        self, paths: Sequence[pathlib.Path], listed: Mapping[str, str] | None = None
    ) -> None:
        """Opens the files.

        Args:
            paths: The files.
            listed: The name of each tensor's file by the index; None without an index.

        Raises:
            UserError: A file is damaged or incomplete, or two files have a tensor of
                the same name.
        """
        self._listed = listed or {}
        self._paths: dict[str, pathlib.Path] = {}
        for path in paths:
            for name in self._open(path):
                if name in self._paths:
                    raise UserError(
                        f"{path}: tensor {name} is also in {self._paths[name].name}, "
                        "expected each tensor in one file"
                    )
                self._paths[name] = path

    @abc.abstractmethod
    def _open(self, path: pathlib.Path) -> Iterable[str]:
        """Opens one file and returns the names of its tensors.

        Raises:
            UserError: The file is damaged or incomplete.
        """

    @abc.abstractmethod
    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all tensors, by their keys in the state dict."""

    @abc.abstractmethod
    def read(self, name: str, index: Index) -> np.ndarray:
        """Reads the part of a tensor at `index`, in the file's type."""

    def place(self, name: str) -> str:
        """Returns the name of a tensor's file, for error messages."""
        return self._paths[name].name

    def listed_place(self, name: str) -> str | None:
        """Returns the name of a tensor's file by the index; None if it has no entry."""
        return self._listed.get(name)


class SafetensorsFiles(TensorFiles):
    """`model.safetensors`: a part of a tensor is read without the rest of the file."""

    file_name = "model.safetensors"

    def __init__(
        self, paths: Sequence[pathlib.Path], listed: Mapping[str, str] | None = None
    ) -> None:
        """Opens the files."""
        self._slices: dict[str, Any] = {}
        # A slice reads from its file, which must stay open.
        self._files: list[Any] = []
        super().__init__(paths, listed)

    def _open(self, path: pathlib.Path) -> Iterable[str]:
        try:
            # safetensors itself calls each file that it cannot open missing.
            path.open("rb").close()
            file = safetensors.safe_open(path, framework="numpy")
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: expected a complete safetensors file: {reason(error)}"
            ) from None
        self._files.append(file)
        names: list[str] = file.keys()
        self._slices.update({name: file.get_slice(name) for name in names})
        return names

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all tensors."""
        return {key: tuple(part.get_shape()) for key, part in self._slices.items()}

    def read(self, name: str, index: Index) -> np.ndarray:
        """Reads the part of a tensor at `index`.

        Raises:
            UserError: The type of the tensor is not one of _FLOAT_TYPES.
        """
        part = self._slices[name]
        found = part.get_dtype()
        if found not in _FLOAT_TYPES:
            expected = ", ".join(_FLOAT_TYPES)
            raise UserError(
                f"{self._paths[name]}: tensor {name} has type {found}, expected one of "
                f"{expected}"
            )
        return part[index or ...]


class MsgpackFiles(TensorFiles):
    """`flax_model.msgpack`: the file of Transformers' former Flax classes.

    All tensors are read at once. Kernels are [in, out], and are transposed to the state
    dict's [out, in].
    """

    file_name = "flax_model.msgpack"

    def __init__(
        self, paths: Sequence[pathlib.Path], listed: Mapping[str, str] | None = None
    ) -> None:
        """Reads the files; the index has Flax's names, which are not used."""
        self._arrays: dict[str, np.ndarray] = {}
        super().__init__(paths)

    def _open(self, path: pathlib.Path) -> Iterable[str]:
        names = []
        for key, array in _read_msgpack(path).items():
            if not isinstance(array, np.ndarray):
                raise UserError(
                    f"{path}: {'.'.join(key)} is a {type(array).__name__}, "
                    "expected an array"
                )
            tensor = huggingface_names.from_flax_name(key)
            self._arrays[tensor.name] = array.T if tensor.transposed else array
            names.append(tensor.name)
        return names

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all tensors."""
        return {key: array.shape for key, array in self._arrays.items()}

    def read(self, name: str, index: Index) -> np.ndarray:
        """Reads the part of a tensor at `index`."""
        return self._arrays[name][index or ...]


def _read_msgpack(path: pathlib.Path) -> dict[tuple[str, ...], Any]:
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        leaves = traverse_util.flatten_dict(tree)
    except (msgpack.UnpackException, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: expected a complete msgpack file: {error}") from error
    return {tuple(map(str, key)): leaf for key, leaf in leaves.items()}


class TorchFiles(TensorFiles):
    """`pytorch_model.bin`, which needs PyTorch (the extra `hf`).

    Tensors stay on disk until they are used, where possible.
    """

    file_name = "pytorch_model.bin"

    def __init__(
        self, paths: Sequence[pathlib.Path], listed: Mapping[str, str] | None = None
    ) -> None:
        """Opens the files."""
        self._tensors: dict[str, Any] = {}
        super().__init__(paths, listed)

    def _open(self, path: pathlib.Path) -> Iterable[str]:
        try:
            import torch
        except ImportError as error:
            raise UserError(
                f"{path}: PyTorch is needed to read it: pip install 'dsbs-jax[hf]'"
            ) from error
        names = []
        for key, tensor in _read_torch(path).items():
            if not isinstance(tensor, torch.Tensor):
                raise UserError(
                    f"{path}: {key} is a {type(tensor).__name__}, expected a tensor"
                )
            if tensor.layout != torch.strided or tensor.is_quantized:
                raise UserError(
                    f"{path}: {key} is a sparse or quantized tensor, expected a dense "
                    "tensor of floating point numbers"
                )
            self._tensors[str(key)] = tensor
            names.append(str(key))
        return names

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all tensors."""
        return {key: tuple(t.shape) for key, t in self._tensors.items()}

    def read(self, name: str, index: Index) -> np.ndarray:
        """Reads the part of a tensor at `index`."""
        part = self._tensors[name][index or ...]
        # NumPy has no bfloat16 for PyTorch to convert to.
        return part.float().numpy() if part.is_floating_point() else part.numpy()


def _read_torch(path: pathlib.Path) -> dict[Any, Any]:
    """Reads a state dict with PyTorch's restricted unpickler."""
    import torch

    # Only files of PyTorch 1.6 and later, which are zip files, can be mapped to memory.
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{path}: expected a complete file that holds only weights: {reason(error)}"
        ) from error
    if not isinstance(state, dict):
        raise UserError(
            f"{path}: holds a {type(state).__name__}, expected a state dict"
        )
    return state


# In the order of preference. The first is read in parts, the last needs PyTorch.
FORMATS: tuple[type[TensorFiles], ...] = (SafetensorsFiles, MsgpackFiles, TorchFiles)


def is_model_folder(path: epath.Path | pathlib.Path) -> bool:
    """Whether a folder is a Hugging Face model."""
    return (path / CONFIG).is_file()


def open_tensors(folder: pathlib.Path) -> TensorFiles:
    """Opens a model folder's tensors, in one file or several.

    Raises:
        UserError: The folder has no tensors; a file is missing, damaged or incomplete;
            or two files have a tensor of the same name.
    """
    for tensor_format in FORMATS:
        name = tensor_format.file_name
        if (folder / name).is_file():
            return tensor_format([folder / name])
        if (folder / (name + _INDEX)).is_file():
            listed = _read_index(folder / (name + _INDEX))
            paths = [folder / file for file in sorted(set(listed.values()))]
            return tensor_format(paths, listed)
    names = ", ".join(tensor_format.file_name for tensor_format in FORMATS)
    raise UserError(f"{folder}: expected {names} or an index of one, found none")


class _ShardIndex(msgspec.Struct):
    """`<file>.index.json` of a model in several files: the file of each tensor."""

    weight_map: dict[str, str]


def _read_index(path: pathlib.Path) -> dict[str, str]:
    """Reads the file of each tensor, and checks that the files exist.

    Raises:
        UserError: The index is damaged, or a file is missing or outside of the folder.
    """
    listed = _read_json(path, _ShardIndex).weight_map
    if not listed:
        raise UserError(
            f"{path}: weight_map is empty, expected the file of each tensor"
        )
    for name in sorted(set(listed.values())):
        # The index comes with the model: its paths must not lead out of the folder.
        if pathlib.PurePath(name).name != name:
            raise UserError(f"{path}: {name!r} is not the name of a file in the folder")
        if not (path.parent / name).is_file():
            raise UserError(
                f"{path}: the file {name!r} is missing; download or copy it to the "
                "same folder"
            )
    return listed


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """Reads a model folder's `config.json`.

    Raises:
        UserError: The file is missing or is not a JSON object.
    """
    return _read_json(folder / CONFIG, dict[str, Any])


def _read_json(path: pathlib.Path, expected: type[T]) -> T:
    try:
        return json_input.parse(path.read_bytes(), expected)
    except (OSError, JsonError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def download(address: str) -> pathlib.Path:
    """Downloads a model's configuration, and its tensors in the most preferred format.

    Args:
        address: `hub:<repository id>`.

    Returns:
        The model folder in the local cache.

    Raises:
        UserError: The repository does not exist or cannot be reached.
    """
    for tensor_format in FORMATS:
        name = pathlib.PurePath(tensor_format.file_name)
        shards = f"{name.stem}*{name.suffix}"
        folder = hub.download_files(address, ["*.json", SENTENCEPIECE, shards])
        if any((folder / f"{name}{end}").is_file() for end in ("", _INDEX)):
            break
    return folder


def write(
    folder: pathlib.Path,
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    tensors: Mapping[str, Shape],
    read: Callable[[str], np.ndarray],
    shard_bytes: int,
) -> None:
    """Writes configuration and tensors into an empty folder.

    Args:
        folder: The model folder.
        config: Content of `config.json`.
        generation_config: Content of `generation_config.json`.
        tensors: The shapes of the tensors by their keys in the state dict, in the order
            in which they are read.
        read: Returns a tensor, float32. At most the tensors of one file are in memory.
        shard_bytes: Size from which the tensors are written to several files.
    """
    for name, values in ((CONFIG, config), (GENERATION_CONFIG, generation_config)):
        _write_json(folder / name, values)
    file_name = SafetensorsFiles.file_name
    shards = _split(tensors, shard_bytes)
    if len(shards) == 1:
        write_tensors(folder / file_name, shards[0], read)
        return
    stem, suffix = file_name.split(".")
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        name = f"{stem}-{number:05}-of-{len(shards):05}.{suffix}"
        write_tensors(folder / name, shard, read)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(map(_size, tensors.values()))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / (file_name + _INDEX), index)


def _write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _size(shape: Shape) -> int:
    """Returns the size of a float32 array in bytes."""
    return 4 * math.prod(shape)


def _split(tensors: Mapping[str, Shape], shard_bytes: int) -> list[list[str]]:
    """Splits the tensors into files, in their order.

    A file has at most `shard_bytes`, unless it has only one tensor.
    """
    shards: list[list[str]] = [[]]
    used = 0
    for name, shape in tensors.items():
        size = _size(shape)
        if shards[-1] and used + size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def write_tensors(
    path: pathlib.Path, names: Iterable[str], read: Callable[[str], np.ndarray]
) -> None:
    """Writes arrays to a safetensors file.

    Args:
        path: The file.
        names: The keys of the arrays.
        read: Returns an array by its key, float32.
    """
    # save_file writes an array's memory: it would store a transposed view wrongly.
    arrays = {name: np.ascontiguousarray(read(name)) for name in names}
    # Transformers expects this entry.
    save_file(arrays, path, metadata={"format": "pt"})
    # Newer versions of safetensors write files that only their owner can read.
    path.chmod(files.default_mode())
