"""Trains the runs of a grid one after another, each in a process of its own.

A finished run has `results.json` and is skipped. A run that was stopped or killed is
resumed. A run that fails does not stop the others; its last message is kept in
`logs/<run>.error` until a later try succeeds. Several processes can work on one folder:
each takes the runs that no other process trains.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from dsbs_jax import files, interruption, json_input, tensorflow_import
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import child, generated
from dsbs_jax.experiments.paper.planning import PlannedRun
from dsbs_jax.local import run_lock
from dsbs_jax.progress import duration

RESULTS = "results.json"
LOGS = "logs"
# Compiled programs, which runs of one size share.
PROGRAMS = "programs"
# Settings that may differ from those of a finished run: a file may have moved.
_PATHS = {"DATA_FILES", "VOCABULARY_PATH"}
_POLL = 0.2  # seconds between two looks at a running process
_WAIT = 5.0  # seconds between two looks at runs that other processes train


class _Results(msgspec.Struct):
    seconds: float


@dataclasses.dataclass(frozen=True)
class Grid:
    """A folder of runs.

    Attributes:
        runs: The runs.
        output: The folder.
        tfds_data_dir: Folder of the prepared datasets.
        release: The authors' released data, from which some datasets are generated.
        keep_checkpoints: Whether finished runs keep their checkpoints.
    """

    runs: Sequence[PlannedRun]
    output: pathlib.Path
    tfds_data_dir: str | None = None
    release: str | None = None
    keep_checkpoints: bool = True

    def folder(self, run: PlannedRun) -> pathlib.Path:
        """Returns the run folder."""
        return self.output / run.name

    def log(self, run: PlannedRun) -> pathlib.Path:
        """Returns the file with the output of a run."""
        return self.output / LOGS / f"{run.name}.log"

    def error_file(self, run: PlannedRun) -> pathlib.Path:
        """Returns the file with the last message of a failed run."""
        return self.output / LOGS / f"{run.name}.error"

    def claim(self, run: PlannedRun) -> pathlib.Path:
        """Returns the folder whose lock a grid holds while it trains a run."""
        return self.output / LOGS / f"{run.name}.claim"

    def seconds(self, run: PlannedRun) -> float | None:
        """Returns the seconds of a finished run; None for another run.

        Raises:
            UserError: The results of the run are damaged.
        """
        path = self.folder(run) / RESULTS
        if not path.exists():
            return None
        try:
            return json_input.parse(path.read_bytes(), _Results).seconds
        except json_input.JsonError as error:
            raise UserError(
                f"{path}: {error}; remove the file and run the command again"
            ) from error

    def failures(self) -> dict[str, str]:
        """Returns the last message of each failed run by its name."""
        paths = {run.name: self.error_file(run) for run in self.runs}
        return {
            n: path.read_text().strip() for n, path in paths.items() if path.exists()
        }


def prepare(grid: Grid) -> None:
    """Writes the generated datasets of a grid, unless they exist.

    Waits for a dataset that another process writes.

    Raises:
        UserError: A dataset needs the released data.
    """
    names = dict.fromkeys(run.cell.source for run in grid.runs)
    waiting = [name for name in names if name in generated.DATASETS]
    said = ""
    while waiting:
        try:
            generated.write(grid.output, waiting[0], grid.release)
        except run_lock.InUseError as error:
            if str(error) != said:
                said = str(error)
                print(f"waiting: {said}", flush=True)
            time.sleep(_WAIT)
        else:
            waiting.pop(0)


def execute(grid: Grid) -> int | None:
    """Trains every run that is not finished.

    Returns:
        The signal that stopped the grid, after its run saved a checkpoint; None after
        the last run.

    Raises:
        UserError: A dataset cannot be generated.
    """
    files.check_output_folder(grid.output)
    prepare(grid)
    waiting = list(grid.runs)
    with interruption.recorded():
        while waiting:
            in_use = []
            for run in waiting:
                if not _train_if_free(grid, run):
                    in_use.append(run)
                if (number := interruption.signal_received()) is not None:
                    return number
            if in_use and in_use == waiting:
                runs = f"{len(in_use)} runs of other processes"
                print(f"waiting for {runs}, first {in_use[0].name}", flush=True)
                time.sleep(_WAIT)
            waiting = in_use
    return None


def _train_if_free(grid: Grid, run: PlannedRun) -> bool:
    """Trains a run, unless it is finished; returns False if another process does."""
    with contextlib.ExitStack() as held:
        try:
            # A run locks its own folder only when its imports are done.
            held.enter_context(
                run_lock.RunLock(grid.claim(run), "--output", "trains this run")
            )
            run_lock.check_free(grid.folder(run))
        except run_lock.InUseError:
            return False
        if _waits_for_pretraining(grid, run):
            return False
        _train_unless_finished(grid, run)
    with contextlib.suppress(OSError):
        grid.claim(run).rmdir()  # that of a process that was killed
    return True


def _train_unless_finished(grid: Grid, run: PlannedRun) -> None:
    """Trains a run that no other process trains, and records a failure."""
    with contextlib.suppress(FileNotFoundError):
        grid.error_file(run).unlink()
    try:
        problem = _finish(grid, run)
    except UserError as error:  # files of the run are damaged
        problem = str(error)
    if problem is not None:
        files.write(grid.error_file(run), problem + "\n")
        print(f"  failed: {problem}", flush=True)
    elif grid.keep_checkpoints or run.cell.is_pretraining:
        pass  # other runs start from the checkpoint of pretraining
    elif grid.seconds(run) is not None:
        shutil.rmtree(grid.folder(run) / "checkpoints", ignore_errors=True)


def _finish(grid: Grid, run: PlannedRun) -> str | None:
    """Trains a run, unless it is finished; returns what is wrong, or None.

    Raises:
        UserError: A file of the run is damaged.
    """
    if grid.seconds(run) is not None:
        return _difference(grid, run)
    number = list(grid.runs).index(run) + 1
    print(f"run {number} of {len(grid.runs)}: {run.name}", flush=True)
    problem = _train(grid, run)
    seconds = grid.seconds(run)
    if seconds is not None:
        print(f"  finished after {duration(seconds)}", flush=True)
    return problem


def _waits_for_pretraining(grid: Grid, run: PlannedRun) -> bool:
    """Whether another process still pretrains the student that a run starts from."""
    start = run.macros.get("INITIAL_CHECKPOINT_PATH")
    return any(
        str(grid.folder(other)) == start
        and not grid.error_file(other).exists()
        and grid.seconds(other) is None
        for other in grid.runs
        if other.cell.is_pretraining
    )


def _difference(grid: Grid, run: PlannedRun) -> str | None:
    """Describes how the settings of a finished run differ from those of the grid."""
    tensorflow_import.import_quietly()
    from dsbs_jax.local import resume_guard

    stored = resume_guard.read_settings(grid.folder(run) / resume_guard.CONFIG_FILE)
    for name, value in run.macros.items():
        old = stored.get(name, value)
        if name in _PATHS or _is_pretrained_here(grid, old, value):
            continue
        if old != value:
            return (
                f"{grid.folder(run)} is a finished run with {name} = {old!r}, expected "
                f"{value!r}; use another --output, or remove the folder"
            )
    return None


def _is_pretrained_here(grid: Grid, old: Any, value: Any) -> bool:
    """Whether two values are the pretrained student of a grid that was moved."""
    names = {run.name for run in grid.runs if run.cell.is_pretraining}
    folders = [pathlib.Path(v).name for v in (old, value) if isinstance(v, str)]
    return len(folders) == 2 and folders[0] == folders[1] and folders[0] in names


def _train(grid: Grid, run: PlannedRun) -> str | None:
    """Runs the training command; returns why it failed, or None."""
    log = grid.log(run)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = run.arguments(grid.output, grid.tfds_data_dir)
    with log.open("ab") as output:
        start = output.tell()  # the log before this byte is from earlier tries
        process = subprocess.Popen(
            [sys.executable, "-m", child.__name__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_cache(grid), **os.environ, child.PARENT: str(os.getpid())},
            # Ctrl-C reaches this process only, which passes it to the run once.
            start_new_session=True,
        )
        status = _wait(process)
    if interruption.signal_received() is not None:
        return None
    if status == 0 and grid.seconds(run) is not None:
        return None
    return f"{_last_message(log, start)} (exit status {status}; {log})"


def _cache(grid: Grid) -> dict[str, str]:
    """Returns the environment variables of JAX's cache of compiled programs.

    A run with a program from the cache computes the same numbers. By default JAX keeps
    only programs that take a second to compile.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str((grid.output / PROGRAMS).resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Waits for a run, and passes a signal to it once."""
    passed = False
    while True:
        try:
            return process.wait(_POLL)
        except subprocess.TimeoutExpired:
            number = interruption.signal_received()
            if number is not None and not passed:
                process.send_signal(number)
                passed = True


def _last_message(log: pathlib.Path, start: int) -> str:
    """Returns the last error in a log from a byte on, or its last line."""
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    errors = [line for line in lines if line.startswith("error: ")]
    last = ([""] + [line for line in lines if line] + errors[-1:])[-1]
    return last.removeprefix("error: ")
