"""A proportion of rows and its confidence interval."""

import dataclasses
import math
import statistics
from typing import Any

# Quantile of the normal distribution for a two-sided interval of 95 %, 1.96.
Z = statistics.NormalDist().inv_cdf(0.975)
# Shown in place of a number that does not exist.
NO_VALUE = "–"


@dataclasses.dataclass(frozen=True, slots=True)
class Proportion:
    """A proportion: `count` of `total` rows."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The proportion, 0 to 1; NaN without rows."""
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval (Wilson 1927) for independent rows.

        Unlike the normal approximation, it is inside [0, 1] and does not shrink to a
        point when all rows or none count, which happens in small classes.

        586 of 800 -> (0.7008, 0.7620)
        """
        # SciPy computes the same interval, but scipy.stats takes longer to import than
        # everything else that a page needs.
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.value
        denominator = 1 + Z**2 / n
        center = (p + Z**2 / (2 * n)) / denominator
        half = Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / denominator
        return max(0.0, center - half), min(1.0, center + half)

    @property
    def percent(self) -> str:
        """The proportion as text: "73.25 %"."""
        return f"{100 * self.value:.2f} %" if self.total else NO_VALUE

    @property
    def percent_interval(self) -> str:
        """The interval in percent as text: "70.08 to 76.20"."""
        if not self.total:
            return NO_VALUE
        low, high = self.interval
        return f"{100 * low:.2f} to {100 * high:.2f}"

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values: count, total, and value and interval from 0 to 1."""
        return {
            "count": self.count,
            "total": self.total,
            "value": self.value if self.total else None,
            "interval": list(self.interval),
        }
