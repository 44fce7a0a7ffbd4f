import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from dsbs_jax.errors import UserError
from dsbs_jax.reports import paired, paired_seeds
from dsbs_jax.reports.paired_seeds import compare, estimate_mean, holm

# Additional hours of sleep of ten patients with the second drug, Student 1908.
# Published results of the paired t test: t = 4.06, 9 degrees of freedom, interval
# 0.70 to 2.46.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]


@pytest.mark.parametrize("axis", ["seeds", "rows"])
def test_published_paired_t_interval(axis):
    """Without an effect of one side, the other side alone decides."""
    values = np.repeat(np.array(SLEEP)[:, None], 7, axis=1)
    result = estimate_mean(values if axis == "seeds" else values.T)
    assert result.mean == pytest.approx(1.58)
    assert result.mean / result.error == pytest.approx(4.0621, abs=1e-4)
    assert result.degrees == pytest.approx(9)
    assert result.interval == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert result.p_value == pytest.approx(0.00283, abs=1e-5)


def test_variance_is_that_of_an_analysis_of_variance():
    """statsmodels computes the mean squares by least squares."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(5, 12)) + 2 * rng.normal(size=(5, 1))
    values += rng.normal(size=12)
    cells = [(s, i, values[s, i]) for s in range(5) for i in range(12)]
    frame = pd.DataFrame(cells, columns=["seed", "row", "value"])
    table = anova_lm(ols("value ~ C(seed) + C(row)", frame).fit())
    squares = (table["sum_sq"] / table["df"]).to_numpy()
    total = squares[0] + squares[1] - squares[2]
    assert total > squares[1] / 2
    result = estimate_mean(values)
    assert result.error == pytest.approx(np.sqrt(total / 60))
    # Satterthwaite 1946: (sum of terms)^2 / sum of (term^2 / its degrees of freedom).
    expected = total**2 / (squares**2 / table["df"].to_numpy()).sum()
    assert result.degrees == pytest.approx(expected)
    half = stats.t.ppf(0.975, expected) * np.sqrt(total / 60)
    low, high = result.interval
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))


@pytest.mark.parametrize("ratio", [0, 1, 10])
def test_interval_covers_the_true_difference(ratio):
    """5 seeds, 200 rows; `ratio` is seed variance / variance of the mean over rows."""
    rng = np.random.default_rng(ratio)
    covered = 0
    for _ in range(1_000):
        row = rng.normal(size=200)
        seed = rng.normal(size=(5, 1)) * np.sqrt(ratio / 200)
        values = 0.3 + row + seed + rng.normal(size=(5, 200))
        low, high = estimate_mean(values).interval
        covered += low <= 0.3 <= high
    assert 930 <= covered <= 970


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0, 1, 10])
def test_interval_covers_the_true_difference_of_answers(ratio):
    """Right and wrong answers of two methods, with 5 seeds and 200 rows."""
    rng = np.random.default_rng(10 + ratio)
    # Chance of a right answer: 0.4 and 0.55 on average, with an effect of the row.
    deviation = np.sqrt(ratio * (2 * 0.15**2 / 12 * 4) / 200)
    covered = 0
    for _ in range(1_000):
        before = 0.4 + rng.uniform(-0.15, 0.15, 200)
        after = 0.55 + rng.uniform(-0.15, 0.15, 200)
        seed = np.clip(rng.normal(size=(5, 1)) * deviation, -0.25, 0.25)
        first = rng.random((5, 200)) < before
        second = rng.random((5, 200)) < after + seed
        low, high = estimate_mean(second.astype(float) - first).interval
        covered += low <= 0.15 <= high
    assert 930 <= covered <= 970


def answers_of(right):
    return {f"r{i}": bool(value) for i, value in enumerate(right)}


def test_methods_are_compared_by_shared_seeds_and_row_ids():
    rng = np.random.default_rng(0)
    first = {seed: answers_of(rng.random(100) < 0.4) for seed in (0, 1, 2, 3)}
    second = {seed: answers_of(rng.random(100) < 0.8) for seed in (1, 2, 3, 5)}
    second[2] = dict(reversed(second[2].items()))
    result = compare(first, second)
    assert result.seeds == (1, 2, 3) and result.rows == 100
    before = np.mean([list(first[s].values()) for s in (1, 2, 3)])
    after = np.mean([list(second[s].values()) for s in (1, 2, 3)])
    assert (result.first, result.second) == pytest.approx((before, after))
    low, high = result.interval
    assert low < result.difference < high
    assert result.p_value < 0.01
    assert result.to_json()["difference"] == result.difference


def test_one_seed_is_compared_by_mcnemars_test():
    first, second = [True] * 30 + [False] * 20, [True] * 25 + [False] * 25
    result = compare({3: answers_of(first)}, {3: answers_of(second)})
    single = paired.compare(first, second)
    assert result.interval == single.interval
    assert result.p_value == single.p_value
    assert "McNemar" in result.test


def test_equal_answers_have_an_interval():
    same = {seed: answers_of([True] * 30 + [False] * 20) for seed in (0, 1)}
    result = compare(same, same)
    low, high = result.interval
    assert low < 0 < high and result.p_value == 1


def test_opposite_answers_have_an_interval():
    right = {seed: answers_of([True] * 30) for seed in (0, 1)}
    wrong = {seed: answers_of([False] * 30) for seed in (0, 1)}
    result = compare(wrong, right)
    low, high = result.interval
    assert 0.7 < low < high == 1 and 0 < result.p_value < 1e-6


def test_other_rows_and_other_seeds_are_errors():
    one = {0: answers_of([True, False])}
    with pytest.raises(UserError, match=r"seeds \[0\] and \[1\]"):
        compare(one, {1: answers_of([True, False])})
    with pytest.raises(UserError, match="'r2' is only in one"):
        compare(one, {0: answers_of([True, False, True])})


def test_holm_adjusts_within_a_table():
    """Hand-computed: 0.01 x 3; 0.03 x 2; max(0.04 x 1, 0.06)."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_mean_without_variation_is_certain():
    result = paired_seeds.MeanEstimate(0.0, 0.0, 4.0)
    assert result.p_value == 1.0
