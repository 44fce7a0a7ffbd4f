"""Calibration: whether a student's probabilities agree with its accuracy."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dsbs_jax.reports.proportion import Proportion

BINS = 15


@dataclasses.dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows whose confidence is in an interval.

    Attributes:
        low: Lower end of the interval, exclusive.
        high: Upper end of the interval, inclusive.
        confidence: Mean confidence of the rows, 0 to 1; NaN without rows.
        correct: Proportion of correct rows.
    """

    low: float
    high: float
    confidence: float
    correct: Proportion

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return {
            "low": self.low,
            "high": self.high,
            "confidence": self.confidence if self.correct.total else None,
            "correct": self.correct.to_json(),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of a student's confidence, the probability of its best label.

    Attributes:
        expected_error: Expected calibration error, 0 to 1.
        bins: Reliability bins of equal width, from 0 to 1.
    """

    expected_error: float
    bins: list[ReliabilityBin]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return {
            "expected_calibration_error": self.expected_error,
            "bins": [one.to_json() for one in self.bins],
        }


def calibration(
    confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS
) -> Calibration:
    """Computes the expected calibration error.

    The error is the mean over rows of |accuracy - mean confidence| of the row's bin:
    sum_b n_b / n * |accuracy_b - confidence_b| (Guo et al. 2017, "On Calibration of
    Modern Neural Networks", equation 3). Bin b of B holds the confidences in
    ((b - 1) / B, b / B].

    Args:
        confidences: The probability of the best label of each row, 0 to 1.
        correct: Whether the best label is right.
        bins: B.
    """
    values, hits = np.asarray(confidences, np.float64), np.asarray(correct, bool)
    places = np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)
    parts, error = [], 0.0
    for b in range(bins):
        inside = places == b
        share = Proportion(int(hits[inside].sum()), int(inside.sum()))
        mean = float(values[inside].mean()) if share.total else float("nan")
        if share.total:
            error += share.total / len(values) * abs(share.value - mean)
        parts.append(ReliabilityBin(b / bins, (b + 1) / bins, mean, share))
    return Calibration(error, parts)
