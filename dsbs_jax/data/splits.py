"""Row numbers of subsamples and validation sets, as in Hugging Face datasets.

The paper's code makes both with `datasets.Dataset.train_test_split`: a permutation by
`numpy.random.default_rng(seed)`, whose first `ceil(test_size * n)` rows are the test
side; the others, in that order, are the train side. All functions return row numbers
counted from 0, int64 arrays of shape [rows].
"""

import dataclasses
import math

import numpy as np

from dsbs_jax.errors import UserError

VALIDATION_SIZE = 0.1
VALIDATION_SEED = 0


def _train_test_split(
    n: int, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (train, test) row numbers of `n` rows."""
    # The product is rounded in floating point before ceil, which can change the result
    # by one row.
    n_test = math.ceil(test_size * n)
    order = np.random.default_rng(seed).permutation(n)
    return order[n_test:], order[:n_test]


@dataclasses.dataclass(frozen=True, slots=True)
class Subsample:
    """A part of the training rows.

    Attributes:
        fraction: Proportion of the rows to keep, above 0 and at most 1; 1 keeps all
            rows in their order.
        seed: Seed of the permutation; the paper uses the number of the run.

    Raises:
        UserError: The fraction is out of range, or the seed is negative.
    """

    fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks both fields."""
        if not 0.0 < self.fraction <= 1.0:
            raise UserError(
                f"SUBSAMPLE_FRACTION is {self.fraction}, expected a fraction above 0 "
                "and at most 1"
            )
        if self.seed < 0:
            raise UserError(f"SUBSAMPLE_SEED is {self.seed}, expected 0 or more")

    def choose(self, n: int) -> np.ndarray:
        """Returns the rows to keep of `n` rows, in the order of the permutation.

        Raises:
            UserError: No row is left.
        """
        if self.fraction == 1.0:
            return np.arange(n)
        kept, _ = _train_test_split(n, 1.0 - self.fraction, self.seed)
        if not kept.size:
            raise UserError(
                f"SUBSAMPLE_FRACTION is {self.fraction}, which leaves none of {n} rows"
            )
        return kept


ALL_ROWS = Subsample()


def carve_validation(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits `n` train rows into the paper's (train, validation) row numbers.

    9,741 rows -> 8,766 and 975 rows.

    Raises:
        UserError: There are fewer than two rows.
    """
    if n < 2:
        raise UserError(f"{n} train rows cannot be split into train and validation")
    return _train_test_split(n, VALIDATION_SIZE, VALIDATION_SEED)


def train_and_validation(
    n: int, subsample: Subsample, carved: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Subsamples a raw train split, then carves validation out of the remaining rows.

    Args:
        n: Number of rows of the raw train split.
        subsample: The part of the rows to use.
        carved: Whether validation is carved out of train. Otherwise the validation
            rows returned here are empty.

    Returns:
        (train, validation) row numbers in the raw train split.

    Raises:
        UserError: Too few rows are left.
    """
    kept = subsample.choose(n)
    if not carved:
        return kept, kept[:0]
    train, validation = carve_validation(len(kept))
    return kept[train], kept[validation]
