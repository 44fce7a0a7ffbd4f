import pytest

from dsbs_jax.data import metrics
from dsbs_jax.released.specs import RELEASED


def test_exact_match_is_in_percent_and_minds_case():
    scores = metrics.exact_match(["yes", "no", "a b", "C"], ["yes", "yes", "a b", "c"])
    assert scores == {"accuracy": 50.0}


def test_equation_accuracy_scores_values():
    targets = ["( 8.0 / 2.0 )", "( 3.0 + 1.0 )", "( 9.0 - 1.0 )", "3:2"]
    predictions = ["(2 + 2)", "(3 * 1)", "eight", "3:2"]
    assert metrics.equation_accuracy(targets, predictions) == {"accuracy": 25.0}


@pytest.mark.parametrize("metric", [metrics.exact_match, metrics.equation_accuracy])
def test_rows_must_pair_up(metric):
    with pytest.raises(ValueError, match="2 targets but 1 predictions"):
        metric(["1", "2"], ["1"])
    with pytest.raises(ValueError, match="nothing to score"):
        metric([], [])


def test_every_released_dataset_has_one_rule():
    assert set(metrics.METRICS) == set(metrics.CORRECT) == set(RELEASED)
    pairs = [("( 1.0 + 1.0 )", "2"), ("a", "a"), ("a", "A"), ("1", "1")]
    for dataset in RELEASED:
        right = [metrics.correct_fn(dataset)(*pair) for pair in pairs]
        targets, predictions = zip(*pairs, strict=True)
        scores = metrics.METRICS[dataset](targets, predictions)
        assert scores["accuracy"] == 100 * sum(right) / len(pairs)
    assert metrics.correct_fn("own")("a", "a")
    assert not metrics.correct_fn("own")("( 1.0 + 1.0 )", "2")
