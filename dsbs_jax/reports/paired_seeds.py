"""Comparison of two methods on the same rows, each with several seeds.

Two methods are trained with the same seeds and scored on the same test rows. Both the
seeds and the rows are samples: another test set, or other seeds, would give another
difference. The interval covers both sources of variation:

    correct of the second - correct of the first, for seed s and row i
        = difference + effect of s + effect of i + rest

The variance of the mean is estimated from the mean squares of this two-way layout
(Brennan 2001, Generalizability Theory, section 2.4), and its degrees of freedom as in
Satterthwaite 1946. Without an effect of the rows this is the paired t interval over
seeds; without an effect of the seeds it is the paired t interval over rows. No random
numbers are drawn. `paired` compares two students, which is one seed.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.reports import paired

LEVEL = 0.05  # significance level of a 95 % interval
# Correct answers of a method: seed: row id: whether it is right.
Answers = Mapping[int, Mapping[str, bool]]


@dataclasses.dataclass(frozen=True, slots=True)
class MeanEstimate:
    """The mean of a two-way layout with a 95 % interval.

    Attributes:
        mean: The mean.
        error: Standard error of the mean over new seeds and new rows.
        degrees: Degrees of freedom of the error, at least the smaller number of levels
            minus 1.
    """

    mean: float
    error: float
    degrees: float

    @property
    def interval(self) -> tuple[float, float]:
        """The t interval."""
        from scipy import stats  # slow to import

        half = stats.t.ppf(1 - LEVEL / 2, self.degrees) * self.error
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the t test that the mean is 0."""
        from scipy import stats  # slow to import

        if not self.error:
            return 1.0 if not self.mean else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.degrees))


def estimate_mean(values: np.ndarray) -> MeanEstimate:
    """Estimates the mean of a two-way layout of random seeds and random rows.

    Args:
        values: float [seeds, rows], at least two of each.
    """
    seeds, rows = values.shape
    mean = values.mean()
    by_seed, by_row = values.mean(axis=1), values.mean(axis=0)
    # Mean squares of seeds, of rows and of the rest.
    ms_seed = rows * by_seed.var(ddof=1)
    ms_row = seeds * by_row.var(ddof=1)
    rest = values - by_seed[:, None] - by_row + mean
    df_seed, df_row = seeds - 1, rows - 1
    df_rest = df_seed * df_row
    ms_rest = (rest**2).sum() / df_rest
    # The sum can be near 0 or below 0 by chance. At least half of the rows' mean square
    # keeps the coverage of the interval at 94 % or more.
    total = max(ms_seed + ms_row - ms_rest, ms_row / 2)
    spread = ms_seed**2 / df_seed + ms_row**2 / df_row + ms_rest**2 / df_rest
    degrees = total**2 / spread if spread else float(df_rest)
    return MeanEstimate(float(mean), math.sqrt(total / (seeds * rows)), float(degrees))


@dataclasses.dataclass(frozen=True, slots=True)
class SeedComparison:
    """The difference of two methods' accuracies.

    Attributes:
        first: Mean accuracy of the first method over the seeds, 0 to 1.
        second: Mean accuracy of the second method.
        seeds: The seeds that both methods have.
        rows: Number of test rows.
        interval: 95 % interval of the difference `second - first`.
        p_value: Two-sided p-value that both methods are equally accurate.
        test: Name of the test.
    """

    first: float
    second: float
    seeds: tuple[int, ...]
    rows: int
    interval: tuple[float, float]
    p_value: float
    test: str

    @property
    def difference(self) -> float:
        """Accuracy of the second method minus that of the first, -1 to 1."""
        return self.second - self.first

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {**dataclasses.asdict(self), "difference": self.difference}


def compare(first: Answers, second: Answers) -> SeedComparison:
    """Compares two methods by the seeds and the rows that they share.

    With one shared seed, the comparison is that of `paired.compare`: the score interval
    and McNemar's exact test, which cover new rows and not new seeds.

    Raises:
        UserError: No seed is shared, or a shared seed has other rows.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        raise UserError(
            f"the methods have the seeds {sorted(first)} and {sorted(second)}, "
            "expected at least one seed in both"
        )
    ids = sorted(first[seeds[0]])
    for answers in (first, second):
        for seed in seeds:
            _check_rows(ids, answers[seed], seed)
    before, after = (
        np.array([[answers[seed][name] for name in ids] for seed in seeds])
        for answers in (first, second)
    )
    difference = after.astype(float) - before
    if len(seeds) > 1 and len(ids) > 1 and np.ptp(difference):
        estimate = estimate_mean(difference)
        interval, p_value = estimate.interval, estimate.p_value
        test = "t test over seeds and rows"
    else:
        # If no difference varies, the variance of a t interval would be 0.
        single = paired.compare(before[0].tolist(), after[0].tolist())
        interval, p_value = single.interval, single.p_value
        test = "McNemar's exact test"
    return SeedComparison(
        first=float(before.mean()),
        second=float(after.mean()),
        seeds=seeds,
        rows=len(ids),
        interval=interval,
        p_value=p_value,
        test=test,
    )


def _check_rows(ids: Sequence[str], answers: Mapping[str, bool], seed: int) -> None:
    if len(answers) != len(ids) or any(name not in answers for name in ids):
        unknown = sorted(set(ids) ^ answers.keys())
        raise UserError(
            f"seed {seed} has {len(answers):,} test rows, expected the {len(ids):,} "
            f"rows of the other runs; {unknown[0]!r} is only in one of them"
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values of the comparisons in one table (Holm 1979).

    [0.01, 0.04, 0.03] -> [0.03, 0.06, 0.06]
    """
    if not p_values:
        return []
    from statsmodels.stats import multitest  # slow to import

    return [float(p) for p in multitest.multipletests(p_values, method="holm")[1]]
