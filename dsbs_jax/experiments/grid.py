"""Trains the runs of a grid one after another and collects their scores.

A run that has a `results.json` is not trained again, so the same command resumes a grid
that was stopped.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from dsbs_jax.data.methods import Method
from dsbs_jax.local import loop
from dsbs_jax.local.config import TrainSettings


@dataclasses.dataclass(frozen=True)
class Run:
    """One point of a grid.

    Attributes:
        method: Name of the method.
        size: Number of training examples.
        seed: Seed of the run.
        settings: The other settings of the run. `run_all` sets its folder and seed.
    """

    method: Method
    size: int
    seed: int
    settings: TrainSettings

    @property
    def name(self) -> str:
        """Name of the run's folder in the grid's folder."""
        return f"{self.method}-{self.size}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class RunScore:
    """Scores of a run.

    Attributes:
        method: Name of the method.
        size: Number of training examples.
        seed: Seed of the run.
        accuracy: Accuracy on test, in percent, of the checkpoint that is best on
            validation.
        teacher: The teacher's accuracy on test, in percent.
        seconds: Time of the run.
    """

    method: Method
    size: int
    seed: int
    accuracy: float
    teacher: float
    seconds: float


def run_all(runs: Sequence[Run], folder: pathlib.Path) -> list[RunScore]:
    """Trains every run that has no results yet, and returns the scores of all runs.

    Args:
        runs: The runs.
        folder: Folder of the run folders.
    """
    scores = []
    for number, run in enumerate(runs, 1):
        path = folder / run.name / "results.json"
        if not path.exists():
            print(f"\nRun {number} of {len(runs)}: {run.name}", flush=True)
            _train(run, folder / run.name)
        results = json.loads(path.read_bytes())
        (test,) = results["best"]["test"].values()
        scores.append(
            RunScore(
                method=run.method,
                size=run.size,
                seed=run.seed,
                accuracy=test["accuracy"],
                teacher=results["teacher_test"]["teacher"]["accuracy"],
                seconds=results["seconds"],
            )
        )
    return scores


def _train(run: Run, folder: pathlib.Path) -> None:
    config = dataclasses.replace(
        run.settings.loop, model_dir=str(folder), random_seed=run.seed
    )
    loop.train(dataclasses.replace(run.settings, loop=config))
