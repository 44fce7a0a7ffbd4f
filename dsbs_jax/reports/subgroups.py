"""The accuracy of labels by group of rows, such as the region of a ticket."""

import collections
import dataclasses
from collections.abc import Sequence

from dsbs_jax.reports.proportion import Proportion

# The most frequent groups are shown, all others are pooled.
MAX_GROUPS = 10
NO_GROUP = "(no value)"
OTHER_GROUPS = "(other)"


@dataclasses.dataclass(frozen=True, slots=True)
class Subgroups:
    """The accuracy in each group.

    Attributes:
        accuracy: By group, the largest group first, pooled groups last.
        p_value: P-value of Pearson's chi-squared test that the accuracy is the same in
            all groups.
    """

    accuracy: dict[str, Proportion]
    p_value: float


def group_names(values: Sequence[str | None]) -> list[str]:
    """Returns the group of each row: its value, `NO_GROUP` or `OTHER_GROUPS`."""
    counts = collections.Counter(value for value in values if value is not None)
    shown = {name for name, _ in counts.most_common(MAX_GROUPS)}
    return [
        NO_GROUP if value is None else value if value in shown else OTHER_GROUPS
        for value in values
    ]


def by_group(values: Sequence[str | None], correct: Sequence[bool]) -> Subgroups:
    """Computes the accuracy in each group.

    Values north, south, north; correct True, True, False -> north 1/2, south 1/1

    Args:
        values: The group of each row; None is a row without a group.
        correct: Whether the label of each row is right.
    """
    rows: collections.Counter[str] = collections.Counter()
    right: collections.Counter[str] = collections.Counter()
    for name, is_right in zip(group_names(values), correct, strict=True):
        rows[name] += 1
        right[name] += is_right
    pooled = (OTHER_GROUPS, NO_GROUP)
    order = sorted(rows, key=lambda name: (name in pooled, -rows[name], name))
    accuracy = {name: Proportion(right[name], rows[name]) for name in order}
    return Subgroups(accuracy, _chi_squared(list(accuracy.values())))


def _chi_squared(groups: Sequence[Proportion]) -> float:
    from scipy import stats  # slow to import

    right = [group.count for group in groups]
    wrong = [group.total - group.count for group in groups]
    # Without a right or a wrong row, or with one group, the accuracies are equal.
    if not any(right) or not any(wrong) or len(groups) < 2:
        return 1.0
    return float(stats.chi2_contingency([right, wrong], correction=False).pvalue)
