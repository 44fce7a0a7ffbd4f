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
import pathlib

from dsbs_jax import cli, tensorflow_import

if __name__ == "__main__":
    # Before another import loads TensorFlow, which prints warnings.
    tensorflow_import.import_quietly()

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.settings import AnyPath, LocalPath, Settings, setting
from dsbs_jax.student.config import T5Config, check_vocabulary_size
from dsbs_jax.weights import writing
from dsbs_jax.weights.huggingface_files import TOKENIZERS
from dsbs_jax.weights.opening import open_checkpoint
from dsbs_jax.weights.student_size import config_of

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
    params = {name: reader.read(name) for name in reader.shapes()}
    with writing.new_folder(config.output_dir) as folder:
        writing.write_weights(folder, config.format, params, student)
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
