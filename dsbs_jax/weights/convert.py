r"""Converts a checkpoint to another format.

    python -m dsbs_jax.weights.convert --checkpoint_path=runs/own --output_dir=own_hf \
      --vocabulary_path=runs/own.model
    python -m dsbs_jax.weights.convert --checkpoint_path=hub:google/t5-v1_1-base \
      --output_dir=t5_v1_1_base/checkpoint_0 --format=t5x

Formats:

    hf          Hugging Face model folder, for `transformers`: config, generation
                config, safetensors and tokenizer
    t5x         T5X's native format
    t5x_orbax   T5X's Orbax format, which T5X writes today
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Literal

from dsbs_jax import cli

if __name__ == "__main__":
    # Before another import loads TensorFlow, which prints warnings.
    cli.quiet_tensorflow()

import numpy as np
from etils import epath
from safetensors import SafetensorError

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.settings import Settings, Text, setting
from dsbs_jax.student.config import T5Config, check_vocabulary_size
from dsbs_jax.weights import arrays, huggingface_reader, orbax_format, t5x_native
from dsbs_jax.weights.huggingface_files import SENTENCEPIECE, TOKENIZERS
from dsbs_jax.weights.opening import open_checkpoint
from dsbs_jax.weights.student_size import config_of

_TOKENIZER_CONFIG = "tokenizer_config.json"
_TOKENIZER_FILES = (*TOKENIZERS, _TOKENIZER_CONFIG, "special_tokens_map.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig(Settings):
    """What to convert, and to what."""

    checkpoint_path: Text = setting(
        help="The checkpoint to read: a run folder (its best checkpoint), a T5X "
        "checkpoint, a Hugging Face model folder, or hub:<repository id>."
    )
    output_dir: Text = setting(help="The folder to write; it must not exist.")
    format: Literal["hf", "t5x", "t5x_orbax"] = setting(
        "hf", help="The format to write."
    )
    vocabulary_path: Text | None = setting(
        None,
        help="The student's SentencePiece model, a file or hub:<repository id>, for "
        "format hf. By default the tokenizer of the folder that is read is copied.",
    )


def convert(config: ConvertConfig) -> T5Config:
    """Reads a checkpoint and writes it in another format.

    Returns:
        The student that the checkpoint holds.

    Raises:
        UserError: The checkpoint cannot be read or the folder cannot be written; then
            nothing is left in its place.
    """
    if os.path.lexists(config.output_dir):
        raise UserError(f"OUTPUT_DIR {config.output_dir}: exists already")
    reader = open_checkpoint(config.checkpoint_path)
    student = config_of(reader)
    tokenizer = _tokenizer(config, student) if config.format == "hf" else {}
    params = {name: reader.read(name) for name in reader.shapes()}
    target = pathlib.Path(config.output_dir).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written under another name first, so that the folder is complete if it exists.
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.name}."
        ) as scratch:
            folder = pathlib.Path(scratch) / target.name
            _write(folder, config.format, params, student, tokenizer)
            folder.rename(target)
    except UserError:
        raise
    # A full or missing disk; the type of the error depends on the library that writes.
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or arrays.reason(error)
        raise UserError(
            f"OUTPUT_DIR {config.output_dir}: cannot be written: {cause}"
        ) from error
    return student


def _write(
    folder: pathlib.Path,
    format_name: str,
    params: Mapping[str, np.ndarray],
    student: T5Config,
    tokenizer: Mapping[str, bytes],
) -> None:
    if format_name == "t5x":
        t5x_native.write_checkpoint(epath.Path(folder), params)
    elif format_name == "t5x_orbax":
        orbax_format.write_checkpoint(epath.Path(folder), params)
    else:
        folder.mkdir()
        huggingface_reader.write_model(folder, params, student)
        for name, content in tokenizer.items():
            (folder / name).write_bytes(content)


def _tokenizer(config: ConvertConfig, student: T5Config) -> dict[str, bytes]:
    """Returns the files of the tokenizer, by name."""
    if config.vocabulary_path is None:
        return _copied_tokenizer(config.checkpoint_path)
    sentencepiece = vocabulary.load(config.vocabulary_path)
    check_vocabulary_size(student.vocab_size, sentencepiece.vocab_size)
    tokenizer_config = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": vocabulary.SENTINELS,
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    return {
        # The file itself, which has no sentinels: T5Tokenizer adds its own.
        SENTENCEPIECE: epath.Path(sentencepiece.sentencepiece_model_file).read_bytes(),
        _TOKENIZER_CONFIG: (json.dumps(tokenizer_config, indent=2) + "\n").encode(),
    }


def _copied_tokenizer(checkpoint_path: str) -> dict[str, bytes]:
    paths = [pathlib.Path(checkpoint_path, name) for name in _TOKENIZER_FILES]
    contents = {path.name: path.read_bytes() for path in paths if path.is_file()}
    if not contents:
        raise UserError(
            f"{checkpoint_path} has no tokenizer: give the student's SentencePiece "
            "model as --vocabulary_path"
        )
    return contents


def main(config: ConvertConfig) -> None:
    """Runs the command."""
    student = convert(config)
    print(f"{config.output_dir}: {student}")


if __name__ == "__main__":
    cli.run_with_flags(main, ConvertConfig, __doc__)
