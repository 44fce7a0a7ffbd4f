"""Reads the results that a run folder holds.

report/report.json   the report on the test rows, which an evaluation with
                     `--output <run folder>/report` writes
results.json         the scores that training writes at its end
data/<split>.jsonl   the rows of a split, in runs that have a copy of them
"""

import math
import pathlib
from typing import Any

import msgspec

from dsbs_jax import json_input
from dsbs_jax.errors import UserError, reason
from dsbs_jax.reports import report
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.model_card import CardMetric
from dsbs_jax.reports.open_answers import OpenReport

REPORT = f"report/{report.JSON}"
RESULTS = "results.json"
SPLITS = ("train", "validation", "test")
# Task: metric: value in percent.
TaskScores = dict[str, dict[str, float]]


def read_report(path: pathlib.Path) -> ClassificationReport | OpenReport:
    """Reads a `report.json` that a report has written.

    Raises:
        UserError: The file cannot be read or is not a report.
    """
    values = _read(path)
    try:
        if "confusion" not in values:
            return json_input.convert(values, OpenReport)
        return json_input.convert(_with_calibration(values), ClassificationReport)
    except json_input.JsonError as error:
        raise UserError(f"{path}: {error}") from error


def _with_calibration(values: dict[str, Any]) -> dict[str, Any]:
    """Gives the calibration the names and values of its class."""
    found = values.get("calibration")
    if not isinstance(found, dict):
        return values
    bins = [
        {**one, "confidence": math.nan} if one.get("confidence") is None else one
        for one in json_input.convert(found.get("bins"), list[dict[str, Any]])
    ]
    error = found.get("expected_calibration_error")
    return {**values, "calibration": {"expected_error": error, "bins": bins}}


class BestCheckpoint(msgspec.Struct):
    """The best checkpoint in `results.json`.

    Attributes:
        step: Its step.
        validation: Metrics in percent by task; only finite values.
        test: The same on test.
    """

    step: int
    validation: TaskScores = {}
    test: TaskScores = {}


def read_best(path: pathlib.Path) -> BestCheckpoint:
    """Reads the scores of the best checkpoint in `results.json`.

    Raises:
        UserError: The file cannot be read or holds other values.
    """
    try:
        best = json_input.convert(_read(path).get("best"), BestCheckpoint)
    except json_input.JsonError as error:
        raise UserError(f"{path}: best: {error}") from error
    return BestCheckpoint(best.step, _finite(best.validation), _finite(best.test))


def _finite(scores: TaskScores) -> TaskScores:
    return {
        task: {name: value for name, value in metrics.items() if math.isfinite(value)}
        for task, metrics in scores.items()
    }


def split_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the files of rows in a run folder, by split."""
    paths = {split: folder / f"data/{split}.jsonl" for split in SPLITS}
    return {split: path for split, path in paths.items() if path.exists()}


def scored_split(folder: pathlib.Path) -> str:
    """Returns the split of the report: "validation" for a run without test rows."""
    splits = split_files(folder)
    only_validation = "validation" in splits and "test" not in splits
    return "validation" if only_validation else "test"


def card_metrics(folder: pathlib.Path) -> tuple[CardMetric, ...]:
    """Returns the metrics of a run for its model card.

    Args:
        folder: The run folder.

    Returns:
        Accuracy with its interval and, for a closed label set, macro-F1 from
        `report/report.json`. Without this file, the scores in `results.json`: on test,
        or on validation if there are no test scores. Empty if neither file exists.

    Raises:
        UserError: A file cannot be read.
    """
    if (folder / REPORT).exists():
        saved, split = read_report(folder / REPORT), scored_split(folder)
        metrics = [CardMetric.of_proportion(split, "accuracy", saved.accuracy)]
        if isinstance(saved, ClassificationReport):
            rows = saved.accuracy.total
            metrics.append(
                CardMetric(
                    split=split, name="macro_f1", value=saved.macro_f1, rows=rows
                )
            )
        return tuple(metrics)
    if not (folder / RESULTS).exists():
        return ()
    best = read_best(folder / RESULTS)
    on_test = any(best.test.values())
    split, scores = ("test", best.test) if on_test else ("validation", best.validation)
    return tuple(
        CardMetric(split=split, name=name, value=value / 100)
        for metrics in scores.values()
        for name, value in metrics.items()
    )


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json_input.parse(path.read_bytes(), dict[str, Any])
    except (OSError, json_input.JsonError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
