r"""Turns a student's weights into a folder that others read.

    python -m dsbs_jax.weights.convert --input=runs/own --output=runs/own_hf \
      --vocabulary=runs/own.model
    python -m dsbs_jax.weights.convert --input=hub:google/t5-v1_1-base \
      --output=t5_v1_1_base/checkpoint_0 --format=t5x

`--input` is a run of this project (its best checkpoint) or one checkpoint of it, a T5X
checkpoint, a Hugging Face folder, or "hub:" and a repository's id. `--format`:
  huggingface  config, generation config, safetensors and tokenizer, for `transformers`
  t5x          T5X's native format
  t5x_orbax    what T5X writes today
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping

from absl import flags

from dsbs_jax import cli

if __name__ == "__main__":
    # Before anything else imports TensorFlow, which is talkative.
    cli.quiet_tensorflow()

import numpy as np
from etils import epath
from safetensors import SafetensorError

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_reader as huggingface_weights
from dsbs_jax.weights import loading as weights
from dsbs_jax.weights import t5x_checkpoints as checkpoint_files

FORMATS = ("huggingface", "t5x", "t5x_orbax")
_SPIECE = "spiece.model"
_TOKENIZER_FILES = (
    _SPIECE,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def convert(
    source: str, output: str, form: str = "huggingface", vocabulary_path: str = ""
) -> T5Config:
    """Reads weights and writes them in another format.

    Args:
        source: What `weights.open_weights` takes.
        output: A folder, which must not exist.
        form: One of `FORMATS`.
        vocabulary_path: The student's SentencePiece model, as `vocabulary.load` takes it,
            for a Hugging Face folder; one that has a tokenizer already hands it on.

    Returns:
        The student.

    Raises:
        UserError: The weights cannot be read or the folder cannot be written; then
            nothing is.
    """
    if form not in FORMATS:
        raise UserError(f"--format is {form!r}, expected one of {', '.join(FORMATS)}")
    if os.path.lexists(output):
        raise UserError(f"--output {output}: exists already")
    opened = weights.open_weights(source)
    config = weights.config_of(opened)
    tokenizer = {}
    if form == "huggingface":
        tokenizer = _tokenizer(source, vocabulary_path, config)
    params = {name: opened.read(name) for name in opened.shapes()}
    target = pathlib.Path(output).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=target.parent, prefix=f".{target.name}."
        ) as scratch:
            folder = pathlib.Path(scratch) / target.name
            _write(folder, form, params, config, tokenizer)
            folder.rename(target)
    except UserError:
        raise
    # The disk is full or gone; which of these comes depends on who was writing.
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or checkpoint_files.reason(error)
        raise UserError(f"--output {output}: cannot be written: {cause}") from error
    return config


def _write(
    folder: pathlib.Path,
    form: str,
    params: Mapping[str, np.ndarray],
    config: T5Config,
    tokenizer: Mapping[str, bytes],
) -> None:
    if form == "t5x":
        checkpoint_files.write_native(epath.Path(folder), params)
    elif form == "t5x_orbax":
        checkpoint_files.write_orbax(epath.Path(folder), params)
    else:
        folder.mkdir()
        huggingface_weights.write(folder, params, config)
        for name, content in tokenizer.items():
            (folder / name).write_bytes(content)


def _tokenizer(source: str, vocabulary_path: str, config: T5Config) -> dict[str, bytes]:
    """The tokenizer's files by name."""
    if not vocabulary_path:
        folder = pathlib.Path(source)
        there = [folder / n for n in _TOKENIZER_FILES if (folder / n).is_file()]
        if not there:
            raise UserError(
                f"{source} has no tokenizer: give the student's SentencePiece model as "
                "--vocabulary"
            )
        return {path.name: path.read_bytes() for path in there}
    loaded = vocabulary.load(vocabulary_path)
    if loaded.vocab_size > config.vocab_size:
        raise UserError(
            f"--vocabulary {vocabulary_path}: has {loaded.vocab_size} ids, expected at "
            f"most the student's {config.vocab_size}"
        )
    settings_of = {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": vocabulary.SENTINELS,
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    return {
        # Without the sentinels, which every tokenizer adds for itself.
        _SPIECE: epath.Path(loaded.sentencepiece_model_file).read_bytes(),
        "tokenizer_config.json": (json.dumps(settings_of, indent=2) + "\n").encode(),
    }


def main(_: list[str]) -> None:
    """Runs the command."""
    options = flags.FLAGS
    config = convert(
        options.input, options.output, options.format, options.vocabulary or ""
    )
    print(f"{options.output}: {config}")


if __name__ == "__main__":
    flags.DEFINE_string("input", None, "Weights, by path or hub:ID.")
    flags.DEFINE_string("output", None, "The folder to write; it must not exist.")
    flags.DEFINE_enum("format", "huggingface", FORMATS, "What to write.")
    flags.DEFINE_string("vocabulary", None, "SentencePiece model, by path or hub:ID.")
    flags.mark_flags_as_required(["input", "output"])
    cli.run(main)
