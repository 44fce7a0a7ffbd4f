"""Figures of a teacher's bias: by label, by length, by group, and after swapped terms.

A student learns the teacher's skew with the teacher's labels, so these figures tell
what it will inherit.
"""

import collections
import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from dsbs_jax.data.metrics import Metric
from dsbs_jax.rationales import accuracy
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports import label_skew, subgroups
from dsbs_jax.reports.label_skew import LabelSkew
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.reports.subgroups import Subgroups

RIGHT, WRONG = "right", "wrong"


@dataclasses.dataclass(frozen=True, slots=True)
class LengthGroup:
    """Lengths of the rationales of some rows.

    Attributes:
        median: Median length in words.
        longer: Rationales that are longer than the median of all.
    """

    median: float
    longer: Proportion


@dataclasses.dataclass(frozen=True, slots=True)
class Swaps:
    """The teacher's labels after terms of the inputs were swapped.

    Attributes:
        changed: Inputs whose label changed, among those with a label before and after.
        changes: Number of inputs by label before and label after, for changed labels.
    """

    changed: Proportion
    changes: dict[tuple[str, str], int]


@dataclasses.dataclass(frozen=True, slots=True)
class Bias:
    """Figures of the teacher's bias.

    Attributes:
        skew: Shares of the labels among human and teacher labels; None for open answers
            and without human labels.
        label_lengths: Lengths by teacher label; empty for open answers.
        accuracy_lengths: Lengths of right and wrong rows; empty without human labels.
        length_p_value: P-value of the Mann–Whitney test that right and wrong rows have
            rationales of the same length; None without one of them.
        groups: The teacher's accuracy by value, for each column.
        swaps: Labels after a swap; None if no swapped rows were given.
    """

    skew: LabelSkew | None
    label_lengths: dict[str, LengthGroup]
    accuracy_lengths: dict[str, LengthGroup]
    length_p_value: float | None
    groups: dict[str, Subgroups]
    swaps: Swaps | None


def measure(
    examples: Sequence[VotedExample],
    metric: Metric,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    swapped: Sequence[VotedExample] | None = None,
) -> Bias:
    """Computes the figures over all voted examples.

    Args:
        examples: The voted examples, before the filters.
        metric: Compares labels.
        columns: For each column the value by id of the row.
        swapped: The examples of the same ids after terms were swapped.
    """
    rows = accuracy.comparable(examples)
    correct = [accuracy.is_correct(e, metric) for e in rows]
    # A rationale that the teacher wrote with help belongs to no label of its own.
    right_or_wrong = [
        None if e.answer_given else RIGHT if is_right else WRONG
        for e, is_right in zip(rows, correct, strict=True)
    ]
    targets = [str(e.label) for e in rows]
    answers = [e.teacher_label for e in examples]
    return Bias(
        skew=label_skew.label_skew(targets, [_given(e, metric) for e in rows])
        if _is_closed(targets)
        else None,
        label_lengths=_lengths(examples, answers) if _is_closed(answers) else {},
        accuracy_lengths=_lengths(rows, right_or_wrong),
        length_p_value=_mann_whitney(rows, right_or_wrong),
        groups={
            name: subgroups.by_group([values.get(e.id) for e in rows], correct)
            for name, values in (columns or {}).items()
        },
        swaps=None if swapped is None else _swaps(examples, swapped, metric),
    )


def _is_closed(labels: Sequence[str | None]) -> bool:
    """Whether there are at most `accuracy.MAX_CLASSES` different labels, and some."""
    return 0 < len({*labels} - {None}) <= accuracy.MAX_CLASSES


def _given(example: VotedExample, metric: Metric) -> str | None:
    """Returns the teacher label, in the spelling of the human label if it is right."""
    if accuracy.is_correct(example, metric):
        return example.label
    return example.unaided_label


def _word_count(example: VotedExample) -> int:
    return len((example.rationale or "").split())


def _lengths(
    examples: Sequence[VotedExample], names: Sequence[str | None]
) -> dict[str, LengthGroup]:
    """Measures the rationales of each group; examples without one do not count."""
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for example, name in zip(examples, names, strict=True):
        if name is not None and example.rationale is not None:
            groups[name].append(_word_count(example))
    lengths = [length for group in groups.values() for length in group]
    middle = statistics.median(lengths) if lengths else 0
    return {
        name: LengthGroup(
            statistics.median(group),
            Proportion(sum(length > middle for length in group), len(group)),
        )
        for name, group in sorted(groups.items(), key=lambda x: (-len(x[1]), x[0]))
    }


def _mann_whitney(
    rows: Sequence[VotedExample], right_or_wrong: Sequence[str | None]
) -> float | None:
    from scipy import stats  # slow to import

    samples: dict[str, list[int]] = {RIGHT: [], WRONG: []}
    for example, name in zip(rows, right_or_wrong, strict=True):
        if example.rationale is not None and name is not None:
            samples[name].append(_word_count(example))
    if not all(samples.values()):
        return None
    return float(stats.mannwhitneyu(samples[RIGHT], samples[WRONG]).pvalue)


def _swaps(
    examples: Sequence[VotedExample], swapped: Sequence[VotedExample], metric: Metric
) -> Swaps:
    before = {e.id: e.unaided_label for e in examples}
    changes: collections.Counter[tuple[str, str]] = collections.Counter()
    total = 0
    for example in swapped:
        old, new = before.get(example.id), example.unaided_label
        if old is None or new is None:
            continue
        total += 1
        if old != new and not metric.is_correct(old, new):
            changes[old, new] += 1
    return Swaps(Proportion(changes.total(), total), dict(changes.most_common()))
