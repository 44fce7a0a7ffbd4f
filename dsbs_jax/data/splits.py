"""Which rows go where, index for index as Hugging Face datasets splits them.

The paper's code carves validation sets and subsamples with
`datasets.Dataset.train_test_split`; this follows its published behaviour: a permutation
by `numpy.random.default_rng(seed)`, of which the first `ceil(test_size * n)` rows are
the test side and the rest, in that order, the train side. All indices are row numbers
counted from 0, int64 arrays of shape [rows].
"""

import math

import numpy as np

from dsbs_jax.errors import UserError

VALIDATION_SIZE = 0.1
VALIDATION_SEED = 0


def _train_test_split(
    n: int, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (train, test) row numbers of `n` rows."""
    # The product is rounded in floating point before ceil, and that decides a row.
    n_test = math.ceil(test_size * n)
    order = np.random.default_rng(seed).permutation(n)
    return order[n_test:], order[:n_test]


def carve_validation(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits `n` train rows into the paper's (train, validation) row numbers.

    9,741 rows give 8,766 and 975.

    Raises:
        UserError: Fewer than two rows.
    """
    if n < 2:
        raise UserError(f"{n} train rows cannot be split into train and validation")
    return _train_test_split(n, VALIDATION_SIZE, VALIDATION_SEED)


def subsample(n: int, fraction: float, seed: int) -> np.ndarray:
    """Picks a fraction of `n` rows.

    Args:
        n: Number of rows.
        fraction: Share to keep, in (0, 1]; 1 keeps all rows in their order.
        seed: Of the permutation; the paper uses the number of the run.

    Returns:
        Row numbers in the order of the permutation.

    Raises:
        UserError: The fraction is out of range or leaves no row, or the seed is
            negative.
    """
    if not 0.0 < fraction <= 1.0:
        raise UserError(f"the subsampling fraction is {fraction}, expected 0 < it <= 1")
    if seed < 0:
        raise UserError(f"the subsampling seed is {seed}, expected 0 or more")
    if fraction == 1.0:
        return np.arange(n)
    kept, _ = _train_test_split(n, 1.0 - fraction, seed)
    if not kept.size:
        raise UserError(f"a fraction of {fraction} leaves none of {n} rows")
    return kept


def train_and_validation(
    n: int, fraction: float, seed: int, carved: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Subsamples a raw train split, then carves validation out of what is left.

    Args:
        n: Rows of the raw train split.
        fraction: As in `subsample`.
        seed: As in `subsample`.
        carved: Whether validation is carved out of train; without, it is empty here.

    Returns:
        (train, validation) row numbers in the raw train split.

    Raises:
        UserError: As in `subsample` and `carve_validation`.
    """
    kept = subsample(n, fraction, seed)
    if not carved:
        return kept, kept[:0]
    train, validation = carve_validation(len(kept))
    return kept[train], kept[validation]
