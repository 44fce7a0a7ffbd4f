"""The curves of a run: `curve.jsonl` in the run folder, written with any TRACKERS.

Each line has the number of updates done. In addition it has either the means over the
updates since the previous line, or the scores on validation:

    {"step": 50, "training": {"loss": 1.25, "label_loss": 0.5, "learning_rate": 0.001}}
    {"step": 100, "validation": {"tickets_predict": {"accuracy": 61.25}}}

A resumed run removes the lines after its checkpoint before it repeats their updates, so
no line occurs twice in the file.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError

FILE = "curve.jsonl"


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Measurements after one update.

    Attributes:
        step: Number of updates.
        training: Means over the updates since the previous point: "loss", "label_loss",
            "rationale_loss" (nats per token), "gradient_norm", "learning_rate".
        validation: Scores on validation in percent, by task and metric.
    """

    step: int
    training: dict[str, float] = dataclasses.field(default_factory=dict)
    validation: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


class CurveWriter:
    """Appends points to the curves of a run."""

    def __init__(self, folder: pathlib.Path, start: int) -> None:
        """Opens the file, and removes what was written after the checkpoint.

        Args:
            folder: The run folder.
            start: Updates that are already done.
        """
        self._path = folder / FILE
        kept = [point for point in _points(self._path) if point.step <= start]
        if self._path.exists():
            files.write_jsonl(self._path, map(_fields, kept))

    def write_training(self, step: int, means: Mapping[str, float]) -> None:
        """Appends means over the last updates; leaves out NaN and infinite values."""
        self._append(CurvePoint(step, training=_finite(means)))

    def write_validation(
        self, step: int, scores: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Appends scores on validation."""
        tasks = {task: _finite(metrics) for task, metrics in scores.items()}
        self._append(CurvePoint(step, validation=tasks))

    def _append(self, point: CurvePoint) -> None:
        # The file is closed after each line, so that a killed run has all its lines.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(files.json_text(_fields(point)) + "\n")


def read_curve(folder: pathlib.Path) -> list[CurvePoint]:
    """Reads the curves of a run, which may still be training.

    Returns:
        One point for each update with a measurement, in their order; empty for a run of
        an earlier version.

    Raises:
        UserError: The file cannot be read.
    """
    merged: dict[int, CurvePoint] = {}
    for point in _points(folder / FILE):
        earlier = merged.get(point.step, CurvePoint(point.step))
        merged[point.step] = CurvePoint(
            point.step,
            earlier.training | point.training,
            earlier.validation | point.validation,
        )
    return [merged[step] for step in sorted(merged)]


def series(points: Sequence[CurvePoint], name: str) -> list[tuple[int, float]]:
    """Returns the steps and values of one training mean, such as "label_loss"."""
    return [(p.step, p.training[name]) for p in points if name in p.training]


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _fields(point: CurvePoint) -> dict[str, Any]:
    return {name: value for name, value in vars(point).items() if value != {}}


def _points(path: pathlib.Path) -> Iterator[CurvePoint]:
    if not path.exists():
        return
    content = path.read_bytes()
    # Without a line end, the last line is incomplete: the run was killed, or is
    # writing it.
    complete = content[: content.rfind(b"\n") + 1]
    for number, line in json_input.numbered_lines(complete):
        try:
            yield json_input.parse(line, CurvePoint)
        except json_input.JsonError as error:
            raise UserError(
                f"{path}: line {number}: {error}; remove the file to start new curves"
            ) from error
