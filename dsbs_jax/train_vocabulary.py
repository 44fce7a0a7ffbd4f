r"""Trains a SentencePiece vocabulary on released data or on your own rows.

    python -m dsbs_jax.train_vocabulary --output_file=svamp.model --vocab_size=1000 \
        --release=datasets.zip --datasets=svamp
    python -m dsbs_jax.train_vocabulary --output_file=own.model --vocab_size=1000 \
        --data_files=own.jsonl

Only training rows are read. Prints the setting that a run needs for the vocabulary.
"""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta

from dsbs_jax import cli, tensorflow_import
from dsbs_jax.errors import UserError
from dsbs_jax.settings import AnyPath, LocalPath, Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig(Settings):
    """The training text, and the vocabulary to write."""

    output_file: LocalPath = setting(help="The SentencePiece model to write.")
    vocab_size: Annotated[int, Meta(ge=4)] = setting(
        help="Number of pieces, without the 100 sentinels."
    )
    release: AnyPath | None = setting(
        None, help="Released data: a folder or zip file; needs --datasets."
    )
    datasets: tuple[Text, ...] = setting(
        (), help="Names of released datasets, separated by commas."
    )
    data_files: AnyPath | None = setting(
        None, help="Your own rows, in a format of DATA_FILES, in place of --release."
    )

    def __post_init__(self) -> None:
        """Checks every value, and that one source of text is given."""
        super().__post_init__()
        if bool(self.data_files) == bool(self.release and self.datasets):
            raise UserError("expected either --release and --datasets, or --data_files")


def released_texts(
    release: str | os.PathLike[str], datasets: Iterable[str]
) -> Iterator[str]:
    """Yields the training text of released datasets, including every teacher's text.

    Raises:
        UserError: As `reader.Release.read`.
    """
    from dsbs_jax.data.vocabulary import texts_of
    from dsbs_jax.released import reader
    from dsbs_jax.released.raw_split import select
    from dsbs_jax.released.specs import released_spec

    opened = reader.open_release(release)
    for dataset in datasets:
        spec = released_spec(dataset).spec
        prefixes = spec.predict_prefix, spec.explain_prefix
        raw = opened.read_raw(dataset, "train")
        labeled = [
            opened.add_teacher(raw, "train", teacher)
            for teacher in spec.teachers
            if not opened.missing(dataset, teacher, ["train"])
        ]
        for rows in labeled or [raw]:
            yield from texts_of(select(rows, "train").records, prefixes)


def main(config: VocabularyConfig) -> None:
    """Trains the vocabulary."""
    tensorflow_import.import_quietly()
    # TensorFlow takes seconds to import, which --help should not wait for.
    from dsbs_jax.data import data_files, vocabulary

    if config.data_files:
        records = data_files.read_dataset(config.data_files)["train"]
        texts = vocabulary.texts_of(records)
    else:
        assert config.release is not None  # VocabularyConfig has checked it
        texts = released_texts(config.release, config.datasets)
    vocabulary.train(texts, config.output_file, config.vocab_size)
    # Quoted for the shell.
    print(shlex.quote(f"--gin.VOCABULARY_PATH={config.output_file}"))


if __name__ == "__main__":
    cli.run_with_flags(main, VocabularyConfig, __doc__)
