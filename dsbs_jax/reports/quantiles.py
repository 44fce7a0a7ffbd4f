"""Quantiles of lengths."""

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[int], fraction: float) -> int:
    """Returns the smallest value that at least `fraction` of the values do not exceed.

    The lengths 1 to 20, 0.95 -> 19

    Args:
        ordered: One or more values, sorted.
        fraction: 0 to 1.
    """
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]
