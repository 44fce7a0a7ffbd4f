r"""Converts a checkpoint to another format.

    python -m dsbs_jax.weights.convert --checkpoint_path=runs/own --output_dir=own_hf \
      --vocabulary_path=runs/own.model
    python -m dsbs_jax.weights.convert --checkpoint_path=hub:google/t5-v1_1-base \
      --output_dir=t5_v1_1_base/checkpoint_0 --format=t5x
    python -m dsbs_jax.weights.convert --checkpoint_path=hub:google/t5-v1_1-xxl \
      --output_dir=xxl_scalable/checkpoint_0 --format=t5x --scan_layers

Formats:

    hf          Hugging Face model folder, for `transformers`: config, generation
                config, safetensors and tokenizer
    t5x         T5X's native format
    t5x_orbax   T5X's Orbax format, which T5X writes today
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from dsbs_jax import cli, tensorflow_import

if __name__ == "__main__":
    # Before another import loads TensorFlow, which prints warnings.
    tensorflow_import.import_quietly()

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.settings import AnyPath, LocalPath, PositiveInt, Settings, setting
from dsbs_jax.student.config import T5Config, check_vocabulary_size
from dsbs_jax.student.network import parameter_shapes
from dsbs_jax.weights import huggingface_reader, writing
from dsbs_jax.weights.huggingface_files import TOKENIZERS
from dsbs_jax.weights.loading import check_shapes
from dsbs_jax.weights.opening import open_checkpoint
from dsbs_jax.weights.reader import Parameters
from dsbs_jax.weights.student_size import config_of
from dsbs_jax.weights.t5x_scalable import ScalableParameters

_MEGABYTE = 1_000_000
_TOKENIZER_FILES = (*TOKENIZERS, writing.TOKENIZER_CONFIG, "special_tokens_map.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertConfig(Settings):
    """The checkpoint to convert, and the new format."""

    checkpoint_path: AnyPath = setting(
        help="The checkpoint to read: a run folder (its best checkpoint), a T5X "
        "checkpoint, a Hugging Face model folder, or hub:<repository id>."
    )
    output_dir: LocalPath = setting(help="The folder to write; it must not exist.")
    format: writing.Format = setting("hf", help="The format to write.")
    vocabulary_path: AnyPath | None = setting(
        None,
        help="The student's SentencePiece model, a file or hub:<repository id>, or "
        "'bytes', for format hf. By default the tokenizer of the folder is "
        "copied.",
    )
    scan_layers: bool = setting(
        False,
        help="Whether formats t5x and t5x_orbax are written for T5X's scalable network "
        "(t5x/scalable.gin), which has one array for all layers of a stack.",
    )
    shard_megabytes: PositiveInt = setting(
        huggingface_reader.SHARD_BYTES // _MEGABYTE,
        help="Size in MB from which format hf is written to several files. At most one "
        "file's weights are in memory.",
    )

    def __post_init__(self) -> None:
        """Checks the fields."""
        super().__post_init__()
        if self.scan_layers and self.format == "hf":
            raise UserError(
                "SCAN_LAYERS is True, expected False with format hf, whose layers have "
                "tensors of their own; formats t5x and t5x_orbax have scanned layers"
            )


def convert(config: ConvertConfig) -> T5Config:
    """Reads a checkpoint and writes it in another format.

    Returns:
        The student that the checkpoint holds.

    Raises:
        UserError: The checkpoint cannot be read or the folder cannot be written. No
            folder is left then.
    """
    writing.check_new(config.output_dir)
    reader = open_checkpoint(config.checkpoint_path)
    student = config_of(reader)
    tokenizer = _tokenizer(config, student) if config.format == "hf" else {}
    check_shapes(reader.location, reader.shapes(), parameter_shapes(student))
    params: Mapping[str, np.ndarray] = Parameters(reader)
    if config.scan_layers:
        params = ScalableParameters(params, student)
    shard_bytes = config.shard_megabytes * _MEGABYTE
    with writing.new_folder(config.output_dir) as folder:
        writing.write_weights(folder, config.format, params, student, shard_bytes)
        for name, content in tokenizer.items():
            (folder / name).write_bytes(content)
    return student


def _tokenizer(config: ConvertConfig, student: T5Config) -> dict[str, bytes]:
    """Returns the files of the tokenizer, by name."""
    if config.vocabulary_path is None:
        return _copied_tokenizer(config.checkpoint_path)
    words = vocabulary.load(config.vocabulary_path)
    check_vocabulary_size(student.vocab_size, words.vocab_size)
    return writing.tokenizer_files(words, student)


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
