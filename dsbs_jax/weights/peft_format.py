"""Adapters in the format of Hugging Face's library PEFT.

adapter_config.json          rank, alpha, target modules, name of the base model
adapter_model.safetensors    base_model.model.<module>.lora_A.weight [rank, I]
base_model.model.<module>.lora_B.weight [O, rank]
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from dsbs_jax import hub, json_input
from dsbs_jax.errors import UserError, reason
from dsbs_jax.json_input import JsonError
from dsbs_jax.settings import PositiveFloat, PositiveInt
from dsbs_jax.student import lora
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_files, huggingface_names
from dsbs_jax.weights.huggingface_files import SafetensorsFiles
from dsbs_jax.weights.huggingface_reader import HuggingFaceReader
from dsbs_jax.weights.overlay import Arrays, OverlayReader
from dsbs_jax.weights.reader import to_float32

CONFIG = "adapter_config.json"
_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTORS = {lora.A: "lora_A", lora.B: "lora_B"}
# What plain LoRA has in fields of `adapter_config.json`.
_REQUIRED = {
    "fan_in_fan_out": "false",
    "use_dora": "false",
    "modules_to_save": "none",
    "rank_pattern": "none",
    "alpha_pattern": "none",
}


class _ConfigFile(msgspec.Struct):
    """The fields of `adapter_config.json` that are read; other values are refused."""

    base_model_name_or_path: str
    peft_type: Literal["LORA"]
    r: PositiveInt
    lora_alpha: PositiveFloat
    bias: Literal["none"] = "none"
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None


def is_adapter_folder(folder: pathlib.Path) -> bool:
    """Whether a folder holds adapters of PEFT."""
    return (folder / CONFIG).is_file()


def open_adapters(
    folder: pathlib.Path, open_base: Callable[[str], Any]
) -> OverlayReader:
    """Opens adapters over the weights of their base model.

    Args:
        folder: The folder.
        open_base: Opens the base model by its path or "hub:" and its repository.

    Raises:
        UserError: A file is missing or damaged, the adapters are not plain LoRA, or
            they do not fit the base model.
    """
    path = folder / CONFIG
    try:
        config = json_input.parse(path.read_bytes(), _ConfigFile)
    except (OSError, JsonError) as error:
        raise UserError(
            f"{path}: cannot be read as plain LoRA: {reason(error)}"
        ) from error
    for name, expected in _REQUIRED.items():
        if value := getattr(config, name):
            raise UserError(f"{path}: {name} is {value!r}, expected {expected}")
    base_name = config.base_model_name_or_path
    is_local = pathlib.Path(base_name).is_dir()
    base = open_base(base_name if is_local else f"{hub.PREFIX}{base_name}")
    if not isinstance(base, HuggingFaceReader):
        raise UserError(f"{path}: base model {base_name} is not a Hugging Face model")
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    arrays = _read_arrays(folder / _FILE, base.config, config.r)
    return OverlayReader(base, Arrays(str(folder), arrays), scale, base_name)


def _read_arrays(
    path: pathlib.Path, student: T5Config, rank: int
) -> dict[str, np.ndarray]:
    """Reads the factors by the student's names, transposed to [I, rank], [rank, O].

    Raises:
        UserError: A tensor is not of the student, or has another rank.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected the adapters")
    tensors = SafetensorsFiles([path])
    known = {theirs: ours for ours, theirs in _names(student).items()}
    arrays = {}
    for name in tensors.shapes():
        if name not in known:
            raise UserError(f"{path}: tensor {name} is not of a layer of this student")
        array = to_float32(tensors.read(name, ()), f"{path}: tensor {name}").T
        # The scale of the adapters' term depends on the rank. A shape that does not
        # fit the base model is an error of OverlayReader.
        found = array.shape[-1:] if known[name].endswith(lora.A) else array.shape[:1]
        if found != (rank,):
            raise UserError(
                f"{path}: tensor {name} has shape {array.T.shape}, expected rank "
                f"{rank}, the r of {CONFIG}"
            )
        arrays[known[name]] = array
    return arrays


def _names(student: T5Config) -> dict[str, str]:
    """Returns PEFT's name of each factor that the student's kernels may have."""
    table = huggingface_names.tensors(student)
    return {
        f"{lora.module_of(kernel)}/{ours}": f"{_PREFIX}"
        f"{table[kernel].name.removesuffix('.weight')}.{theirs}.weight"
        for kernel in lora.kernels(table, lora.TARGETS)
        for ours, theirs in _FACTORS.items()
    }


def write_adapters(
    folder: pathlib.Path, reader: OverlayReader, student: T5Config
) -> None:
    """Writes the adapters of a run into an empty folder.

    Args:
        folder: The folder.
        reader: The run's weights.
        student: The student.

    Raises:
        UserError: The run did not train adapters, or did not start from a Hugging Face
            model.
    """
    if not reader.has_only_adapters:
        raise UserError(
            f"{reader.location}: has weights that were trained and no adapters; "
            "expected a run with LORA_RANK, or format hf"
        )
    names = _names(student)
    arrays = {name: reader.trained.read(name) for name in reader.trained.shapes()}
    rank = next(a.shape[1] for name, a in arrays.items() if name.endswith(lora.A))
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": _base_name(reader),
        "r": rank,
        "lora_alpha": reader.scale * rank,
        "lora_dropout": student.lora_dropout,
        "target_modules": sorted({names[name].split(".")[-3] for name in arrays}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {names[name]: array.T for name, array in arrays.items()}
    huggingface_files.write_tensors(folder / _FILE, tensors, tensors.__getitem__)


def _base_name(reader: OverlayReader) -> str:
    """Returns how PEFT names the base model: a repository or an absolute path."""
    origin = reader.origin
    if origin is not None and hub.is_address(origin):
        return origin.removeprefix(hub.PREFIX)
    if origin is not None and huggingface_files.is_model_folder(pathlib.Path(origin)):
        return str(pathlib.Path(origin).absolute())
    raise UserError(
        f"{reader.location}: the run started from {origin or 'random weights'}, and "
        "PEFT needs a Hugging Face model as base; format hf has all weights"
    )
