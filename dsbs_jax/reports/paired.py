"""Comparison of two students on the same rows."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.reports import p_values
from dsbs_jax.reports.proportion import Proportion, Z

_LEVEL = 0.05  # significance level of a 95 % interval


@dataclasses.dataclass(frozen=True, slots=True)
class PairedComparison:
    """The difference of two students' accuracies on the same rows.

    Attributes:
        first: Correct rows of the first student.
        second: Correct rows of the second student.
        only_first: Rows that only the first student has right.
        only_second: Rows that only the second student has right.
    """

    first: Proportion
    second: Proportion
    only_first: int
    only_second: int

    @property
    def difference(self) -> float:
        """Accuracy of the second student minus that of the first, -1 to 1."""
        return (self.only_second - self.only_first) / self.first.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % score interval of the difference (Tango 1998) for independent rows.

        Like the Wilson interval of one proportion, it holds the differences that a
        score test does not reject. It does not shrink to a point when both students
        are right on the same rows, as a bootstrap over rows does, and it needs no seed.

        7 rows only first, 1 only second, of 21 -> (-0.5172, -0.0260)
        """
        from scipy import optimize  # slow to import

        difference = self.difference

        def excess(value: float) -> float:
            return abs(self._score(value)) - Z

        low, high = -1.0, 1.0
        if difference > -1:
            low = optimize.brentq(excess, -1.0, difference)
        if difference < 1:
            high = optimize.brentq(excess, difference, 1.0)
        return low, high

    def _score(self, value: float) -> float:
        """Returns the score statistic of a difference: standard normal if it is true.

        Tango 1998, Statistics in Medicine 17, equation 14.
        """
        n, b, c = self.first.total, self.only_second, self.only_first
        # The most likely proportion of rows that only the first student has right,
        # given the difference: the larger root of 2n q^2 + p q + r.
        p = (2 * n - b + c) * value - b - c
        r = -c * value * (1 - value)
        q = (math.sqrt(max(0.0, p * p - 8 * n * r)) - p) / (4 * n)
        variance = n * (2 * q + value * (1 - value))
        surplus = b - c - n * value
        if variance <= 0:
            return math.copysign(math.inf, surplus) if surplus else 0.0
        return surplus / math.sqrt(variance)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of McNemar's exact test that both are equally accurate."""
        from scipy import stats  # slow to import

        different = self.only_first + self.only_second
        if not different:
            return 1.0
        return float(stats.binomtest(self.only_first, different).pvalue)

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0 and the exact test's p-value is below 0.05.

        With few rows the exact test is stricter than the interval.
        """
        low, high = self.interval
        return (low > 0 or high < 0) and self.p_value < _LEVEL

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; proportions are 0 to 1, the difference -1 to 1."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "only_first": self.only_first,
            "only_second": self.only_second,
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "is_significant": self.is_significant,
        }

    def describe(self, first: str, second: str) -> str:
        """Describes the comparison in sentences.

        Args:
            first: Name of the first student.
            second: Name of the second student.
        """
        low, high = self.interval
        verdict = "the rows do not show which one is more accurate"
        if self.is_significant:
            better, worse = (second, first) if low > 0 else (first, second)
            verdict = f"{better} is more accurate than {worse}"
        return (
            f"{first} is right on {self.first.percent} of {self.first.total:,} rows "
            f"and {second} on {self.second.percent}. The difference is "
            f"{100 * self.difference:+.2f} points (95 % interval {100 * low:+.2f} to "
            f"{100 * high:+.2f}; McNemar's exact test, "
            f"{p_values.statement(self.p_value)}): {verdict}."
        )


def compare(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """Compares two students on the same rows.

    Args:
        first: Whether the first student is right on each row.
        second: The same for the second student, in the same order.

    Raises:
        UserError: There are no rows.
        ValueError: The lengths differ.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        raise UserError("there are no rows to compare, expected at least one")
    rows = len(pairs)
    return PairedComparison(
        first=Proportion(sum(a for a, _ in pairs), rows),
        second=Proportion(sum(b for _, b in pairs), rows),
        only_first=sum(a and not b for a, b in pairs),
        only_second=sum(b and not a for a, b in pairs),
    )
