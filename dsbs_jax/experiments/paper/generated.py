"""Datasets that a grid writes itself, into `<grid>/data/<name>`.

    tickets                generated tickets with a scripted teacher (`demo_data`)
    tickets_methods        the same rows; train also has several rationales of a row and
                           counterfactual rationales
    tickets_methods_aided  train has the rationales of the teacher asked again, with the
                           label given, for rows on which it is wrong
    esnli_released         train and validation: e-SNLI's released validation rows with
                           PaLM's completions, because the completions of the training
                           rows are a far larger file; test: the released test rows
    esnli_released_human   the same rows with human rationales (`explanation_1`)
    esnli_released_teachers
                           the same rows with the rationales of four teachers: PaLM's
                           (palm) and those of three annotators (human_1 to human_3)
    texts                  train, for pretraining: inputs of the training rows of
                           CommonsenseQA, SVAMP and esnli_released
    <name>_shuffled        train has rationales of other rows with the same label
    <name>_random          train has rationales of random words, as many tokens long

The controls keep inputs and labels, so a difference in accuracy is due to what the
rationales say and not to their presence. All versions of a dataset have the vocabulary
of the first.
"""

import bisect
import dataclasses
import functools
import pathlib
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dsbs_jax import files, tensorflow_import
from dsbs_jax.data import dataset_spec, methods
from dsbs_jax.data.methods import AnyMethod
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record, as_row
from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data
from dsbs_jax.local.run_lock import RunLock

if TYPE_CHECKING:  # slow to import
    import seqio

VOCABULARY = "vocabulary.model"
TEXTS = "texts"
SPLITS = ("train", "validation", "test")
# Training rows, and the pieces of the vocabulary, which is that of the demo.
TICKETS, TICKETS_PIECES = 1_600, 220
ESNLI_PIECES = 2_000
# Proportion of the premises of e-SNLI's released validation rows that select the
# checkpoint.
ESNLI_HELD_OUT = 0.1
_SEED = 0
_COMPLETE = "complete.json"

# The records of each split.
Rows = dict[str, list[Record]]


# Changes the training rows; reads the vocabulary.
Change = Callable[[Sequence[Record], "seqio.Vocabulary"], list[Record]]


@dataclasses.dataclass(frozen=True)
class Generated:
    """A dataset that a grid writes.

    Attributes:
        make: Makes the rows; takes the path of the released data, or None.
        pieces: Pieces of the vocabulary, which is trained on the training rows.
        base: The dataset whose vocabulary is used; None trains one.
        change: Changes the training rows.
        fields: The fields of training rows that only some methods read.
    """

    make: Callable[[str | None], Rows]
    pieces: int
    base: str | None = None
    change: Change | None = None
    fields: frozenset[str] = frozenset()


def name_of(dataset: str, teacher: str) -> str:
    """Returns the generated dataset with a teacher's rationales.

    ("esnli_released", "human") -> "esnli_released_human"; other teachers of a dataset
    are in its own rows.
    """
    version = f"{dataset}_{teacher}"
    return version if version in DATASETS else dataset


