import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import contingency_tables

from dsbs_jax.errors import UserError
from dsbs_jax.reports import label_skew
from dsbs_jax.reports.class_scores import NO_ANSWER

PAIRS = st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=1, max_size=60)


def test_shares_and_differences():
    skew = label_skew.label_skew(["a", "a", "b", "a"], ["a", "b", "x", None])
    shares = {n: (p.first.count, p.second.count) for n, p in skew.classes.items()}
    assert shares == {"a": (3, 1), "b": (1, 1), "(other)": (0, 1), NO_ANSWER: (0, 1)}
    assert skew.classes["a"].difference == -0.5


def test_without_rows_there_is_no_skew():
    with pytest.raises(UserError, match="found no rows, expected"):
        label_skew.label_skew([], [])


@given(PAIRS)
def test_differences_sum_to_zero_and_equal_frequencies_are_certain(pairs):
    first, second = zip(*pairs, strict=True)
    skew = label_skew.label_skew(first, second)
    assert sum(p.difference for p in skew.classes.values()) == pytest.approx(0)
    assert 0 <= skew.p_value <= 1
    # Both directions of each pair: every label is as frequent in both.
    assert label_skew.stuart_maxwell(first + second, second + first) == pytest.approx(1)


def test_the_test_equals_that_of_statsmodels_and_mcnemars():
    table = np.array([[20, 10, 5], [3, 30, 15], [0, 5, 40]])
    pairs = [(a, b) for a in range(3) for b in range(3) for _ in range(table[a, b])]
    first, second = (["abc"[n] for n in side] for side in zip(*pairs, strict=True))
    expected = contingency_tables.SquareTable(table, shift_zeros=False).homogeneity()
    assert label_skew.stuart_maxwell(first, second) == pytest.approx(expected.pvalue)
    mcnemar = stats.chi2.sf((12 - 4) ** 2 / 16, 1)
    first, second = "a" * 12 + "b" * 4, "b" * 12 + "a" * 4
    assert label_skew.stuart_maxwell(first, second) == pytest.approx(mcnemar)


def test_classes_that_are_never_confused_change_nothing():
    first, second = list("aaabbc"), list("bbaaac")
    alone = label_skew.stuart_maxwell(first[:5], second[:5])
    assert label_skew.stuart_maxwell(first, second) == pytest.approx(alone)
