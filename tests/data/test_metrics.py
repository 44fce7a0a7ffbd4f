"""Tests of the metrics."""

import inspect

import pytest

from dsbs_jax.data.metrics import EQUATION_ACCURACY, EXACT_MATCH


def test_exact_match_is_in_percent_and_case_counts():
    scores = EXACT_MATCH(["yes", "no", "a b", "C"], ["yes", "yes", "a b", "c"])
    assert scores == {"accuracy": 50.0}


def test_equation_accuracy_compares_values():
    targets = ["( 8.0 / 2.0 )", "( 3.0 + 1.0 )", "( 9.0 - 1.0 )", "3:2"]
    predictions = ["(2 + 2)", "(3 * 1)", "eight", "3:2"]
    assert EQUATION_ACCURACY(targets, predictions) == {"accuracy": 25.0}


@pytest.mark.parametrize("metric", [EXACT_MATCH, EQUATION_ACCURACY])
def test_each_target_needs_a_prediction(metric):
    with pytest.raises(ValueError, match="2 targets but 1 predictions"):
        metric(["1", "2"], ["1"])
    with pytest.raises(ValueError, match="nothing to score"):
        metric([], [])


def test_one_pair_is_compared_by_the_same_rule():
    pairs = [("( 1.0 + 1.0 )", "2"), ("a", "a"), ("a", "A"), ("1", "1")]
    targets, predictions = zip(*pairs, strict=True)
    for metric, correct in ((EXACT_MATCH, 2), (EQUATION_ACCURACY, 2)):
        assert sum(metric.is_correct(*pair) for pair in pairs) == correct
        assert metric(targets, predictions) == {"accuracy": 50.0}
    assert EXACT_MATCH.is_correct("a", "a")
    assert not EXACT_MATCH.is_correct("( 1.0 + 1.0 )", "2")


def test_any_acceptable_target_is_right():
    targets = [("4", "four"), "5", ("6",)]
    assert EXACT_MATCH(targets, ["four", "5", "six"]) == {"accuracy": 200 / 3}
    assert EQUATION_ACCURACY.accepts(("x", "2 + 2"), "4")


def test_seqio_recognizes_a_metric_by_its_arguments():
    assert list(inspect.signature(EXACT_MATCH).parameters) == ["targets", "predictions"]
