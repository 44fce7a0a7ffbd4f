"""Records of a run: progress lines, curves, trackers and non-finite losses."""

import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import optax
import seqio

from dsbs_jax import files
from dsbs_jax.errors import UserError
from dsbs_jax.local import curves, datasets, step, trackers
from dsbs_jax.local.config import LoopConfig
from dsbs_jax.local.evaluation import Scores
from dsbs_jax.local.row_merging import Batch
from dsbs_jax.progress import Progress


class _Update(NamedTuple):
    """One update: its number from 1, its batch and its metrics on the device."""

    number: int
    batch: Batch
    metrics: step.Metrics


class TrainingLog:
    """Collects the metrics of updates and writes them every LOG_PERIOD updates.

    A `with` block closes the trackers, and tells them whether training failed.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        config: LoopConfig,
        schedule: optax.Schedule,
        vocabulary: seqio.Vocabulary,
        start: int,
    ) -> None:
        """Opens the log.

        Args:
            folder: The run folder.
            config: Period and length of the run.
            schedule: The learning rate.
            vocabulary: The student's vocabulary, to describe a bad batch.
            start: Updates that are already done.

        Raises:
            UserError: A tracker cannot start, or the run's curves are damaged.
        """
        self._folder, self._config = folder, config
        self._schedule, self._vocabulary = schedule, vocabulary
        self._curve = curves.CurveWriter(folder, start)
        self._writer = trackers.open_writer(config.trackers, folder)
        self._progress = Progress("step", config.train_steps, start)
        self._updates: list[_Update] = []

    def __enter__(self) -> Self:
        """Returns the log."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the progress bar and closes the trackers."""
        self._progress.close()
        self._writer.close(failed=kind is not None)

    def write_settings(self, values: Mapping[str, Any]) -> None:
        """Writes the settings of the run, by macro name, to the trackers."""
        # TensorBoard takes no other types.
        plain = (bool, int, float, str)
        self._writer.write_hparams(
            {k: v if isinstance(v, plain) else repr(v) for k, v in values.items()}
        )

    def add(self, number: int, batch: Batch, metrics: step.Metrics) -> None:
        """Records an update.

        Args:
            number: Number of the update, from 1.
            batch: The batch, one example in each row.
            metrics: Metrics on the device. They are fetched only when they are written,
                so the next update does not wait for them.

        Raises:
            UserError: A loss is not finite.
        """
        self._updates.append(_Update(number, batch, metrics))
        if number % self._config.log_period == 0 or number == self._config.train_steps:
            means = self._means(self._updates)
            self._updates = []
            means["learning_rate"] = float(self._schedule(number - 1))
            self._curve.write_training(number, means)
            self._writer.write_scalars(number, means)
            losses = {n: v for n, v in means.items() if n.endswith("loss")}
            note = "  ".join(
                f"{n.removesuffix('_loss')} {v:.4f}" for n, v in losses.items()
            )
            self._progress.update(number, note)

    def check_losses(self) -> None:
        """Checks the recorded updates before their result is saved.

        Raises:
            UserError: A loss is not finite.
        """
        if self._updates:
            self._means(self._updates)

    def _means(self, updates: Sequence[_Update]) -> dict[str, float]:
        """Returns means over updates.

        The mean of a task's loss weights each update by its tokens of the task.
        """
        metrics = jax.device_get([update.metrics for update in updates])
        columns = {
            k: np.asarray([m[k] for m in metrics], np.float64) for k in metrics[0]
        }
        self._check_finite(updates, columns["loss"])
        means = {k: float(columns[k].mean()) for k in ("loss", "gradient_norm")}
        for task in ("label", "rationale"):
            tokens = columns[f"{task}_tokens"]
            if tokens.any():
                loss = np.average(columns[f"{task}_loss"], weights=tokens)
                means[f"{task}_loss"] = float(loss)
        if "pair_loss" in columns:
            means["pair_loss"] = float(columns["pair_loss"].mean())
        return means

    def _check_finite(self, updates: Sequence[_Update], losses: np.ndarray) -> None:
        for update, loss in zip(updates, losses, strict=True):
            if not math.isfinite(loss):
                path = self._folder / "bad_batch.jsonl"
                rows = datasets.describe(update.batch, self._vocabulary)
                files.write_jsonl(path, rows)
                raise UserError(
                    f"the loss of step {update.number} is {loss}; its batch is in "
                    f"{path}; earlier checkpoints are kept; try a smaller "
                    "LEARNING_RATE in a new MODEL_DIR"
                )

    def write_scores(self, number: int, split: str, scores: Scores) -> None:
        """Writes the scores after `number` updates to curves and trackers."""
        if scores and split == "validation":
            self._curve.write_validation(number, scores)
        scalars = {
            f"{split}/{task}/{metric}": value
            for task, metrics in scores.items()
            for metric, value in metrics.items()
        }
        if scalars:
            self._writer.write_scalars(number, scalars)
            self._writer.flush()

    def say(self, text: str) -> None:
        """Prints a line without breaking the progress bar."""
        self._progress.say(text)

    def close_progress(self) -> None:
        """Ends the progress bar."""
        self._progress.close()

    def write_results(self, number: int, table: str) -> None:
        """Writes the table of the final scores, after `number` updates."""
        # Four spaces keep the columns in TensorBoard, which renders Markdown.
        self._writer.write_texts(
            number, {"results.txt": textwrap.indent(table, " " * 4)}
        )


def one_line(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Formats scores: "cqa_predict 61.25 % accuracy"."""
    return ", ".join(
        f"{task} {value:.2f} % {metric}"
        for task, metrics in scores.items()
        for metric, value in metrics.items()
        if math.isfinite(value)
    )
