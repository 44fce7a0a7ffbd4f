"""Counts and warnings about the rows of a dataset, to read before a run."""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import tabulate

from dsbs_jax.counts import counted
from dsbs_jax.data import label_sets
from dsbs_jax.data.label_sets import LabelSet
from dsbs_jax.data.records import Record
from dsbs_jax.data.split_making import check_rows
from dsbs_jax.errors import UserError
from dsbs_jax.reports.quantiles import quantile

# Scores on fewer rows than this get a warning.
FEW_ROWS = 100
# Labels that a line of the text lists.
_LISTED = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of a field's texts in characters: median, 95 % quantile and longest."""

    median: int
    quantile_95: int
    longest: int

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Lengths":
        """Measures one or more texts."""
        ordered = sorted(map(len, texts))
        return cls(*(quantile(ordered, fraction) for fraction in (0.5, 0.95, 1)))

    def __str__(self) -> str:
        """The three lengths: "40 / 90 / 120"."""
        return f"{self.median} / {self.quantile_95} / {self.longest}"


@dataclasses.dataclass(frozen=True, slots=True)
class SplitQuality:
    """Counts of one split.

    Attributes:
        rows: All rows.
        labels: Rows with a human label.
        teacher_labels: Rows with a teacher label.
        rationales: Rows with a rationale.
        repeated: Rows with the input and the human label of an earlier row.
        conflicting: Inputs with several different human labels.
        label_counts: Rows of each human label, the most frequent first; of each teacher
            label if no row has a human label.
        lengths: By field: input, label, rationale. Fields without a text are left out.
    """

    rows: int
    labels: int
    teacher_labels: int
    rationales: int
    repeated: int
    conflicting: int
    label_counts: Mapping[str, int]
    lengths: Mapping[str, Lengths]


@dataclasses.dataclass(frozen=True, slots=True)
class DataReport:
    """The quality of a dataset's rows.

    Attributes:
        splits: Counts by split.
        shared_inputs: Inputs that two splits have in common, by pair of splits.
        label_set: The label set of the training rows, or None for open answers.
    """

    splits: Mapping[str, SplitQuality]
    shared_inputs: Mapping[tuple[str, str], int]
    label_set: LabelSet | None

    def text(self) -> str:
        """Returns the report as lines to print: counts, labels, lengths, warnings."""
        rows = [
            [name, s.rows, s.labels, s.teacher_labels, s.rationales, s.repeated]
            for name, s in self.splits.items()
        ]
        titles = ("rows", "labels", "teacher labels", "rationales", "repeated rows")
        lines = [
            tabulate.tabulate(rows, headers=["split", *titles], tablefmt="plain"),
            self._label_line(),
            "characters, median / 95 % / longest: "
            + ", ".join(
                f"{field} {lengths}"
                for field, lengths in self.splits["train"].lengths.items()
            ),
            *(f"warning: {warning}" for warning in self.warnings()),
        ]
        return "\n".join(lines)

    def _label_line(self) -> str:
        found = self.label_set
        if found is None:
            counts = self.splits["train"].label_counts
            return f"labels: open answers, {len(counts):,} different"
        return f"labels: a set of {len(found.labels)}: " + _listed(
            dict(zip(found.labels, found.counts, strict=True))
        )

    def warnings(self) -> list[str]:
        """Returns what can make a run or its scores worse, one sentence each."""
        warnings = []
        human = any(split.labels for split in self.splits.values())
        for name, split in self.splits.items():
            warnings += _warnings_of(name, split, self.splits["train"], human)
        for (one, other), count in self.shared_inputs.items():
            shared = counted(count, "input is", "inputs are")
            high = f", so scores on {other} are too high" if one == "train" else ""
            warnings.append(f"{shared} in {one} and in {other}{high}")
        if self.label_set is not None:
            odd = dict(self.label_set.odd_labels)
            if odd:
                warnings.append(f"labels on one row only: {_listed(odd)}")
            for names in _differing_in_case(self.label_set.labels):
                warnings.append(
                    f"the labels {' and '.join(map(repr, names))} differ only in case, "
                    "and count as different answers"
                )
        return warnings


