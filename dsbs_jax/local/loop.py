"""The training loop of the local engine, top to bottom."""

import functools
import json
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import gin
import jax
import numpy as np
import optax
import seqio
from clu import metric_writers

from dsbs_jax import files, weights
from dsbs_jax.data.features import student_vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local import (
    checkpoints,
    datasets,
    evaluation,
    packing,
    state,
    step,
    stopping,
)
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.report import print_task_sizes, results_table
from dsbs_jax.progress import Progress, duration
from dsbs_jax.student import objective
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import Transformer


@gin.configurable
def train(
    *,
    model_dir: str,
    model: Transformer,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    dataset: datasets.DatasetConfig,
    test_task_name: str,
    alpha: float,
    total_steps: int,
    eval_period: int,
    log_period: int,
    decoder: evaluation.Decoder,
    eval_batch_size: int,
    num_microbatches: int = 1,
    num_partitions: int = 1,
    seed: int = 0,
    patience: int | None = None,
    initial_checkpoint_path: str | None = None,
) -> dict[str, Any]:
    """Trains a student, or goes on with a run that was stopped; scores it at the end.

    Args:
        model_dir: The run's folder: `config.gin`, `checkpoints/`, `predictions/`,
            TensorBoard's events and `results.json`.
        model: The student.
        optimizer: Its schedule is `learning_rate`.
        learning_rate: What is logged.
        dataset: The training examples; the mixture's label tasks are scored on their
            validation split.
        test_task_name: The task whose test split is scored at the end.
        alpha: Weight of the label task in the objective, 0 to 1.
        total_steps: Updates of the whole run.
        eval_period: Steps between two validations, each with a checkpoint.
        log_period: Steps between two lines of progress.
        decoder: How predictions are decoded.
        eval_batch_size: Rows decoded at a time.
        num_microbatches: Parts of a batch that are computed one after another.
        num_partitions: Devices that a copy of the student is spread over.
        seed: Of parameters, dropout and the order of examples.
        patience: Evaluations without a better score after which training stops early.
        initial_checkpoint_path: Weights to begin with, see `weights.open_checkpoint`.

    Returns:
        What `results.json` holds: scores of the best and the last checkpoint on
        validation and test, and the teacher's on test, in percent.

    Raises:
        UserError: Settings, data or checkpoints do not fit together, the folder cannot
            be written, or the loss is not finite; then `bad_batch.jsonl` is what led to it.
        stopping.Terminated: a SIGTERM came; the state is saved.
    """
    began = time.monotonic()
    partitioner = Partitioner(num_partitions)
    _check_settings(model, dataset, alpha, num_microbatches, partitioner)
    _check_steps(total_steps, eval_period, log_period, patience)
    # Reads all training data, before anything is written.
    print_task_sizes(datasets.task_sizes(dataset), dataset.task_feature_lengths)

    # Where the run stands: new, from other parameters, or stopped half-way.
    folder = pathlib.Path(model_dir)
    abstract = state.abstract_state(model, optimizer, partitioner)
    newest = checkpoints.newest_whole(folder / "checkpoints")
    initial = None
    if newest is None and initial_checkpoint_path:
        source = weights.open_checkpoint(initial_checkpoint_path)
        initial = weights.load_params(source, abstract.params)
    checkpoints.check_room(folder, abstract)
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    key = jax.random.key(seed)
    if newest is not None:
        train_state = saved.restore(newest, abstract)
        print(f"Going on from step {newest} in {folder}")
    else:
        train_state = state.init_state(model, optimizer, abstract, key, initial)
    files.write(folder / "config.gin", gin.config_str())

    # Data and scorers.
    batches = datasets.training_batches(dataset, start=int(train_state.step))
    predictor = evaluation.Predictor(model, decoder, partitioner, eval_batch_size)
    validate = _scorer(dataset, dataset.mixture_or_task_name, "validation", predictor)
    parts = num_microbatches * partitioner.data_size
    train_step = step.make_train_step(
        model, optimizer, partitioner, alpha, num_microbatches
    )

    # The loop. At its top `number` updates are done.
    writer = metric_writers.SummaryWriter(str(folder))
    progress = Progress("step", total_steps, int(train_state.step))
    window: list[_Update] = []
    with stopping.Sigterm() as sigterm:
        for number in range(int(train_state.step), total_steps + 1):
            due = number > 0 and (number % eval_period == 0 or number == total_steps)
            if due and not saved.is_scored(number):
                name, params = f"step_{number}", train_state.params
                scores = sigterm.interrupts(
                    functools.partial(validate, params, folder, name)
                )
                if scores is not None:
                    saved.save(train_state, score=_score(scores, number))
                    _write_scores(writer, number, "validation", scores)
                    if scores:
                        progress.say(f"step {number}: validation {_one_line(scores)}")
            if sigterm.came:
                if saved.last != number:
                    saved.save(train_state)
                print(f"SIGTERM: step {number} is saved; the same command goes on")
                raise stopping.Terminated
            if number == total_steps:
                break
            if patience and number >= saved.best_or(number) + patience * eval_period:
                progress.say(f"step {number}: no better for {patience} evaluations")
                break
            batch = next(batches)
            rows = batch
            if not dataset.pack:
                rows = packing.pack(batch, model.config.emb_dim // 2, parts)
            train_state, metrics = train_step(
                train_state, partitioner.put_batch(rows), key
            )
            window.append(_Update(number + 1, batch, metrics))
            if (number + 1) % log_period == 0 or number + 1 == total_steps:
                means = _summarize(window, folder)
                window = []
                means["learning_rate"] = float(learning_rate(number))
                writer.write_scalars(number + 1, means)
                progress.update(number + 1, _note(means))
    progress.close()

    # The test split, once for the best and once for the last checkpoint.
    test = _scorer(dataset, test_task_name, "test", predictor)
    results: dict[str, Any] = {
        "mixture": dataset.mixture_or_task_name,
        "test_task": test_task_name,
        "steps": number,
    }
    for name, number in (("best", saved.best), ("last", saved.last)):
        params = saved.restore_params(number, abstract.params)
        results[name] = {
            "step": number,
            "validation": validate(params, folder, name),
            "test": test(params, folder, name),
        }
        _write_scores(writer, number, f"test_{name}", results[name]["test"])
    results["teacher_test"] = evaluation.teacher_accuracy(test_task_name)
    results["seconds"] = round(time.monotonic() - began, 1)
    writer.close()
    saved.close()
    files.write(folder / "results.json", json.dumps(results, indent=2) + "\n")
    print(results_table(results))
    print(f"{duration(results['seconds'])} in all; everything is in {folder}")
    return results


def _check_settings(
    model: Transformer,
    dataset: datasets.DatasetConfig,
    alpha: float,
    num_microbatches: int,
    partitioner: Partitioner,
) -> None:
    check_vocabulary_size(model.config.vocab_size, student_vocabulary().vocab_size)
    objective.check_alpha(alpha)
    parts = num_microbatches * partitioner.data_size
    if num_microbatches < 1 or dataset.batch_size % parts:
        raise UserError(
            f"BATCH_SIZE is {dataset.batch_size}, expected a multiple of "
            f"NUM_MICROBATCHES x data-parallel devices, {num_microbatches} x "
            f"{partitioner.data_size}"
        )


def _check_steps(
    total_steps: int, eval_period: int, log_period: int, patience: int | None
) -> None:
    for name, value in (
        ("TRAIN_STEPS", total_steps),
        ("EVAL_PERIOD", eval_period),
        ("LOG_PERIOD", log_period),
        ("PATIENCE", patience),
    ):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}, expected 1 or more")


