import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from dsbs_jax.errors import UserError
from dsbs_jax.reports import paired
from dsbs_jax.reports.paired import compare

counts = st.tuples(*[st.integers(0, 30)] * 3).filter(any)


def outcomes(both, only_first, only_second, neither=0):
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first
    return first, second + [True] * only_second + [False] * neither


def test_published_interval():
    """Airway reactivity, Fagerland et al. 2014, Tango's interval."""
    result = compare(*outcomes(1, 7, 1, 12))
    assert result.difference == pytest.approx(-6 / 21)
    assert result.interval == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_hand_computed_p_value():
    """7 of 8 different rows: 2 * (8 + 1) / 2**8."""
    assert compare(*outcomes(1, 7, 1, 12)).p_value == pytest.approx(18 / 256)
    assert compare([True, False], [True, False]).p_value == 1.0


def score_statistic(n, b, c, value):
    """The score test, with the nuisance parameter found by maximization."""

    def loss(q):
        total = 0.0
        cells = ((b, q + value), (c, q), (n - b - c, 1 - 2 * q - value))
        for count, probability in cells:
            if count:
                total -= count * np.log(max(probability, 1e-300))
        return total

    low, high = max(0.0, -value), (1 - value) / 2
    q = optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
    ).x
    variance = n * (2 * q + value * (1 - value))
    return (b - c - n * value) / np.sqrt(variance)


@settings(max_examples=40, deadline=None)
@given(counts)
def test_interval_ends_where_the_score_test_rejects(counts):
    same, only_first, only_second = counts
    result = compare(*outcomes(same, only_first, only_second))
    n = sum(counts)
    for end in result.interval:
        if -0.999 < end < 0.999:
            value = score_statistic(n, only_second, only_first, end)
            assert abs(value) == pytest.approx(stats.norm.ppf(0.975), abs=1e-3)
    low, high = result.interval
    assert -1 <= low <= result.difference <= high <= 1
    assert low < high
    swapped = compare(*outcomes(same, only_second, only_first))
    assert swapped.interval == pytest.approx((-high, -low), abs=1e-9)


def test_interval_agrees_with_a_bootstrap_over_rows():
    first, second = map(np.asarray, outcomes(200, 40, 75, 85))
    result = compare(first.tolist(), second.tolist())
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(first), (10_000, len(first)))
    differences = (second[rows].astype(int) - first[rows]).mean(axis=1)
    expected = np.quantile(differences, [0.025, 0.975])
    np.testing.assert_allclose(result.interval, expected, atol=0.005)


def test_interval_covers_the_true_difference():
    """Exact coverage for 60 rows, over all outcomes, is near 95 %."""
    n, q_first, q_second = 60, 0.05, 0.15
    covered = 0.0
    for c, b in itertools.product(range(16), range(26)):
        chance = stats.multinomial.pmf(
            [c, b, n - b - c], n, [q_first, q_second, 1 - q_first - q_second]
        )
        low, high = compare(*outcomes(n - b - c, c, b)).interval
        covered += chance * (low <= q_second - q_first <= high)
    assert 0.93 < covered < 0.98


def test_equal_students_have_an_interval():
    low, high = compare(*outcomes(30, 0, 0, 30)).interval
    assert -0.07 < low < 0 < high < 0.07


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((10, 2, 40), "new is more accurate than old"),
        ((10, 40, 2), "old is more accurate than new"),
        # The interval excludes 0, but the exact test's p-value is 0.065.
        ((38, 2, 9), "the rows do not show which one is more accurate"),
        ((10, 5, 6), "the rows do not show which one is more accurate"),
    ],
)
def test_description_names_the_better_student(numbers, verdict):
    text = compare(*outcomes(*numbers)).describe("old", "new")
    assert verdict in text
    assert "McNemar" in text


def test_json_has_every_figure():
    result = compare(*outcomes(5, 2, 3, 1))
    values = result.to_json()
    assert (values["only_first"], values["only_second"]) == (2, 3)
    assert values["first"]["count"] == 7 and values["second"]["count"] == 8
    assert values["difference"] == pytest.approx(1 / 11)
    assert values["interval"] == list(result.interval)


def test_rows_are_needed():
    with pytest.raises(UserError, match="no rows to compare"):
        compare([], [])
    with pytest.raises(ValueError):
        paired.compare([True], [])
