"""Reads what a report needs of a run folder: settings, scores and answers on test."""

import collections
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax import files, json_input, tensorflow_import
from dsbs_jax.data.methods import PRETRAIN
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.experiments.paper.execution import RESULTS
from dsbs_jax.student import sizes

# The two checkpoints of a run that are scored.
LAST, BEST = "last", "best"
SELECTIONS = {LAST: "last step", BEST: "best on validation"}
# Digits of a fingerprint in a signature.
_DIGITS = 8
_SEEDS = {"RANDOM_SEED", "SUBSAMPLE_SEED"}
# Other settings that change the scores of a run. MAX_DECODE_LENGTH and
# TASK_FEATURE_LENGTHS are not compared: `fit` derives them from the rows of each split.
_OF_SCORES = {"LENGTH_PENALTY", "NUM_BEAMS", "PRECISION"}
# The value of a setting that most sizes do not set.
_UNSET: dict[str, Any] = {"RELATIVE_BIAS_IN_LAYERS": False}


@dataclasses.dataclass(frozen=True)
class TestAnswers:
    """A run's answers on the test split.

    Attributes:
        correct: Whether each row is right, by the row's id.
        fingerprint: Hash of the rows' ids and labels.
    """

    correct: Mapping[str, bool]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run with `results.json`.

    Attributes:
        folder: The run folder.
        settings: The settings in `config.gin`.
        student: The content of `student.json`.
        results: The content of `results.json`.
        given_cell: The cell, if the settings of the run alone do not decide it.
    """

    folder: pathlib.Path
    settings: Mapping[str, Any]
    student: Mapping[str, Any]
    results: Mapping[str, Any]
    given_cell: Cell | None = None

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.settings["RANDOM_SEED"])

    @property
    def cell(self) -> Cell:
        """What the run has in common with other seeds."""
        if self.given_cell is not None:
            return self.given_cell
        method = self.settings["METHOD"]
        teacher = "" if method == "finetune" else self.student["teacher"]
        return Cell(
            self.settings["DATASET"],
            _size_name(self.settings),
            method,
            teacher,
            self.settings["SUBSAMPLE_FRACTION"],
            self.settings["ALPHA"],
        )

    def accuracy(self, selection: str) -> float:
        """Returns the accuracy on test in percent, of the last or best checkpoint."""
        scores = list(self.results[selection]["test"].values())
        if len(scores) != 1:
            raise UserError(
                f"{self.folder / RESULTS}: {selection} has {len(scores)} test scores, "
                "expected one"
            )
        return float(scores[0]["accuracy"])

    def answers(self, selection: str) -> TestAnswers:
        """Reads the answers of the last or best checkpoint on the test split.

        Raises:
            UserError: The file is missing or damaged.
        """
        return _read_answers(self.folder, selection)


@functools.cache
def _read_answers(folder: pathlib.Path, selection: str) -> TestAnswers:
    paths = sorted((folder / "predictions").glob(f"test-{selection}-*.jsonl"))
    if len(paths) != 1:
        raise UserError(
            f"{folder / 'predictions'} has {len(paths)} files of test answers of the "
            f"{selection} checkpoint, expected one; run the training command again"
        )
    correct: dict[str, bool] = {}
    labels = {}
    for number, line in json_input.numbered_lines(paths[0].read_bytes()):
        try:
            row = json_input.parse(line, dict[str, Any])
            correct[row["id"]] = row["correct"]
            labels[row["id"]] = row["target"]
        except (json_input.JsonError, KeyError) as error:
            raise UserError(
                f"{paths[0]}: line {number}: {error}, expected an answer of a run"
            ) from error
    digest = hashlib.sha256(json.dumps(sorted(labels.items())).encode())
    return TestAnswers(correct, digest.hexdigest()[:_DIGITS])


def _size_name(settings: Mapping[str, Any]) -> str:
    """Returns the name of a size: "base"; "custom" for a size without a name."""
    for name, size in sizes.SIZES.items():
        complete = {**_UNSET, **size}
        if all(
            _plain(settings.get(k, _UNSET.get(k))) == _plain(v)
            for k, v in complete.items()
        ):
            return name
    return "custom"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def read_run(folder: pathlib.Path) -> FinishedRun:
    """Reads a run folder.

    Raises:
        UserError: A file is missing or damaged.
    """
    tensorflow_import.import_quietly()
    from dsbs_jax.local import resume_guard, student_folder

    path = folder / resume_guard.CONFIG_FILE
    settings = resume_guard.read_settings(path)
    missing = [n for n in ("METHOD", "DATASET", "RANDOM_SEED") if n not in settings]
    if missing:
        raise UserError(f"{path}: has no {missing[0]}, expected the settings of a run")
    return FinishedRun(
        folder,
        settings,
        _read_object(folder / student_folder.STUDENT_FILE),
        _read_object(folder / RESULTS),
    )


def read_planned(folder: pathlib.Path, planned: Cell) -> FinishedRun:
    """Reads a run folder of a grid.

    Alpha and the proportion of the rows are those of the run, which a file of RUN_FILES
    may set.

    Raises:
        UserError: A file is missing or damaged.
    """
    run = read_run(folder)
    alpha, fraction = run.cell.alpha, run.cell.fraction
    cell = dataclasses.replace(planned, alpha=alpha, fraction=fraction)
    return dataclasses.replace(run, given_cell=cell)


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json_input.parse(path.read_bytes(), dict[str, Any])
    except json_input.JsonError as error:
        raise UserError(f"{path}: {error}; run the training command again") from error


def find_runs(folders: Sequence[str]) -> list[FinishedRun]:
    """Reads the finished runs in some folders: run folders, or folders of them.

    Raises:
        UserError: A folder does not exist, or no run has finished.
    """
    found: dict[pathlib.Path, None] = {}
    for name in folders:
        folder = files.local_path(name)
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder, expected a folder of runs")
        paths = [folder / RESULTS, *sorted(folder.glob(f"*/{RESULTS}"))]
        found |= dict.fromkeys(path.parent for path in paths if path.exists())
    if not found:
        raise UserError(
            f"{', '.join(folders)}: no finished run, expected folders with {RESULTS}"
        )
    runs = [read_run(folder) for folder in found]
    # Pretraining has no scores.
    return _by_steps([run for run in runs if run.settings["METHOD"] != PRETRAIN])


def difference(first: FinishedRun, second: FinishedRun) -> str:
    """Describes a setting in which two runs of a cell differ, besides the seeds.

    The rows are not compared, because each seed may have another split of the same
    rows. The signature of the report has hashes of them.

    Returns:
        "LEARNING_RATE (0.001 and 5e-05)"; "" if the initial weights and the compared
        settings are the same.
    """
    tensorflow_import.import_quietly()
    from dsbs_jax.local import resume_guard

    names = (resume_guard.FIXED - _SEEDS) | _OF_SCORES
    for name in sorted(names & first.settings.keys() & second.settings.keys()):
        values = [run.settings[name] for run in (first, second)]
        if _plain(values[0]) != _plain(values[1]):
            return f"{name} ({values[0]!r} and {values[1]!r})"
    starts = [_initial_weights(run) for run in (first, second)]
    if starts[0] != starts[1]:
        return f"INITIAL_CHECKPOINT_PATH ({starts[0]!r} and {starts[1]!r})"
    return ""


def _initial_weights(run: FinishedRun) -> str | None:
    """Returns the initial checkpoint: by its name if it is in the grid of the run.

    So a grid that is moved between two runs has the same initial weights in both.
    """
    path = run.settings.get("INITIAL_CHECKPOINT_PATH")
    grid = pathlib.PurePath(run.settings.get("MODEL_DIR", "")).parent
    if path is None or pathlib.PurePath(path).parent != grid:
        return path
    return pathlib.PurePath(path).name


def _by_steps(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Puts runs with different numbers of updates into different cells."""
    steps = collections.defaultdict(set)
    for run in runs:
        steps[run.cell].add(run.settings["TRAIN_STEPS"])

    def separate(run: FinishedRun) -> FinishedRun:
        cell = dataclasses.replace(run.cell, steps=run.settings["TRAIN_STEPS"])
        return dataclasses.replace(run, given_cell=cell)

    return [separate(run) if len(steps[run.cell]) > 1 else run for run in runs]
