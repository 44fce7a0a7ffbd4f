"""The rows of a released split, a teacher's labels on them, and the teacher's score."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from dsbs_jax.data import completions, scoring, splits
from dsbs_jax.data.records import Record
from dsbs_jax.data.scoring import TeacherScore
from dsbs_jax.released.specs import ReleasedSpec, Row


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantined:
    """A completion that gives no training target, or only one of two.

    Attributes:
        index: Row number in the raw split, from 0.
        id: Id of the record.
        completion: The completion as it was released.
        problem: One of the problems in `completions`.
    """

    index: int
    id: str
    completion: str
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class RawSplit:
    """One raw split, with the labels of one teacher or of none.

    Attributes:
        released: The released spec of the dataset.
        records: One record for each row, in the file's order.
        choices: The choices of each cqa question; None for other datasets' rows.
        explanations: The human rationales of each e-SNLI row, one for each annotator,
            None for a missing one; empty for other rows.
        quarantine: Completions with a problem, in the order of the rows.
    """

    released: ReleasedSpec
    records: Sequence[Record]
    choices: Sequence[tuple[str, ...] | None]
    explanations: Sequence[tuple[str | None, ...]]
    quarantine: Sequence[Quarantined] = ()

    @classmethod
    def from_rows(
        cls, released: ReleasedSpec, raw_split: str, rows: Iterable[Row]
    ) -> "RawSplit":
        """Makes the split without a teacher.

        A record's id is `<dataset>-<raw split>-<row>`, with rows counted from 0:
        "cqa-train-17".
        """
        records, choices, explanations = [], [], []
        for index, row in enumerate(rows):
            id_ = f"{released.name}-{raw_split}-{index}"
            records.append(Record(id_, row.input, row.label))
            choices.append(row.choices)
            explanations.append(row.explanations)
        return cls(released, records, choices, explanations)

    def with_teacher(self, teacher: str, texts: Sequence[str]) -> "RawSplit":
        """Returns the same rows with a teacher's labels and rationales.

        Args:
            teacher: Name of the teacher.
            texts: One completion for each row.
        """
        parse = self.released.spec.parser_of(teacher).parse
        records, quarantine = [], []
        for index, (record, text) in enumerate(zip(self.records, texts, strict=True)):
            parsed = parse(text)
            records.append(
                Record(
                    record.id,
                    record.input,
                    record.label,
                    parsed.label,
                    parsed.rationale,
                )
            )
            if parsed.problem:
                quarantine.append(Quarantined(index, record.id, text, parsed.problem))
        return dataclasses.replace(self, records=records, quarantine=quarantine)


@dataclasses.dataclass(frozen=True, slots=True)
class SplitRead:
    """One split as the paper uses it.

    Attributes:
        records: The split's examples.
        indices: Their row numbers in the raw split, from 0.
        quarantine: Their completions with a problem, in the split's order.
    """

    records: list[Record]
    indices: list[int]
    quarantine: list[Quarantined]

    @property
    def counts(self) -> dict[str, int]:
        """Counts rows: all, those with each optional field, those with each problem."""
        counts = {"rows": len(self.records)}
        for field in ("label", "teacher_label", "rationale"):
            texts = (getattr(record, field) for record in self.records)
            counts[field] = sum(text is not None for text in texts)
        return counts | collections.Counter(q.problem for q in self.quarantine)


def select(raw: RawSplit, split: str) -> SplitRead:
    """Picks a split's rows out of its raw split."""
    indices = split_indices(len(raw.records), split, raw.released)
    by_index = {q.index: q for q in raw.quarantine}
    return SplitRead(
        [raw.records[i] for i in indices],
        indices,
        [by_index[i] for i in indices if i in by_index],
    )


def split_indices(n: int, split: str, released: ReleasedSpec) -> list[int]:
    """Returns the row numbers of a split among the `n` rows of its raw split."""
    if not released.carved or split == "test":
        return list(range(n))
    train, validation = splits.carve_validation(n)
    indices: list[int] = (train if split == "train" else validation).tolist()
    return indices


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherStatistics:
    """How a teacher labeled some rows.

    Attributes:
        score: The teacher's score under the metric of the dataset.
        unparsable: Rows without a label, except those counted as `run_on`.
        run_on: Rows whose label runs on into other text.
        blank_rationale: Rows with a label but no rationale.
        out_of_choices: Labels that are none of a cqa question's choices; None for
            other datasets.
    """

    score: TeacherScore
    unparsable: int
    run_on: int
    blank_rationale: int
    out_of_choices: int | None

    def as_dict(self) -> dict[str, Any]:
        """Returns the values as JSON holds them; the accuracy is 0 to 1."""
        counts = dataclasses.asdict(self)
        del counts["score"]
        return {
            "rows": self.score.rows,
            "correct": self.score.correct,
            **counts,
            "accuracy": self.score.accuracy,
        }


def teacher_statistics(
    raw: RawSplit, indices: Iterable[int] | None = None
) -> TeacherStatistics:
    """Scores a teacher on some rows of a raw split, by default on all of them."""
    chosen = range(len(raw.records)) if indices is None else [int(i) for i in indices]
    pairs = [(raw.records[i].label, raw.records[i].teacher_label) for i in chosen]
    labeled = [(label, teacher) for label, teacher in pairs if label is not None]
    among = set(chosen)
    problems = collections.Counter(
        q.problem for q in raw.quarantine if q.index in among
    )
    run_on = problems.pop(completions.RUNS_ON, 0)
    blank = problems.pop(completions.BLANK_RATIONALE, 0)
    return TeacherStatistics(
        score=scoring.score_teacher(labeled, raw.released.spec.metric),
        unparsable=problems.total(),
        run_on=run_on,
        blank_rationale=blank,
        out_of_choices=_out_of_choices(raw, chosen),
    )


def _out_of_choices(raw: RawSplit, indices: Iterable[int]) -> int | None:
    if all(choices is None for choices in raw.choices):
        return None
    outside = 0
    for i in indices:
        label, choices = raw.records[i].teacher_label, raw.choices[i]
        outside += label is not None and label not in (choices or ())
    return outside
