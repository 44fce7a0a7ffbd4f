r"""Trains a SentencePiece vocabulary on released or user data.

python -m dsbs_jax.train_vocabulary --output=svamp.model --vocab_size=1000 \
        --release=datasets.zip --datasets=svamp        (or: --jsonl=mine.jsonl)
"""

import shlex
from collections.abc import Iterator

from absl import flags

from dsbs_jax import cli

if __name__ == "__main__":
    # Before anything else imports TensorFlow, which is talkative.
    cli.quiet_tensorflow()

from dsbs_jax.data import jsonl
from dsbs_jax.data.vocabulary import rows, texts_of, train
from dsbs_jax.errors import UserError
from dsbs_jax.released import reader as released
from dsbs_jax.released.specs import dataset_spec


def released_texts(release: str, datasets: list[str]) -> Iterator[str]:
    """Yields the training text of released datasets, every teacher's included.

    Raises:
        UserError: As `released.Release.read`.
    """
    opened = released.open_release(release)
    for dataset in datasets:
        teachers = [
            teacher
            for teacher in dataset_spec(dataset).teachers
            if not opened.missing(dataset, teacher, ["train"])
        ]
        for teacher in teachers or [None]:
            yield from texts_of(
                opened.read(dataset, teacher, ["train"])["train"].records
            )


def main(argv: list[str]) -> None:
    """Runs the command."""
    del argv
    options = flags.FLAGS
    if bool(options.jsonl) == bool(options.release and options.datasets):
        raise UserError("give either --release and --datasets, or --jsonl")
    if options.jsonl:
        texts = texts_of(jsonl.read_dataset(options.jsonl)["train"])
    else:
        texts = released_texts(options.release, options.datasets)
    train(texts, options.output, options.vocab_size)
    # Quoted once for gin and once for the shell.
    print(shlex.quote(f"--gin.VOCABULARY_PATH={options.output!r}"))
    print(f"--gin.VOCAB_SIZE={rows(options.vocab_size)}")


def _define_flags() -> None:
    flags.DEFINE_string("output", None, "The model file to write.")
    flags.DEFINE_integer(
        "vocab_size",
        None,
        "Number of pieces, without the 100 sentinels.",
        lower_bound=4,
    )
    flags.DEFINE_string("release", None, "Released data: a folder or zip file.")
    flags.DEFINE_list("datasets", None, "Released datasets, separated by commas.")
    flags.DEFINE_string("jsonl", None, "One's own examples instead, in one file.")
    flags.mark_flags_as_required(["output", "vocab_size"])


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
