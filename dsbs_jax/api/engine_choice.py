"""Chooses the faster engine for a job by measuring the engines on its first rows."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dsbs_jax.engines.engine import Engine, EngineName

# A job of fewer rows takes about as long as the measurement.
FEWEST_ROWS = 1_000
# Rows that are measured: the first number alone, for a student that is slow.
_FEW, _ROWS = 8, 64
# Seconds that the timed rows of one engine may take.
_SECONDS = 3.0


def measure(
    names: Sequence[EngineName],
    answer: Callable[[EngineName, Sequence[str]], object],
    inputs: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[EngineName, float]:
    """Measures engines on the first inputs of a job, after a run that compiles.

    Args:
        names: The engines.
        answer: Answers inputs with one of the engines.
        inputs: Inputs of the job, of which at most 64 are answered.
        clock: Returns seconds.

    Returns:
        Rows per second of each engine.
    """

    def rate(name: EngineName, rows: Sequence[str]) -> float:
        answer(name, rows)
        start = clock()
        answer(name, rows)
        return len(rows) / max(clock() - start, 1e-9)

    rates = {}
    for name in names:
        rates[name] = rate(name, inputs[:_FEW])
        if len(inputs[:_ROWS]) / rates[name] < _SECONDS:
            rates[name] = rate(name, inputs[:_ROWS])
    return rates


def recorded(plan: Mapping[str, Any], names: Sequence[EngineName]) -> EngineName | None:
    """Returns the engine that an earlier run of a job has recorded, if it can be used.

    Args:
        plan: What the earlier run has written, or an empty mapping.
        names: The engines that can be used.
    """
    return next((name for name in names if name == plan.get("engine")), None)


class TimedEngine:
    """An engine that adds up the time in which it scores the labels of a closed set.

    Attributes:
        name: Name of the engine.
    """

    def __init__(self, engine: Engine) -> None:
        """Takes the engine that computes the answers."""
        self.use(engine)

    def use(self, engine: Engine) -> None:
        """Replaces the engine, and starts with a time of 0."""
        self._engine, self.name = engine, engine.name
        self._seconds, self._rows = 0.0, 0

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs, as `Engine.generate`."""
        return self._engine.generate(inputs, max_length)

    def score_labels(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Scores labels, as `Engine.score_labels`."""
        start = time.perf_counter()
        scores = self._engine.score_labels(inputs)
        self._seconds += time.perf_counter() - start
        self._rows += len(inputs)
        return scores

    def label_cost(self, labels: int) -> dict[str, Any] | None:
        """Returns the cost of the scores, for the record of a job.

        Args:
            labels: Number of labels of the closed set.

        Returns:
            Seconds for a row, and for a row and a label; None if nothing was scored.
        """
        if not self._rows:
            return None
        seconds = self._seconds / self._rows
        return {
            "labels": labels,
            "rows": self._rows,
            "seconds_per_row": seconds,
            "seconds_per_row_and_label": seconds / labels,
        }
