"""Tests of subsampling and of carving validation sets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import splits
from dsbs_jax.data.splits import Subsample
from dsbs_jax.errors import UserError


# First indices as `datasets.Dataset.train_test_split(test_size=0.1, seed=0)` of Hugging
# Face datasets 5.2.0 gave them.
@pytest.mark.parametrize(
    "n,sizes,train,validation",
    [
        (800, (720, 80), [792, 273, 165, 521], [759, 697, 2, 105]),
        (9741, (8766, 975), [50, 4943, 8192, 9704], [4032, 2432, 4722, 1506]),
    ],
)
def test_validation_rows_are_those_of_the_paper(n, sizes, train, validation):
    carved = splits.carve_validation(n)
    assert tuple(map(len, carved)) == sizes
    assert carved[0][:4].tolist() == train
    assert carved[1][:4].tolist() == validation


def test_subsample_is_that_of_hugging_face():
    # As train_test_split(test_size=1 - fraction, seed=seed)["train"] of that version.
    assert Subsample(0.5, 1).choose(800)[:4].tolist() == [252, 280, 441, 74]
    # 1 - 0.7 is 0.30000000000000004, and 800 times that rounds up to 241.
    assert len(Subsample(0.7, 0).choose(800)) == 559


def test_subsample_keeps_the_order_of_the_permutation():
    order = np.random.default_rng(3).permutation(10)
    assert Subsample(0.5, 3).choose(10).tolist() == order[5:].tolist()


@given(
    n=st.integers(4, 3000),
    fraction=st.floats(0.5, 1.0),
    seed=st.integers(0, 9),
    carved=st.booleans(),
)
def test_parts_are_disjoint_and_of_the_right_size(n, fraction, seed, carved):
    train, validation = splits.train_and_validation(
        n, Subsample(fraction, seed), carved
    )
    rows = np.concatenate([train, validation])
    assert len(set(rows.tolist())) == len(rows) == n - math.ceil((1.0 - fraction) * n)
    assert rows.min() >= 0 and rows.max() < n
    assert len(validation) == (math.ceil(0.1 * len(rows)) if carved else 0)


def test_subsampling_comes_before_carving():
    kept = Subsample(0.5, 2).choose(100)
    train, validation = splits.train_and_validation(100, Subsample(0.5, 2), True)
    inner_train, inner_validation = splits.carve_validation(50)
    assert train.tolist() == kept[inner_train].tolist()
    assert validation.tolist() == kept[inner_validation].tolist()


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(UserError, match="SUBSAMPLE_FRACTION"):
        Subsample(fraction, 0)


@pytest.mark.parametrize("n,fraction,seed", [(10, 0.01, 0), (10, 0.5, -1)])
def test_subsample_that_is_empty_or_has_a_negative_seed(n, fraction, seed):
    with pytest.raises(UserError, match="SUBSAMPLE_(FRACTION|SEED) is"):
        Subsample(fraction, seed).choose(n)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_to_carve_validation(n):
    with pytest.raises(UserError, match=f"^{n} train rows"):
        splits.carve_validation(n)