def _scorer(
    dataset: datasets.DatasetConfig,
    name: str,
    split: str,
    predictor: evaluation.Predictor,
) -> Any:
    """Scores (params, folder, name); {} where the data has no such split."""
    if split not in seqio.get_mixture_or_task(name).splits:
        print(f"{name} has no {split} split: it is not scored")
        return lambda *_: {}
    scorer = evaluation.Scorer(name, split, predictor, dataset.task_feature_lengths)
    return lambda params, folder, what: scorer(params, folder / "predictions", what)


def _score(scores: Mapping, number: int) -> float:
    """What the best checkpoint is chosen by; without validation, the last is."""
    return evaluation.mean_accuracy(scores) if scores else float(number)


class _Update(NamedTuple):
    """One update: how many there are with it, what it saw, what came out."""

    number: int
    batch: dict[str, np.ndarray]
    metrics: step.Metrics


def _summarize(window: list[_Update], folder: pathlib.Path) -> dict[str, float]:
    """Means over the updates since the last line; losses over tokens of their task."""
    host = jax.device_get([update.metrics for update in window])
    columns = {k: np.asarray([m[k] for m in host], np.float64) for k in host[0]}
    for update, loss in zip(window, columns["loss"], strict=True):
        if not math.isfinite(loss):
            path = folder / "bad_batch.jsonl"
            files.write_jsonl(path, datasets.describe(update.batch))
            raise UserError(
                f"the loss of step {update.number} is {loss}; its batch is in {path}; "
                "try a smaller LEARNING_RATE"
            )
    means = {k: float(columns[k].mean()) for k in ("loss", "gradient_norm")}
    for task in ("label", "rationale"):
        tokens = columns[f"{task}_tokens"]
        if tokens.any():
            means[f"{task}_loss"] = float(
                np.average(columns[f"{task}_loss"], weights=tokens)
            )
    return means


def _note(means: Mapping[str, float]) -> str:
    parts = [
        f"{k.removesuffix('_loss')} {v:.4f}" for k, v in means.items() if "loss" in k
    ]
    return "  ".join(parts)


def _one_line(scores: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(
        f"{task} {value:.2f} % {metric}"
        for task, metrics in scores.items()
        for metric, value in metrics.items()
        if math.isfinite(value)
    )


def _write_scores(
    writer: metric_writers.MetricWriter, number: int, split: str, scores: Mapping
) -> None:
    flat = {
        f"{split}/{task}/{metric}": value
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    }
    if flat:
        writer.write_scalars(number, flat)
        writer.flush()
