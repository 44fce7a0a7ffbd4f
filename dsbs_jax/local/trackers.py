"""Trackers of runs behind clu's writer interface: TensorBoard, wandb and MLflow.

    writer = trackers.open_writer(["tensorboard", "mlflow"], pathlib.Path("runs/own"))
    writer.write_hparams({"ALPHA": 0.5})
    writer.write_scalars(100, {"loss": 1.25})
    writer.close()

wandb and MLflow read their own environment variables (`WANDB_MODE`, `WANDB_PROJECT`,
`MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`, …). The run folder's `trackers.json`
names the run of each tracker, which a resumed training run continues.
"""

import abc
import functools
import html
import importlib
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging
from clu import metric_writers

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError, first_line

# Project of wandb and experiment of MLflow, unless their variables name another.
PROJECT = "dsbs_jax"
_RUNS_FILE = "trackers.json"
# Parameters that MLflow accepts in one request.
_MLFLOW_PARAMS = 100


class Tracker(metric_writers.MetricWriter):
    """Writes scalars, texts and settings to one run of a tracker.

    A failed write does not end the training: if a write fails, for example because a
    server does not answer, a warning is printed and the tracker is not used any more.

    Attributes:
        failed: Whether training failed; set before `close`.
    """

    name: str

    def __init__(self) -> None:
        """Starts without failures."""
        self.failed = False
        self._broken = False

    @property
    @abc.abstractmethod
    def run(self) -> str:
        """The id by which a resumed training run continues this run."""

    @abc.abstractmethod
    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers by name."""

    @abc.abstractmethod
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts by name."""

    @abc.abstractmethod
    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes settings by name; may be called again when a run is resumed."""

    def _unsupported(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"{self.name} gets scalars, texts and settings")

    write_summaries = write_images = write_videos = _unsupported
    write_audios = write_histograms = _unsupported

    def flush(self) -> None:
        """Does nothing: the library writes at once or in the background."""


Write = Callable[..., None]


def _guarded(write: Write) -> Write:
    """Turns an error of a tracker's library into a warning, and stops using it."""

    @functools.wraps(write)
    def guarded(self: Tracker, *args: Any) -> None:
        if self._broken:
            return
        try:
            write(self, *args)
        # The libraries raise errors of many types.
        except Exception as error:
            self._broken = True
            logging.warning(
                "%s cannot be written: %s; training continues without it",
                self.name,
                first_line(error),
            )

    return guarded


class WandbTracker(Tracker):
    """A run of Weights & Biases, with local files in the run folder."""

    name = "wandb"

    def __init__(self, folder: pathlib.Path, run: str | None) -> None:
        """Starts a run, or continues the one with this id."""
        super().__init__()
        wandb = _library(self.name)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", folder.absolute().name),
            dir=str(folder),
            id=run,
            resume="allow",
            # Several runs of one process do not share wandb's global run.
            reinit="create_new",
            # The console stays with the progress bar.
            settings=wandb.Settings(console="off"),
        )
        # A resumed run repeats steps after its checkpoint. wandb drops values whose own
        # step number decreases, so the update is a value like the others.
        self._run.define_metric("*", step_metric="step")
        self._html = wandb.Html

    @property
    def run(self) -> str:
        """The run's id."""
        return self._run.id

    @_guarded
    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Logs numbers."""
        self._run.log({"step": step, **{k: float(v) for k, v in scalars.items()}})

    @_guarded
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Logs texts as HTML."""
        pages = {
            name: self._html(f"<pre>{html.escape(text)}</pre>")
            for name, text in texts.items()
        }
        self._run.log({"step": step, **pages})

    @_guarded
    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Updates the run's config."""
        self._run.config.update(dict(hparams), allow_val_change=True)

    @_guarded
    def close(self) -> None:
        """Ends the run and waits until it is written."""
        self._run.finish(exit_code=int(self.failed))


