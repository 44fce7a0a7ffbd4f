"""Reads the results that a run folder holds.

report/report.json   the report on the test rows, which an evaluation with
                     `--output <run folder>/report` writes
results.json         the scores that training writes at its end
"""

import math
import pathlib
from typing import Any

from dsbs_jax import json_input
from dsbs_jax.errors import UserError
from dsbs_jax.reports import report
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.model_card import CardMetric
from dsbs_jax.reports.open_answers import OpenReport

REPORT = f"report/{report.JSON}"
RESULTS = "results.json"
# Task: metric: value in percent, by split.
Scores = dict[str, dict[str, dict[str, float]]]


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


def read_scores(path: pathlib.Path) -> Scores:
    """Reads the scores of the best checkpoint in `results.json`.

    Returns:
        The finite scores of each task by split, "validation" and "test".

    Raises:
        UserError: The file cannot be read or holds other values.
    """
    best = _read(path).get("best")
    try:
        splits = json_input.convert(best, dict[str, Any])
        splits = {name: splits.get(name, {}) for name in ("validation", "test")}
        scores = json_input.convert(splits, Scores)
    except json_input.JsonError as error:
        raise UserError(f"{path}: best: {error}") from error
    return {
        split: {
            task: {k: v for k, v in metrics.items() if math.isfinite(v)}
            for task, metrics in tasks.items()
        }
        for split, tasks in scores.items()
    }


def card_metrics(folder: pathlib.Path) -> tuple[CardMetric, ...]:
    """Returns the metrics of a run for its model card, best known first.

    Args:
        folder: The run folder.

    Returns:
        Accuracy with its interval and, for a closed label set, macro-F1 from
        `report/report.json`; without the file the scores of `results.json`, on test if
        there are some, else on validation. Empty without both files.

    Raises:
        UserError: A file cannot be read.
    """
    if (folder / REPORT).exists():
        saved = read_report(folder / REPORT)
        metrics = [CardMetric.of_proportion("test", "accuracy", saved.accuracy)]
        if isinstance(saved, ClassificationReport):
            rows = saved.accuracy.total
            metrics.append(
                CardMetric(
                    split="test", name="macro_f1", value=saved.macro_f1, rows=rows
                )
            )
        return tuple(metrics)
    if not (folder / RESULTS).exists():
        return ()
    scores = read_scores(folder / RESULTS)
    split = "test" if any(scores["test"].values()) else "validation"
    return tuple(
        CardMetric(split=split, name=name, value=value / 100)
        for metrics in scores[split].values()
        for name, value in metrics.items()
    )


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json_input.parse(path.read_bytes(), dict[str, Any])
    except (OSError, json_input.JsonError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
