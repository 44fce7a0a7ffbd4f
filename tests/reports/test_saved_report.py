"""Reports that are read back from their files."""

import json

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.reports import saved_report
from dsbs_jax.reports.classification import classification_report
from dsbs_jax.reports.open_answers import open_report

HOSTILE = '<script>alert(1)</script> "a" & \u202e'
CLOSED = classification_report(
    labels=["billing", "login", HOSTILE],
    targets=["billing", "billing", HOSTILE, "login", "other"],
    predictions=["billing", "login", None, "login", HOSTILE],
    probabilities=[[0.9, 0.1, 0], [0.3, 0.7, 0], [0.6, 0.4, 0], [0.2, 0.8, 0]]
    + [[0, 0, 1]],
    texts=[{"input": f"row {n} {HOSTILE}"} for n in range(5)],
)
OPEN = open_report([["1"], ["2", "two"]], ["3", "two"], texts=[{"input": "a"}] * 2)


@pytest.mark.parametrize("report", [CLOSED, OPEN], ids=["closed", "open"])
def test_a_report_is_read_as_it_was_written(report, tmp_path):
    report.write(tmp_path / "report", {"method": "step_by_step"})
    saved = saved_report.read_report(tmp_path / "report/report.json")
    assert type(saved) is type(report)
    assert saved.to_json() == report.to_json()
    assert saved.to_text() == report.to_text()
    assert saved.blocks() == report.blocks()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "report.json: cannot be read: expected object, found list"),
        ("{}", "report.json: field 'metric' is missing"),
        ('{"confusion": 3}', "report.json: field 'confusion' must be object"),
        ('{"confusion": 3, "calibration": {"bins": 3}}', "report.json: expected list"),
    ],
)
def test_other_files_are_reported(content, message, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        saved_report.read_report(path)


def write_results(folder, **best):
    text = json.dumps({"steps": 3, "best": {"step": 2, **best}})
    (folder / "results.json").write_text(text)


def test_the_metrics_of_a_card(tmp_path):
    assert saved_report.card_metrics(tmp_path) == ()
    scores = {"jars_predict": {"accuracy": 62.5, "other": float("nan")}}
    write_results(tmp_path, validation=scores, test={})
    (metric,) = saved_report.card_metrics(tmp_path)
    assert (metric.split, metric.name, metric.value) == (
        "validation",
        "accuracy",
        0.625,
    )
    write_results(tmp_path, validation={}, test=scores)
    (metric,) = saved_report.card_metrics(tmp_path)
    assert (metric.split, metric.interval) == ("test", None)
    CLOSED.write(tmp_path / "report")
    accuracy, macro = saved_report.card_metrics(tmp_path)
    assert (accuracy.split, accuracy.value, accuracy.rows) == ("test", 0.4, 5)
    assert accuracy.interval == CLOSED.accuracy.interval
    assert (macro.name, macro.value) == ("macro_f1", CLOSED.macro_f1)
    OPEN.write(tmp_path / "report")
    (metric,) = saved_report.card_metrics(tmp_path)
    assert (metric.split, metric.value) == ("test", 0.5)
    (tmp_path / "data").mkdir()
    for split, scored in (("train", "test"), ("validation",) * 2, ("test",) * 2):
        (tmp_path / f"data/{split}.jsonl").write_text("")
        (metric,) = saved_report.card_metrics(tmp_path)
        assert metric.split == scored


def test_results_without_scores_are_reported(tmp_path):
    (tmp_path / "results.json").write_text('{"best": 3}')
    with pytest.raises(
        UserError, match="results.json: best: expected object, found integer"
    ):
        saved_report.card_metrics(tmp_path)
