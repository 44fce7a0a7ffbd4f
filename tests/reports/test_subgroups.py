import pytest
from scipy import stats

from dsbs_jax.reports import subgroups
from dsbs_jax.reports.proportion import Proportion


def test_accuracy_by_group():
    values = ["north", None, "south", "north"]
    groups = subgroups.by_group(values, [True, True, False, False])
    assert list(groups.accuracy.items()) == [
        ("north", Proportion(1, 2)),
        ("south", Proportion(0, 1)),
        (subgroups.NO_GROUP, Proportion(1, 1)),
    ]


def test_rare_groups_are_pooled_and_no_row_is_lost():
    values = [str(n) for n in range(30)] + ["0"]
    groups = subgroups.by_group(values, [True] * 31)
    assert len(groups.accuracy) == subgroups.MAX_GROUPS + 1
    assert list(groups.accuracy)[0] == "0"
    assert list(groups.accuracy)[-1] == subgroups.OTHER_GROUPS
    assert sum(share.total for share in groups.accuracy.values()) == 31
    # Without a wrong row the accuracies are equal.
    assert groups.p_value == 1


def test_the_p_value_is_that_of_a_two_proportion_test():
    values = ["a"] * 40 + ["b"] * 60
    correct = [n < 30 for n in range(40)] + [n < 20 for n in range(60)]
    pooled = 50 / 100
    z = (30 / 40 - 20 / 60) / (pooled * (1 - pooled) * (1 / 40 + 1 / 60)) ** 0.5
    expected = 2 * stats.norm.sf(abs(z))
    found = subgroups.by_group(values, correct).p_value
    assert found == pytest.approx(expected)
