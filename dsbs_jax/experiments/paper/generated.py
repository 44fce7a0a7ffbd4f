"""Datasets that a grid writes itself, into `<grid>/data/<name>`.

    tickets            generated tickets with a scripted teacher (`demo_data`)
    tickets_shuffled   the same; each rationale belongs to another row
    tickets_random     the same; each rationale is random words of the rationales
    esnli_released     train: e-SNLI's validation rows with PaLM's completions, because
                       the completions of the training rows are a far larger file;
                       validation and test: parts of the test rows

The controls keep inputs and labels, so a difference in accuracy is due to what the
rationales say and not to their presence.
"""

import dataclasses
import pathlib
import random
from collections.abc import Callable, Sequence

from dsbs_jax import files, tensorflow_import
from dsbs_jax.data.records import Record, as_row
from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data
from dsbs_jax.local.run_lock import RunLock

VOCABULARY = "vocabulary.model"
SPLITS = ("train", "validation", "test")
# Training rows, and the pieces of the vocabulary, which is that of the demo.
TICKETS, TICKETS_PIECES = 1_600, 220
ESNLI_PIECES = 2_000
# Test rows of e-SNLI that are used: a third selects the checkpoint, the others are
# scored.
ESNLI_HELD_OUT = 3_000
_SEED = 0
_COMPLETE = "complete.json"

# The records of each split.
Rows = dict[str, list[Record]]


@dataclasses.dataclass(frozen=True)
class Generated:
    """A dataset that a grid writes.

    Attributes:
        make: Makes the rows; takes the path of the released data, or None.
        pieces: Pieces of the vocabulary, which is trained on the training rows.
    """

    make: Callable[[str | None], Rows]
    pieces: int


def folder_of(output: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of a generated dataset."""
    return output / "data" / name


def files_of(folder: pathlib.Path) -> dict[str, str]:
    """Returns the file of each split."""
    return {split: str(folder / f"{split}.jsonl") for split in SPLITS}


def write(output: pathlib.Path, name: str, release: str | None) -> None:
    """Writes a generated dataset and its vocabulary, unless they exist.

    Args:
        output: The folder of the grid.
        name: Name of the dataset.
        release: The authors' released data, for `esnli_released`.

    Raises:
        UserError: The dataset needs the released data, or another process writes it.
    """
    folder = folder_of(output, name)
    if (folder / _COMPLETE).exists():
        return
    tensorflow_import.import_quietly()
    from dsbs_jax.data import vocabulary

    with RunLock(folder, "--output", "writes data in this folder"):
        rows = DATASETS[name].make(release)
        for split, path in files_of(folder).items():
            files.write_jsonl(path, map(as_row, rows[split]))
        texts = vocabulary.texts_of(rows["train"])
        vocabulary.train(texts, folder / VOCABULARY, DATASETS[name].pieces)
        counts = {split: len(rows[split]) for split in SPLITS}
        files.write_json(folder / _COMPLETE, counts)


def shuffled(records: Sequence[Record]) -> list[Record]:
    """Gives each rationale to another row, the same row each time.

    Rows without a rationale stay without one. Of two rows, each gets the rationale of
    the other.
    """
    places = [i for i, record in enumerate(records) if record.rationale]
    random.Random(_SEED).shuffle(places)
    # The next row of a random cycle is never the row itself.
    sources = dict(zip(places, places[1:] + places[:1], strict=True))
    return [
        dataclasses.replace(record, rationale=records[sources.get(i, i)].rationale)
        for i, record in enumerate(records)
    ]


def randomized(records: Sequence[Record]) -> list[Record]:
    """Replaces the words of each rationale by random words of all rationales."""
    words = [w for record in records for w in (record.rationale or "").split()]
    rng = random.Random(_SEED)
    return [
        dataclasses.replace(
            record,
            rationale=" ".join(rng.choice(words) for _ in record.rationale.split()),
        )
        if record.rationale
        else record
        for record in records
    ]


def _tickets(_: str | None) -> Rows:
    return demo_data.make(TICKETS).records


def _with_rationales(
    change: Callable[[Sequence[Record]], list[Record]],
) -> Callable[[str | None], Rows]:
    def make(release: str | None) -> Rows:
        rows = _tickets(release)
        return {**rows, "train": change(rows["train"])}

    return make


def _esnli(release: str | None) -> Rows:
    if release is None:
        raise UserError(
            "esnli_released is made from the released data; give --release with the "
            "folder or zip file"
        )
    from dsbs_jax.released import reader

    read = reader.open_release(release).read("esnli", "palm", ["validation", "test"])
    test = read["test"].records
    order = random.Random(_SEED).sample(range(len(test)), len(test))
    held_out = [test[i] for i in order[:ESNLI_HELD_OUT]]
    third = len(held_out) // 3
    return {
        "train": list(read["validation"].records),
        "validation": held_out[:third],
        "test": held_out[third:],
    }


DATASETS = {
    "tickets": Generated(_tickets, TICKETS_PIECES),
    "tickets_shuffled": Generated(_with_rationales(shuffled), TICKETS_PIECES),
    "tickets_random": Generated(_with_rationales(randomized), TICKETS_PIECES),
    "esnli_released": Generated(_esnli, ESNLI_PIECES),
}
