import json

import pytest

from dsbs_jax.data.metrics import EQUATION_ACCURACY
from dsbs_jax.errors import UserError
from dsbs_jax.reports import report
from dsbs_jax.reports.open_answers import open_report

TARGETS = [["Paris"], ["USA", "United States"], ["7"]]


def test_any_acceptable_answer_is_right():
    result = open_report(TARGETS, ["Paris", "United States", "8"])
    assert (result.accuracy.count, result.accuracy.total) == (2, 3)
    assert result.headline().startswith("The answer is right on 66.67 % of 3 rows")


def test_the_metric_compares_answers():
    result = open_report([["(8 - 1)"]], ["7"], EQUATION_ACCURACY)
    assert result.accuracy.count == 1
    assert result.to_json()["metric"] == "equation_accuracy"


def test_files_hold_figures_and_examples(tmp_path):
    texts = [{"input": f"question {n}", "rationale": f"because {n}"} for n in range(3)]
    result = open_report(TARGETS, ["Paris", "Peru", "7"], texts=texts)
    result.write(tmp_path)
    values = json.loads((tmp_path / report.JSON).read_text())
    (wrong,) = values["examples"]["Wrong answers, drawn at random"]
    assert wrong == {
        **texts[1],
        "label": "USA | United States",
        "predicted label": "Peru",
    }
    assert "because 1" in (tmp_path / report.HTML).read_text()
    assert "accuracy (exact_match)" in (tmp_path / report.TEXT).read_text()


def test_rows_are_needed():
    with pytest.raises(UserError, match="no rows to report on"):
        open_report([], [])
