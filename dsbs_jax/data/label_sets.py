"""Detects whether a task's labels are a small closed set."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

from dsbs_jax.data import arithmetic
from dsbs_jax.data.records import Record

# A label set has fewer labels than this, each on two rows or more.
MAX_LABELS = 100
MIN_ROWS_OF_A_LABEL = 2
# Smallest proportion of the rows that the set covers. The other labels are odd labels,
# mostly typing errors.
MIN_COVERAGE = 0.98
# Characters around the digits of a number: 1,200 or 15 % or $3.
_AROUND_NUMBERS = re.compile(r"[\s,%$€£]")


@dataclasses.dataclass(frozen=True, slots=True)
class LabelSet:
    """A closed set of labels that was detected.

    Attributes:
        labels: The labels, the most frequent first.
        counts: Rows of each of them.
        odd_labels: The other labels and their rows, the most frequent first.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    odd_labels: tuple[tuple[str, int], ...]


def detect_label_set(records: Iterable[Record]) -> LabelSet | None:
    """Detects a label set in the human labels, or without any in the teacher labels.

    99 rows "refuse", 100 rows "approve" and one row "approved" ->
    LabelSet(("approve", "refuse"), (100, 99), (("approved", 1),))

    Args:
        records: The training rows. Rows without a label do not count.

    Returns:
        The labels on two rows or more, if they are at least two and fewer than 100 and
        cover at least 98 % of the rows; None for open answers. Labels of which half or
        more are numbers or arithmetic are answers, never a set.
    """
    counts = collections.Counter(target_labels(list(records)))
    common = {x: n for x, n in counts.items() if n >= MIN_ROWS_OF_A_LABEL}
    if not 2 <= len(common) < MAX_LABELS:
        return None
    if sum(common.values()) < MIN_COVERAGE * counts.total():
        return None
    if sum(map(_is_number, common)) * 2 >= len(common):
        return None
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    labels = tuple(label for label in ordered if label in common)
    odd = tuple((label, counts[label]) for label in ordered if label not in common)
    return LabelSet(labels, tuple(common[label] for label in labels), odd)


def why_open(records: Sequence[Record]) -> str:
    """Returns why a label set is not detected in rows.

    ["1", "0", "1"] -> "the labels are numbers, which are answers and not classes"
    """
    labels = collections.Counter(target_labels(records))
    rows = f"{len(labels):,} different labels in {labels.total():,} rows"
    common = [label for label, n in labels.items() if n >= MIN_ROWS_OF_A_LABEL]
    if len(common) >= MAX_LABELS:
        return f"{rows} are too many: a set has fewer than {MAX_LABELS} labels"
    if sum(map(_is_number, common)) * 2 >= len(common) > 0:
        return f"{rows} are numbers, which are read as answers and not as classes"
    return (
        f"{rows} are not a closed set: it has two or more labels, each on several "
        f"rows, which cover {MIN_COVERAGE:.0%} of the rows"
    )


def target_labels(records: Sequence[Record]) -> list[str]:
    """Returns the human labels, or without any the teacher's labels."""
    human = [record.label for record in records if record.label is not None]
    if human:
        return human
    return [r.teacher_label for r in records if r.teacher_label is not None]


def _is_number(label: str) -> bool:
    return arithmetic.value(_AROUND_NUMBERS.sub("", label)) is not None
