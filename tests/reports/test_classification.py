import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.errors import UserError
from dsbs_jax.reports import report
from dsbs_jax.reports.classification import classification_report

LABELS = ["billing", "login", "delivery"]


def make(rows=90, abstain=0.0, seed=0, texts=True):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.6] * 3, rows)
    targets = [LABELS[rng.choice(3, p=p)] for p in probabilities]
    best = probabilities.argmax(axis=1)
    predictions = [
        LABELS[b] if p.max() >= abstain else None
        for b, p in zip(best, probabilities, strict=True)
    ]
    inputs = [{"input": f"ticket {n}", "rationale": f"since {n}"} for n in range(rows)]
    return classification_report(
        LABELS, targets, predictions, probabilities, inputs if texts else None
    )


def test_hand_computed_figures():
    result = classification_report(
        ["a", "b"],
        ["a", "a", "a", "b"],
        ["a", "b", None, "b"],
        [[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]],
    )
    assert (result.accuracy.count, result.accuracy.total) == (2, 4)
    assert (result.majority_label, result.majority.count) == ("a", 3)
    assert (result.answered.count, result.abstained) == (3, 1)
    assert (result.selective_accuracy.count, result.selective_accuracy.total) == (2, 3)
    # F1 of a: 2 * 1 / (1 + 3); of b: 2 * 1 / (2 + 1).
    assert result.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2)
    # The best label of the row without an answer is right.
    error = (0.1 + 0.7 + 0.4 + 0.2) / 4
    assert result.calibration.expected_error == pytest.approx(error)
    assert not result.beats_majority


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("abc")),
        min_size=1,
        max_size=40,
    )
)
def test_figures_are_those_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    targets, predictions = map(list, zip(*pairs, strict=True))
    result = classification_report("abc", targets, predictions)
    accuracy = metrics.accuracy_score(targets, predictions)
    assert result.accuracy.value == pytest.approx(accuracy)
    expected = metrics.f1_score(targets, predictions, average="macro", zero_division=0)
    assert result.macro_f1 == pytest.approx(expected)


def test_interval_has_to_exclude_the_majority_class():
    targets = ["a"] * 60 + ["b"] * 40
    good = classification_report("ab", targets, ["a"] * 58 + ["b"] * 42)
    assert good.accuracy.value == 0.98 and good.beats_majority
    assert "interval excludes 60.00 %" in good.headline()
    # 65 % is above 60 %, but the interval begins at 55 %.
    slight = classification_report("ab", targets, ["a"] * 95 + ["b"] * 5)
    assert slight.accuracy.value == 0.65 and not slight.beats_majority
    assert "does not exclude" in slight.headline()


def test_accuracy_below_the_majority_class_is_reported_as_such():
    result = classification_report("ab", ["a"] * 150 + ["b"] * 50, ["b"] * 200)
    assert "The interval is below 75.00 %, the accuracy" in result.headline()


def test_labels_outside_the_label_set_are_counted():
    # The rows lack "delivery", which the student could have chosen.
    targets = ["billing"] * 3 + ["weird"] * 2 + ["login", "odd"]
    result = classification_report(LABELS, targets, ["billing"] * 7)
    assert (result.label_count, result.outside) == (3, {"weird": 2, "odd": 1})
    text = result.headline()
    assert text.startswith("The predicted label, one of 3, is right on 42.86 % of 7")
    assert text.endswith(
        "3 of the rows are wrong because their label is not in the label set: "
        "'weird' 2, 'odd' 1."
    )


def test_json_is_complete_and_plain():
    result = make(abstain=0.6)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["accuracy"]["total"] == 90
    assert values["accuracy"]["interval"] == list(result.accuracy.interval)
    assert values["abstained"] == result.abstained > 0
    assert values["confusion"]["columns"] == [*LABELS, "(no answer)"]
    assert sum(map(sum, values["confusion"]["counts"])) == 90
    assert [one["label"] for one in values["classes"]] == LABELS
    assert len(values["calibration"]["bins"]) == 15
    assert make(texts=False).to_json()["examples"] == {}


def test_text_has_the_figures_in_tables():
    result = make(abstain=0.6)
    text = result.to_text()
    assert text.startswith("Evaluation\n==========\n")
    for figure in (result.accuracy, result.selective_accuracy, result.answered):
        assert re.search(f"{figure.percent} +{figure.percent_interval}", text)
    assert f"{result.macro_f1:.4f}" in text
    assert re.search(r"^billing +\d+ +0\.\d{3} +0\.\d{3} +0\.\d{3}$", text, re.M)
    assert max(map(len, text.splitlines())) <= 100


def test_files_are_written_and_the_page_needs_no_other_file(tmp_path):
    result = make()
    result.write(tmp_path, {"method": "step_by_step", "rows": 90})
    values = json.loads((tmp_path / report.JSON).read_text())
    assert values["facts"] == {"method": "step_by_step", "rows": "90"}
    assert "step_by_step" in (tmp_path / report.TEXT).read_text()
    html = (tmp_path / report.HTML).read_text()
    assert "data:image/png;base64," in html and "step_by_step" in html
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        report.HTML,
        report.JSON,
        report.TEXT,
    ]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result.write(tmp_path, {"method": "step_by_step", "rows": 90})
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_markup_in_texts_has_no_effect(tmp_path):
    hostile = "<script>alert(1)</script>\ud800"
    result = classification_report(
        [hostile, "b"], [hostile, "b"], ["b", "b"], None, [{"input": hostile}] * 2
    )
    result.write(tmp_path)
    assert "<script>" not in (tmp_path / report.HTML).read_text()
    values = json.loads((tmp_path / report.JSON).read_text())
    assert values["classes"][0]["label"] == hostile


def test_wrong_rows_are_shown_by_confidence():
    result = make()
    title, shown = next(iter(result.examples.items()))
    assert title == "Wrong labels, highest confidence first"
    assert len(shown) == report.SHOWN_EXAMPLES
    confidences = [float(row["confidence"]) for row in shown]
    assert confidences == sorted(confidences, reverse=True)
    assert all(row["label"] != row["predicted label"] for row in shown)
    assert set(shown[0]) >= {"input", "rationale"}
    assert make().examples == result.examples


def test_many_classes_list_the_most_frequent_mistakes(tmp_path):
    labels = [f"class {n}" for n in range(77)]
    targets = labels * 3
    predictions = labels * 2 + labels[1:] + labels[:1]
    result = classification_report(labels, targets, predictions)
    assert "most frequent of 77 kinds of mistakes" in result.to_text()
    result.write(tmp_path)


def test_labels_outside_the_set_are_wrong_rows():
    result = classification_report(["a", "b"], ["a", "rare"], ["a", "b"])
    assert result.accuracy.count == 1
    assert [score.label for score in result.classes] == ["a", "b", "rare"]


def test_rows_and_lengths_are_checked():
    with pytest.raises(UserError, match="no rows to report on"):
        classification_report(["a"], [], [])
    with pytest.raises(ValueError):
        classification_report(["a"], ["a"], [])
    with pytest.raises(ValueError, match=r"shape \(1, 2\), expected \(1, 1\)"):
        classification_report(["a"], ["a"], ["a"], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="2 texts for 1 rows"):
        classification_report(["a"], ["a"], ["a"], None, [{}, {}])
