import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.reports.proportion import Proportion


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_the_published_ones(count, total, low, high):
    interval = Proportion(count, total).interval
    assert interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (586, 800), (9, 10_000)])
def test_wilson_intervals_are_those_of_scipy(count, total):
    from scipy import stats

    expected = stats.binomtest(count, total).proportion_ci(method="wilson")
    interval = Proportion(count, total).interval
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_the_interval_contains_the_proportion_and_is_symmetric(count, total):
    count = min(count, total)
    low, high = Proportion(count, total).interval
    assert 0 <= low <= count / total + 1e-12 and count / total - 1e-12 <= high <= 1
    mirrored = Proportion(total - count, total).interval
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_without_rows_nothing_is_known():
    assert math.isnan(Proportion(0, 0).value)
    assert Proportion(0, 0).interval == (0.0, 1.0)
