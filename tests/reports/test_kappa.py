import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.reports.kappa import cohens_kappa

RATINGS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


def ratings(both, first_only, second_only, neither):
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only
    return first, second + [False] * neither


def test_published_example():
    # Cohen's example of 50 grant proposals: agreement 0.7, by chance 0.5.
    kappa = cohens_kappa(*ratings(20, 5, 10, 15))
    assert kappa.value == pytest.approx(0.4)
    # The formula of Fleiss, Cohen and Everitt (1969) for this table, by hand.
    table = [[0.4, 0.1], [0.2, 0.3]]
    rows, columns = [0.5, 0.5], [0.6, 0.4]
    agreed = sum(
        table[i][i] * (0.5 - (rows[i] + columns[i]) * (1 - 0.7)) ** 2 for i in (0, 1)
    )
    other = (1 - 0.7) ** 2 * sum(
        table[i][1 - i] * (columns[i] + rows[1 - i]) ** 2 for i in (0, 1)
    )
    last = (0.7 * 0.5 - 2 * 0.5 + 0.7) ** 2
    error = math.sqrt((agreed + other - last) / (50 * 0.5**4))
    low, high = kappa.interval
    assert low == pytest.approx(0.4 - 1.959964 * error)
    assert high == pytest.approx(0.4 + 1.959964 * error)


def test_no_interval_without_variance():
    assert cohens_kappa(*ratings(5, 0, 0, 5)).value == 1
    assert cohens_kappa(*ratings(5, 0, 0, 5)).interval is None


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, 0, 0, 0), (3, 2, 0, 0)])
def test_no_kappa_if_a_rater_has_one_rating(counts):
    assert cohens_kappa(*ratings(*counts)) is None


@given(RATINGS)
def test_kappa_is_symmetric_and_an_inverted_rater_has_the_other_sign(pairs):
    first, second = [x for x, _ in pairs], [y for _, y in pairs]
    kappa, other = cohens_kappa(first, second), cohens_kappa(second, first)
    assert (kappa is None) == (other is None)
    if kappa is None:
        return
    assert kappa.value == pytest.approx(other.value)
    if kappa.interval:
        low, high = kappa.interval
        assert -1 <= low <= kappa.value <= high <= 1
    inverted = cohens_kappa(first, [not value for value in second])
    assert kappa.value * inverted.value <= 1e-12
