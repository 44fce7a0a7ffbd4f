"""A grid of training runs, one after another in one process.

A run whose `results.json` is there is not run again, so a grid that was stopped goes
on where it was.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax import cli
from dsbs_jax.local import loop


@dataclasses.dataclass(frozen=True)
class Run:
    """One point of a grid.

    Attributes:
        method: As in `gin/methods/`.
        size: Training examples.
        seed: Of the run.
        files: Gin files.
        macros: Bindings over them, by name; the values are written as gin reads them.
    """

    method: str
    size: int
    seed: int
    files: Sequence[str]
    macros: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's folder below the grid's."""
        return f"{self.method}-{self.size}-seed{self.seed}"


def run_all(runs: Sequence[Run], folder: pathlib.Path) -> list[dict[str, Any]]:
    """Trains every run and collects its scores.

    Returns:
        For each run its method, size, seed, and accuracy on the test split in percent of
        the checkpoint that was best on validation.
    """
    rows = []
    for number, run in enumerate(runs, 1):
        results = folder / run.name / "results.json"
        if not results.exists():
            print(f"\nRun {number} of {len(runs)}: {run.name}", flush=True)
            _train(run, folder / run.name)
        read = json.loads(results.read_text())
        (test,) = read["best"]["test"].values()
        rows.append(
            {
                "method": run.method,
                "size": run.size,
                "seed": run.seed,
                "accuracy": test["accuracy"],
                "teacher": read["teacher_test"]["teacher"]["accuracy"],
                "seconds": read["seconds"],
            }
        )
    return rows


def _train(run: Run, folder: pathlib.Path) -> None:
    macros = {**run.macros, "RANDOM_SEED": run.seed, "MODEL_DIR": str(folder)}
    cli.configure(run.files, [f"{k} = {v!r}" for k, v in macros.items()])
    loop.train()