def has_fields(dataset: str, method: AnyMethod) -> bool:
    """Whether a generated dataset has the fields that a method reads.

    The fields of other datasets are not known before their files are read, so the
    answer is True for them.
    """
    if dataset not in DATASETS:
        return True
    info = methods.info_of(method)
    needed = {"rationales"} if info.each_rationale else set()
    needed |= {"counterfactual_rationale"} if info.counterfactual else set()
    return needed <= DATASETS[dataset].fields


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
        UserError: The dataset needs the released data.
        InUseError: Another process writes the dataset.
    """
    folder = folder_of(output, name)
    if (folder / _COMPLETE).exists():
        return
    tensorflow_import.import_quietly()
    from dsbs_jax.data import vocabulary

    made = DATASETS[name]
    if made.base is not None:
        write(output, made.base, release)
    with RunLock(folder, "--output", "writes data in this folder"):
        if (folder / _COMPLETE).exists():
            return  # another process has written it since the first look
        rows = made.make(release)
        words = folder / VOCABULARY
        if made.base is None:
            vocabulary.train(vocabulary.texts_of(rows["train"]), words, made.pieces)
        else:
            shutil.copy(folder_of(output, made.base) / VOCABULARY, words)
        if made.change is not None:
            train = made.change(rows["train"], vocabulary.load(str(words)))
            rows = {**rows, "train": train}
        counts = {}
        for split, part in rows.items():
            files.write_jsonl(files_of(folder)[split], map(as_row, part))
            counts[split] = len(part)
        files.write_json(folder / _COMPLETE, counts)


def shuffled(records: Sequence[Record], _: "seqio.Vocabulary") -> list[Record]:
    """Gives each rationale to another row with the same label, always the same row.

    So a rationale says as much about the label as before, and nothing about the row.
    Rows without a rationale stay without one. The only rationale of a label stays.
    """
    places = defaultdict(list)
    for i, record in enumerate(records):
        if record.rationale:
            places[record.label].append(i)
    rng = random.Random(_SEED)
    sources: dict[int, int] = {}
    for rows in places.values():
        rng.shuffle(rows)
        # The next row of a random cycle is never the row itself.
        sources |= zip(rows, rows[1:] + rows[:1], strict=True)
    return [
        dataclasses.replace(record, rationale=records[sources.get(i, i)].rationale)
        for i, record in enumerate(records)
    ]


def randomized(
    records: Sequence[Record], vocabulary: "seqio.Vocabulary"
) -> list[Record]:
    """Replaces each rationale by random words of all rationales, as many tokens long.

    Words are drawn as often as they occur, each from those that still fit. Where no
    word of one token exists, a rationale may be shorter.
    """
    words = [w for record in records for w in (record.rationale or "").split()]
    length = functools.cache(lambda text: len(vocabulary.encode(text)))
    words.sort(key=length)
    lengths = [length(word) for word in words]
    rng = random.Random(_SEED)

    def draw(tokens: int) -> Iterator[str]:
        while fitting := bisect.bisect_right(lengths, tokens):
            place = rng.randrange(fitting)
            tokens -= lengths[place]
            yield words[place]

    def change(record: Record) -> Record:
        if not record.rationale:
            return record
        # At least one word, because a rationale is never blank.
        drawn = [*draw(length(record.rationale))] or words[:1]
        return dataclasses.replace(record, rationale=" ".join(drawn))

    return [change(record) for record in records]


def _all_fields(records: Sequence[Record], _: "seqio.Vocabulary") -> list[Record]:
    return demo_data.with_all_fields(records)


def _aided(records: Sequence[Record], _: "seqio.Vocabulary") -> list[Record]:
    return demo_data.with_answers_given(records)


def _tickets(_: str | None) -> Rows:
    return demo_data.make(TICKETS).records


def _esnli(release: str | None) -> Rows:
    """Returns the released rows with PaLM's rationales."""
    return _read_esnli(release)[0]


def _esnli_human(release: str | None) -> Rows:
    """Returns the released rows with the rationales of the first annotator."""
    rows, given = _read_esnli(release)
    return _with_rationales(rows, lambda r: {"human": next(iter(given(r)), None)})


def _esnli_teachers(release: str | None) -> Rows:
    """Returns the released rows with PaLM's rationales and those of all annotators."""
    rows, given = _read_esnli(release)

    def by_teacher(record: Record) -> dict[str, str | None]:
        humans = {f"human_{n}": text for n, text in enumerate(given(record), 1)}
        return {dataset_spec.PALM: record.rationale, **humans}

    return _with_rationales(rows, by_teacher)


