"""Writes a student's weights as a new folder, in one of several formats.

hf          Hugging Face model folder, for `transformers`: config, generation config,
            safetensors and tokenizer
t5x         T5X's native format
t5x_orbax   T5X's Orbax format, which T5X writes today
"""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import seqio
from etils import epath
from safetensors import SafetensorError

from dsbs_jax import interruption
from dsbs_jax.data import tokenizer_json, vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import arrays, huggingface_reader, orbax_format, t5x_native
from dsbs_jax.weights.huggingface_files import SENTENCEPIECE

Format = Literal["hf", "t5x", "t5x_orbax"]
TOKENIZER_CONFIG = "tokenizer_config.json"


def check_new(path: str | os.PathLike[str]) -> None:
    """Checks that a path does not exist, so that a folder can be created there.

    Raises:
        UserError: The path exists.
    """
    if os.path.lexists(path):
        raise UserError(f"{os.fspath(path)}: exists already, expected a new folder")


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path, at which the block creates a folder.

    The folder is renamed to `path` if the block succeeds, so `path` is complete if it
    exists. Otherwise the folder is removed.

    Raises:
        UserError: The path exists, or the folder cannot be written.
    """
    check_new(path)
    target = pathlib.Path(path).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(
                dir=target.parent, prefix=f".{target.name}."
            ) as scratch,
            interruption.removed(scratch),
        ):
            folder = pathlib.Path(scratch) / target.name
            yield folder
            folder.rename(target)
    except UserError:
        raise
    # A full or missing disk; the type of the error depends on the library that writes.
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or arrays.reason(error)
        raise UserError(f"{os.fspath(path)}: cannot be written: {cause}") from error


def write_weights(
    folder: pathlib.Path,
    format_name: Format,
    params: Mapping[str, np.ndarray],
    student: T5Config,
    shard_bytes: int = huggingface_reader.SHARD_BYTES,
) -> None:
    """Creates a folder with a student's weights.

    Args:
        folder: A Hugging Face model folder without tokenizer, or a T5X checkpoint. It
            must not exist.
        format_name: The format.
        params: Float32 arrays by parameter name, used one after the other.
        student: The student.
        shard_bytes: For format hf, the size from which the weights are written to
            several files.
    """
    if format_name == "t5x":
        t5x_native.write_checkpoint(epath.Path(folder), params)
    elif format_name == "t5x_orbax":
        orbax_format.write_checkpoint(epath.Path(folder), params)
    else:
        folder.mkdir()
        huggingface_reader.write_model(folder, params, student, shard_bytes)


def tokenizer_files(
    words: vocabulary.Vocabulary, student: T5Config
) -> dict[str, bytes]:
    """Returns the files of transformers' tokenizer for a student, by name."""
    reads_bytes = isinstance(words, seqio.ByteVocabulary)
    config = {
        "tokenizer_class": "ByT5Tokenizer" if reads_bytes else "T5Tokenizer",
        "extra_ids": words.extra_ids,
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    files = {TOKENIZER_CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    if reads_bytes:
        return files
    # The file itself, which has no sentinels: T5Tokenizer adds its own.
    model = epath.Path(words.sentencepiece_model_file).read_bytes()
    # AutoTokenizer of a umT5 reads this file only.
    is_umt5 = student.relative_bias_in_layers
    fast = tokenizer_json.of_model(model, words.extra_ids) if is_umt5 else None
    return {
        SENTENCEPIECE: model,
        **({tokenizer_json.FILE: fast} if fast else {}),
        **files,
    }
