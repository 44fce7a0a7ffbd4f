import dataclasses

import pytest

from dsbs_jax.data import dataset_spec, metrics, scoring
from dsbs_jax.rationales import accuracy, voting
from dsbs_jax.rationales.accuracy import NO_ARITHMETIC, NO_TEACHER_LABEL, OTHER_LABELS
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.proportion import Proportion

TEXT = metrics.EXACT_MATCH


def voted(label="a", human="a", id_="1"):
    text = f"It is so. So the answer is {label}." if label else "?"
    return voting.vote(id_, "x", human, [text])


def test_a_row_that_no_teacher_answered_does_not_count():
    own = {"id": "1", "input": "x", "label": "a", "rationale": "R."}
    examples = [VotedExample.from_row(own)]
    assert accuracy.accuracy(examples, TEXT) == Proportion(0, 0)
    assert accuracy.by_class(examples, TEXT).scores == []


def test_the_accuracy_is_that_of_score_teacher():
    examples = [voted("a"), voted("b"), voted(None), voted("a", None), voted("b", "b")]
    pairs = [("a", "a"), ("a", "b"), ("a", None), ("b", "b")]
    score = scoring.score_teacher(pairs, TEXT)
    expected = Proportion(score.correct, score.rows)
    assert accuracy.accuracy(examples, TEXT) == expected == Proportion(2, 4)


def test_a_users_metric_decides_which_labels_are_right():
    any_case = metrics.Metric("any_case", lambda a, b: a.lower() == b.lower())
    examples = [voted("Yes", "yes"), voted("no", "yes")]
    assert accuracy.accuracy(examples, any_case) == Proportion(1, 2)
    (score,) = accuracy.by_class(examples, any_case).scores
    assert (score.correct, score.wrong_labels) == (Proportion(1, 2), [("no", 1)])


def test_confusion_of_few_labels():
    pairs = [("a", "a"), ("b", "a"), ("b", "b"), ("c", "b"), (None, "b")]
    examples = [voted(t, h, id_=str(n)) for n, (t, h) in enumerate(pairs)]
    table = accuracy.by_class(examples, TEXT)
    assert table.kind == accuracy.BY_LABEL
    assert table.columns == ["b", "a", OTHER_LABELS, NO_TEACHER_LABEL]
    b, a = table.scores
    assert (b.name, b.correct) == ("b", Proportion(1, 3))
    assert b.answers == {"b": 1, OTHER_LABELS: 1, NO_TEACHER_LABEL: 1}
    assert b.wrong_labels == [("c", 1)]
    assert (a.name, a.correct, a.wrong_labels) == ("a", Proportion(1, 2), [("b", 1)])


def test_free_text_is_pooled_after_the_most_frequent_labels():
    examples = [
        voted("x", f"label {n}", id_=f"{n}-{copy}")
        for n in range(15)
        for copy in range(15 - n)
    ]
    table = accuracy.by_class(examples, TEXT)
    names = [score.name for score in table.scores]
    assert names == [f"label {n}" for n in range(accuracy.MAX_CLASSES)] + [OTHER_LABELS]
    assert table.scores[-1].correct.total == 1 + 2 + 3 + 4 + 5
    assert (table.columns, table.kind) == ([], accuracy.BY_FREQUENT_LABEL)


@pytest.mark.parametrize(
    ("equation", "name"),
    [
        ("( 84.0 / 2.0 )", "/"),
        ("(8 - 2) * 3", "several"),
        ("1 + 1 + 1", "+"),
        ("-3", "number"),
        ("2 - -3", "-"),
        ("(2) * -3", "*"),
        ("12", "number"),
        ("(some + 4)", NO_ARITHMETIC),
        ("1 / 0", NO_ARITHMETIC),
    ],
)
def test_operators(equation, name):
    assert accuracy.operators(equation) == name


def test_equations_are_compared_by_value_and_classed_by_operator():
    svamp = dataset_spec.get("svamp")
    texts = ["Add. The answer is (4 + 3).", "Add. The answer is (x)."]
    examples = [
        voting.vote(str(n), "x", "( 3.0 + 4.0 )", [text], svamp)
        for n, text in enumerate(texts)
    ]
    assert accuracy.accuracy(examples, svamp.metric) == Proportion(1, 2)
    table = accuracy.by_class(examples, svamp.metric)
    assert table.columns == ["+", NO_ARITHMETIC]
    assert table.kind == accuracy.BY_OPERATOR
    # Under another metric the same labels are text.
    text_spec = dataclasses.replace(svamp, metric=TEXT)
    assert accuracy.by_class(examples, text_spec.metric).columns[0] == "( 3.0 + 4.0 )"
