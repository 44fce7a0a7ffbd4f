import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.reports import class_scores
from dsbs_jax.reports.class_scores import NO_ANSWER

names = st.sampled_from("abcd")
pairs = st.lists(st.tuples(names, st.one_of(names, st.none())), min_size=1, max_size=30)


def test_rows_are_counted_by_target_and_prediction():
    table = class_scores.confusion(["b", "a", "c"], ["a", "a", "b"], ["a", "b", None])
    assert table.rows == ["b", "a"]
    assert table.columns == ["b", "a", NO_ANSWER]
    assert table.counts == [[0, 0, 1], [1, 1, 0]]
    assert table.mistakes() == [("b", NO_ANSWER, 1), ("a", "b", 1)]


def test_labels_outside_the_set_are_classes_after_it():
    table = class_scores.confusion(["b", "a"], ["z", "a"], ["a", "y"])
    assert table.rows == ["a", "y", "z"]
    assert table.counts == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_scores_of_a_class():
    table = class_scores.confusion("ab", list("aaabb"), ["a", "a", "b", "a", None])
    first, second = class_scores.class_scores(table)
    assert (first.label, first.support) == ("a", 3)
    assert first.precision.value == pytest.approx(2 / 3)
    assert first.recall.value == pytest.approx(2 / 3)
    assert first.f1 == pytest.approx(2 / 3)
    assert (second.precision.count, second.precision.total) == (0, 1)
    assert (second.recall.count, second.support, second.f1) == (0, 2, 0.0)
    assert second.to_json()["recall"]["value"] == 0.0


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_scores_are_those_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    targets = [target for target, _ in pairs]
    predictions = [prediction for _, prediction in pairs]
    table = class_scores.confusion("abcd", targets, predictions)
    scores = class_scores.class_scores(table)
    # A row without an answer is a prediction of a class that is not averaged.
    answers = ["-" if p is None else p for p in predictions]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets, answers, labels=table.rows, zero_division=0
    )
    ours = [(s.precision.count, s.precision.total) for s in scores]
    np.testing.assert_allclose([c / max(1, t) for c, t in ours], precision)
    ours = [(s.recall.count, s.recall.total) for s in scores]
    np.testing.assert_allclose([c / max(1, t) for c, t in ours], recall)
    np.testing.assert_allclose([s.f1 for s in scores], f1)
    assert [s.support for s in scores] == support.tolist()
    columns = [*table.rows, "-"]
    expected = metrics.confusion_matrix(targets, answers, labels=columns)
    counts = np.asarray(table.counts)
    np.testing.assert_array_equal(counts, expected[:-1, : counts.shape[1]])