def _with_rationales(
    rows: Rows, by_teacher: Callable[[Record], Mapping[str, str | None]]
) -> Rows:
    """Replaces the rationales of rows; several ones name their teachers.

    Human rationales explain the human label. Without the teacher's labels, a report
    does not take PaLM for the teacher of these runs.
    """

    def change(record: Record) -> Record:
        found = by_teacher(record)
        given = {name: text for name, text in found.items() if text is not None}
        several = len(found) > 1
        return dataclasses.replace(
            record,
            teacher_label=None,
            rationale=next(iter(given.values()), None),
            rationales=tuple(given.values()) if several else (),
            rationale_teachers=tuple(given) if several else (),
        )

    return {split: list(map(change, part)) for split, part in rows.items()}


# Returns the rationales of the annotators of a row.
_Explanations = Callable[[Record], tuple[str | None, ...]]


def _read_esnli(release: str | None) -> tuple[Rows, _Explanations]:
    """Reads the released rows with PaLM's rationales, and those of the annotators."""
    if release is None:
        raise UserError(
            "esnli_released is made from the released data; give --release with the "
            "folder or zip file"
        )
    from dsbs_jax.released import reader

    released = reader.open_release(release)
    valid, test = (
        released.read_raw("esnli", split, dataset_spec.PALM)
        for split in ("valid", "test")
    )
    rows = _split_by_premise(list(valid.records))
    rows["test"] = list(test.records)
    ids = [record.id for record in valid.records]
    explanations = dict(zip(ids, valid.explanations, strict=True))
    return rows, lambda record: explanations.get(record.id, ())


def _texts(release: str | None) -> Rows:
    """Returns inputs of training rows; no test row, and no held-out row of e-SNLI."""
    rows = _esnli(release)["train"]
    assert release is not None  # checked by _esnli
    from dsbs_jax.released import reader

    released = reader.open_release(release)
    for name in ("cqa", "svamp"):
        rows = [*released.read_raw(name, "train").records, *rows]
    return {"train": [Record(record.id, record.input) for record in rows]}


def _split_by_premise(records: Sequence[Record]) -> Rows:
    """Splits rows into train and validation; rows with one premise stay together."""
    groups = defaultdict(list)
    for record in records:
        groups[record.input.partition(SEGMENT_SEPARATOR)[0]].append(record.id)
    premises = sorted(groups)
    random.Random(_SEED).shuffle(premises)
    held_out: set[str] = set()
    for premise in premises:
        if len(held_out) >= ESNLI_HELD_OUT * len(records):
            break
        held_out.update(groups[premise])
    return {
        "train": [record for record in records if record.id not in held_out],
        "validation": [record for record in records if record.id in held_out],
    }


def _controls(base: str) -> dict[str, Generated]:
    """Returns the versions of a dataset with other rationales."""
    made = _BASES[base]
    return {
        f"{base}_shuffled": dataclasses.replace(made, base=base, change=shuffled),
        f"{base}_random": dataclasses.replace(made, base=base, change=randomized),
    }


_BASES = {
    "tickets": Generated(_tickets, TICKETS_PIECES),
    "esnli_released": Generated(_esnli, ESNLI_PIECES),
}
DATASETS = {
    **_BASES,
    **_controls("tickets"),
    **_controls("esnli_released"),
    "tickets_methods": Generated(
        _tickets,
        TICKETS_PIECES,
        base="tickets",
        change=_all_fields,
        fields=frozenset({"rationales", "counterfactual_rationale"}),
    ),
    "tickets_methods_aided": Generated(
        _tickets, TICKETS_PIECES, base="tickets", change=_aided
    ),
    TEXTS: Generated(_texts, ESNLI_PIECES, base="esnli_released"),
    "esnli_released_human": Generated(
        _esnli_human, ESNLI_PIECES, base="esnli_released"
    ),
    "esnli_released_teachers": Generated(
        _esnli_teachers,
        ESNLI_PIECES,
        base="esnli_released",
        fields=frozenset({"rationales"}),
    ),
}