def _differing_in_case(labels: Iterable[str]) -> list[list[str]]:
    """Returns groups of labels with the same letters: [["Login", "login"]]."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(label.casefold(), []).append(label)
    return [names for names in groups.values() if len(names) > 1]


def inspect(records: Mapping[str, Sequence[Record]]) -> DataReport:
    """Counts what is in a dataset's rows.

    Args:
        records: The rows of each split; train is required.

    Raises:
        UserError: The training rows cannot be trained on (`split_making.check_rows`),
            or another split has no rows.
    """
    try:
        check_rows(records["train"])
    except UserError as error:
        raise UserError(f"train: {error}") from error
    empty = [name for name, part in records.items() if not part]
    if empty:
        raise UserError(f"the split {empty[0]} has no rows")
    inputs = {name: {r.input for r in part} for name, part in records.items()}
    shared = {
        (one, other): len(inputs[one] & inputs[other])
        for one, other in itertools.combinations(records, 2)
    }
    return DataReport(
        splits={name: _quality(part) for name, part in records.items()},
        shared_inputs={pair: count for pair, count in shared.items() if count},
        label_set=label_sets.detect_label_set(records["train"]),
    )


def _quality(records: Sequence[Record]) -> SplitQuality:
    labels_of: dict[str, set[str | None]] = {}
    repeated = 0
    for record in records:
        known = labels_of.setdefault(record.input, set())
        repeated += record.label in known
        known.add(record.label)
    conflicting = sum(len(labels - {None}) > 1 for labels in labels_of.values())
    counts = collections.Counter(label_sets.target_labels(records))
    texts = {
        "input": [r.input for r in records],
        "label": [r.label for r in records if r.label is not None],
        "teacher label": [r.teacher_label for r in records if r.teacher_label],
        "rationale": [r.rationale for r in records if r.rationale is not None],
    }
    return SplitQuality(
        rows=len(records),
        labels=len(texts["label"]),
        teacher_labels=len(texts["teacher label"]),
        rationales=len(texts["rationale"]),
        repeated=repeated,
        conflicting=conflicting,
        label_counts=dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        lengths={name: Lengths.of(part) for name, part in texts.items() if part},
    )


def _warnings_of(
    name: str, split: SplitQuality, train: SplitQuality, human: bool
) -> list[str]:
    """Describes what is wrong with a split.

    Args:
        name: Name of the split.
        split: Its counts.
        train: The counts of the training rows.
        human: Whether a row of any split has a human label. Otherwise the teacher's
            labels take their place.
    """
    warnings = []
    if not human and split.teacher_labels < split.rows:
        warnings.append(
            f"{name}: {split.rows - split.teacher_labels:,} of {split.rows:,} rows "
            f"have no label and are not {'trained' if name == 'train' else 'scored'} on"
        )
    elif human and split.labels < split.rows and (split.labels or name != "train"):
        missing = split.rows - split.labels
        used = "not trained on" if name == "train" else "not scored"
        if name == "train" and split.teacher_labels:
            used = "trained on only where the method uses the teacher's labels"
        warnings.append(
            f"{name}: {missing:,} of {split.rows:,} rows have no human label and are "
            f"{used}"
        )
    if split.conflicting:
        inputs = counted(split.conflicting, "input has", "inputs have")
        warnings.append(f"{name}: {inputs} different labels")
    if name == "train":
        return warnings
    new = [label for label in split.label_counts if label not in train.label_counts]
    if new and len(train.label_counts) < label_sets.MAX_LABELS:
        warnings.append(
            f"{name}: {counted(len(new), 'label is', 'labels are')} not in train: "
            f"{_listed({label: split.label_counts[label] for label in new})}"
        )
    if split.rows < FEW_ROWS:
        # Half the 95 % interval of an accuracy of 50 %, in percentage points.
        margin = 100 * 1.96 * math.sqrt(0.25 / split.rows)
        warnings.append(
            f"{name}: an accuracy on {split.rows} rows is uncertain by up to "
            f"{margin:.0f} percentage points"
        )
    return warnings


def _listed(counts: Mapping[str, int]) -> str:
    """Lists labels with their rows: "refuse 120, approve 80 and 3 more"."""
    shown = [f"{x!r:.40} {n:,}" for x, n in itertools.islice(counts.items(), _LISTED)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
