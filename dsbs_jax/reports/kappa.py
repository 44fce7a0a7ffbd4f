"""Cohen's kappa: the agreement of two raters beyond chance."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa (Cohen 1960) of two yes-or-no ratings of the same rows.

    Attributes:
        value: Observed agreement minus that of chance, divided by 1 minus that of
            chance: 1 for the same ratings, 0 for agreement by chance.
        interval: The asymptotic 95 % interval (Fleiss, Cohen and Everitt 1969), limited
            to [-1, 1]. None if all ratings agree or all disagree, where the asymptotic
            variance is 0.
    """

    value: float
    interval: tuple[float, float] | None


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> Kappa | None:
    """Returns the kappa of two ratings.

    None if a rater gives every row the same rating: then the agreement is that of
    chance, independent of the rater.
    """
    if len({*first}) < 2 or len({*second}) < 2:
        return None
    from statsmodels.stats import inter_rater  # slow to import

    table = np.zeros((2, 2), int)
    for one, other in zip(first, second, strict=True):
        table[int(one), int(other)] += 1
    found = inter_rater.cohens_kappa(table)
    if not found.var_kappa > 0:
        return Kappa(float(found.kappa), None)
    low, high = max(-1.0, found.kappa_low), min(1.0, found.kappa_upp)
    return Kappa(float(found.kappa), (float(low), float(high)))