class MlflowTracker(Tracker):
    """A run of MLflow, in the store that MLFLOW_TRACKING_URI names."""

    name = "mlflow"

    def __init__(self, folder: pathlib.Path, run: str | None) -> None:
        """Starts a run, or continues the one with this id."""
        super().__init__()
        self._entities = _library("mlflow.entities")
        # The functions of `mlflow` itself share one active run in a process.
        self._client = _library(self.name).MlflowClient()
        if run is None:
            name = folder.absolute().name
            created = self._client.create_run(self._experiment(), run_name=name)
            run = created.info.run_id
        else:
            self._client.update_run(run, status="RUNNING")
        self._run_id = run

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    @property
    def run(self) -> str:
        """The run's id."""
        return self._run_id

    @_guarded
    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Logs metrics."""
        now = round(1000 * time.time())
        metric = self._entities.Metric
        metrics = [metric(k, float(v), now, step) for k, v in scalars.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    @_guarded
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Logs artifacts; a later text of the same name replaces an earlier one."""
        for name, text in texts.items():
            self._client.log_text(self._run_id, text, name)

    @_guarded
    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Logs parameters; those that a resumed run has changed become tags."""
        given = {name: str(value) for name, value in hparams.items()}
        logged = self._client.get_run(self._run_id).data.params
        new = [
            self._entities.Param(name, text)
            for name, text in given.items()
            if name not in logged
        ]
        for start in range(0, len(new), _MLFLOW_PARAMS):
            batch = new[start : start + _MLFLOW_PARAMS]
            self._client.log_batch(self._run_id, params=batch)
        for name, text in given.items():
            # A parameter cannot be changed.
            if logged.get(name, text) != text:
                self._client.set_tag(self._run_id, f"resumed/{name}", text)

    @_guarded
    def close(self) -> None:
        """Ends the run."""
        status = "FAILED" if self.failed else "FINISHED"
        self._client.set_terminated(self._run_id, status)


_TRACKERS: Mapping[str, type[WandbTracker | MlflowTracker]] = {
    tracker.name: tracker for tracker in (WandbTracker, MlflowTracker)
}


class Writers(metric_writers.MultiWriter):
    """Writes to several trackers."""

    def close(self, failed: bool = False) -> None:
        """Closes the trackers.

        Args:
            failed: Whether training ended with an error, which a tracker shows.
        """
        for writer in self._writers:
            if isinstance(writer, Tracker):
                writer.failed = failed
        super().close()


def check_installed(names: Sequence[str]) -> None:
    """Checks that the libraries of trackers are installed.

    Raises:
        UserError: A library is missing.
    """
    for name in names:
        if name in _TRACKERS:
            _library(name)


def open_writer(names: Sequence[str], folder: pathlib.Path) -> Writers:
    """Opens trackers, and continues the runs that the run folder names.

    Args:
        names: The trackers, as in `LoopConfig.trackers`.
        folder: The run folder, which exists.

    Raises:
        UserError: A library is missing, or a tracker cannot start.
    """
    path = folder / _RUNS_FILE
    runs = _read_runs(path)
    writers: list[metric_writers.MetricWriter] = []
    try:
        for name in dict.fromkeys(names):
            if name in _TRACKERS:
                tracker = _start(name, folder, runs.get(name))
                writers.append(tracker)
                runs[name] = tracker.run
                files.write_json(path, runs)
            else:
                writers.append(metric_writers.SummaryWriter(str(folder)))
    except BaseException:
        Writers(writers).close(failed=True)
        raise
    return Writers(writers)


def _read_runs(path: pathlib.Path) -> dict[str, str]:
    """Reads the id of each tracker's run."""
    if not path.exists():
        return {}
    try:
        return json_input.parse(path.read_bytes(), dict[str, str])
    except json_input.JsonError as error:
        raise UserError(
            f"{path}: {error}; remove the file to start new runs of the trackers"
        ) from error


def _start(name: str, folder: pathlib.Path, run: str | None) -> Tracker:
    _library(name)
    try:
        return _TRACKERS[name](folder, run)
    # The libraries raise errors of many types.
    except Exception as error:
        message = f"TRACKERS: {name} cannot start: {first_line(error)}"
        if run is not None:
            message += (
                f"; {folder / _RUNS_FILE} names its run {run}, remove the file to "
                "start a new one"
            )
        raise UserError(message) from error


def _library(name: str) -> Any:
    """Imports a tracker's library, or a module of it."""
    package = name.partition(".")[0]
    try:
        module = importlib.import_module(name)
        if module.__file__ is None:
            # A folder of this name, which an earlier run has left in a path of imports.
            raise ImportError(f"{package} is a folder without code")
        return module
    except ImportError as error:
        raise UserError(
            f"TRACKERS: {package} is not installed: pip install 'dsbs-jax[{package}]'"
        ) from error
