"""Training: set up a run, update the student step by step, score the result.

`train` is the complete run. `_update_until_done` is the loop.
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import optax
from absl import logging

from dsbs_jax import files, interruption, settings
from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.data.tables.columns import ColumnMap
from dsbs_jax.errors import UserError
from dsbs_jax.local import (
    checkpoints,
    curves,
    datasets,
    evaluation,
    label_checks,
    optimizers,
    partitioning,
    report,
    resume_guard,
    row_merging,
    run_lock,
    state,
    step,
    stopping,
    student_folder,
    trackers,
    trainable,
)
from dsbs_jax.local.alpha_schedule import make_alpha
from dsbs_jax.local.config import LoopConfig, TrainSettings
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.training_log import TrainingLog, one_line
from dsbs_jax.progress import duration
from dsbs_jax.student import stacked_layers
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import load_params, open_checkpoint, student_config
from dsbs_jax.weights.run_checkpoints import BASE_FOLDER, Overlay

# (parameters, name of the parameters) -> scores; {} where the data has no such split.
ScoreFn = Callable[[Any, str], evaluation.Scores]


@dataclasses.dataclass(kw_only=True)
class _Run:
    """A run that is set up: what the loop reads, and the state that it updates."""

    config: LoopConfig
    folder: pathlib.Path
    data: mixtures.MethodData
    model: Transformer
    partitioner: Partitioner
    optimizer: optax.GradientTransformation
    beta: float
    abstract: state.TrainState
    checkpoints: checkpoints.Checkpoints
    state: state.TrainState
    key: jax.Array
    validate: ScoreFn
    test: ScoreFn
    log: TrainingLog


def train(config: TrainSettings, columns: ColumnMap | None = None) -> dict[str, Any]:
    """Trains a student, or resumes a run that was stopped, and scores it at the end.

    The run folder then holds `config.gin`, `student.json`, `vocabulary/`,
    `checkpoints/`, `predictions/`, `curve.jsonl`, the files of the trackers and
    `results.json`.

    Args:
        config: The settings of the run.
        columns: The columns from which the inputs of the rows were built, for
            `student.json`.

    Returns:
        The content of `results.json`: scores of the best and the last checkpoint on
        validation and test, and the teacher's score on test, in percent.

    Raises:
        UserError: Settings, data or checkpoints do not fit together, the folder holds
            another run or is in use, it cannot be written, a tracker cannot start, or
            the loss is not finite.
        stopping.Terminated: SIGTERM arrived; the state is saved.
        KeyboardInterrupt: SIGINT (Ctrl-C) arrived; the state is saved.
    """
    began = time.monotonic()
    with run_lock.RunLock(pathlib.Path(config.loop.model_dir)):
        run = _set_up(config, columns)
        with run.log, interruption.recorded():
            every = config.all_settings(run.model.config)
            run.log.write_settings(settings.values_of(every))
            steps = _update_until_done(run)
            try:
                results = _score_checkpoints(run, steps)
            except interruption.Stopped as stop:
                stopping.end_run(stop.number, f"step {steps} is saved, without scores")
            results["seconds"] = round(time.monotonic() - began, 1)
            files.write_json(run.folder / "results.json", results)
            table = report.results_table(results)
            run.log.write_results(steps, table)
    print(table)
    print(f"Finished after {duration(results['seconds'])}; the run is in {run.folder}")
    return results


def _set_up(config: TrainSettings, columns: ColumnMap | None) -> _Run:
    """Checks the settings, reads the data, and restores or creates the state.

    Nothing but the lock is written before all settings and data are checked; only
    damaged checkpoints are renamed.
    """
    loop = config.loop
    trackers.check_installed(loop.trackers)
    partitioner = partitioning.of_run(config)
    _check_batch_size(loop, partitioner)
    schedule = optimizers.make_schedule(config.optimizer, loop.train_steps)
    optimizer = optimizers.make_optimizer(config.optimizer, schedule)
    folder = pathlib.Path(loop.model_dir)
    newest = checkpoints.newest_complete(folder / "checkpoints")
    resume_guard.check_steps(folder, newest, loop.train_steps)
    model, data, sizes = _load_data(config, newest)
    if loop.explain_first_steps:
        mixtures.rationales_only(data)  # raises if the method has no rationale task
    student = student_folder.spec_of_run(
        config.data, data, model.config, config.decoding
    )
    every = config.all_settings(model.config)
    for note in resume_guard.check(folder, settings.values_of(every), student):
        logging.info("%s", note)
    for warning in label_checks.check(
        data, student.labels, sizes, config.decoding.max_decode_length
    ):
        logging.warning("%s", warning)
    predictor = evaluation.Predictor(model, config.decoding, partitioner)
    validate = _make_scorer(data, data.validated, "validation", predictor, folder)
    test = _make_scorer(data, data.test_task, "test", predictor, folder)
    make_abstract = functools.partial(
        state.abstract_state, model, optimizer, partitioner, config.trainable
    )
    abstract = make_abstract()
    initial = None
    if newest is None and loop.initial_checkpoint_path:
        reader = open_checkpoint(loop.initial_checkpoint_path)
        initial = load_params(reader, abstract.weights)
    checkpoints.prepare_folder(folder, abstract)
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    key = jax.random.key(loop.random_seed)
    if newest is not None:
        start = _restore(saved, newest, make_abstract, folder)
    else:
        if abstract.frozen is not None:
            initial = initial or state.init_params(model, abstract, key)
            overlay = Overlay(abstract.frozen.scale, _origin(loop))
            checkpoints.write_base(folder, initial, overlay)
        start = state.init_state(model, optimizer, abstract, key, initial)
    files.write(folder / resume_guard.CONFIG_FILE, settings.as_gin(every))
    student = student_folder.with_columns(student, columns, folder)
    student_folder.write(folder, student, data.vocabulary)

    return _Run(
        config=loop,
        folder=folder,
        data=data,
        model=model,
        partitioner=partitioner,
        optimizer=optimizer,
        beta=config.beta,
        abstract=abstract,
        checkpoints=saved,
        state=start,
        key=key,
        validate=validate,
        test=test,
        log=TrainingLog(folder, loop, schedule, data.vocabulary, int(start.step)),
    )


def _origin(config: LoopConfig) -> str | None:
    """Returns where the initial weights are from, with an absolute path."""
    path = config.initial_checkpoint_path
    if path is not None and pathlib.Path(path).exists():
        return str(pathlib.Path(path).absolute())
    return path


def _restore(
    saved: checkpoints.Checkpoints,
    newest: int,
    make_abstract: Callable[..., state.TrainState],
    folder: pathlib.Path,
) -> state.TrainState:
    """Restores the state of a run, with the weights that it does not update.

    Args:
        saved: The checkpoints of the run.
        newest: The step to restore.
        make_abstract: `state.abstract_state` of the run. The checkpoint may have been
            saved with the other value of SCAN_LAYERS.
        folder: The run folder.
    """
    abstract = make_abstract()
    stored = make_abstract(stacked=saved.is_stacked(newest))
    start = state.with_layout(saved.restore(newest, stored), abstract)
    if abstract.frozen is not None:
        base = checkpoints.checkpoint_path(folder / BASE_FOLDER, 0)
        full = load_params(open_checkpoint(str(base)), abstract.weights)
        start = start.replace(frozen=trainable.freeze(full, abstract.frozen))
    print(f"Resuming from step {newest} in {folder}")
    return start


def _load_data(
    config: TrainSettings, newest: int | None
) -> tuple[Transformer, mixtures.MethodData, list[datasets.TaskSize]]:
    """Builds the student and its data, and prints the size of each task.

    Args:
        config: The settings of the run.
        newest: Step of the checkpoint from which the run resumes. Sizes that are not
            set come from it, because the initial checkpoint may no longer exist.
    """
    words = vocabulary.load(config.data.vocabulary_path)
    checkpoint = config.loop.initial_checkpoint_path
    if newest is not None:
        saved = pathlib.Path(config.loop.model_dir) / "checkpoints"
        checkpoint = str(checkpoints.checkpoint_path(saved, newest))
    rows = vocabulary.padded_size(words)
    student = student_config(config.student, checkpoint, rows)
    check_vocabulary_size(student.vocab_size, words.vocab_size)
    data = mixtures.build(config.data, words)
    # Reads all training data once.
    sizes = datasets.task_sizes(data)
    report.print_task_sizes(sizes, data.task_feature_lengths)
    return Transformer(student), data, sizes


def _check_batch_size(config: LoopConfig, partitioner: Partitioner) -> None:
    copies = partitioner.data_size
    if config.batch_size % (config.num_microbatches * copies):
        raise UserError(
            f"BATCH_SIZE is {config.batch_size}, expected a multiple of "
            f"NUM_MICROBATCHES x copies of the student, {config.num_microbatches} x "
            f"{copies}"
        )


def _update_until_done(run: _Run) -> int:
    """Updates the student until the last step, an early stop or a signal.

    At the top of the loop `number` updates are done, so the last round only evaluates.

    Returns:
        The number of updates done.
    """
    config, start = run.config, int(run.state.step)
    batches = _batches(run, start)
    train_step = step.make_train_step(
        run.model,
        run.optimizer,
        run.partitioner,
        make_alpha(config),
        config.num_microbatches,
        run.beta,
    )
    for number in range(start, config.train_steps + 1):
        if _is_evaluation_due(run, number):
            _evaluate(run, number)
        if received := interruption.signal_received():
            _save_and_exit(run, number, received)
        if number == config.train_steps or _stops_early(run, number):
            break
        batch = next(batches)
        rows = run.partitioner.put_batch(_merge_rows(run, batch))
        run.state, metrics = train_step(run.state, rows, run.key)
        run.log.add(number + 1, batch, metrics)
    run.log.close_progress()
    return number


def _batches(run: _Run, start: int) -> Iterator[row_merging.Batch]:
    """Yields the batches of the updates from `start` on.

    Those of EXPLAIN_FIRST_STEPS come from the rationale tasks. After them the mixture
    begins at its first batch, so that a resumed run reads the same batches.
    """
    config = run.config
    read = functools.partial(
        datasets.training_batches,
        batch_size=config.batch_size,
        pack=config.pack,
        seed=config.random_seed,
    )
    first = config.explain_first_steps
    if start < first:
        rationales = read(mixtures.rationales_only(run.data), start=start)
        yield from itertools.islice(rationales, first - start)
    yield from read(run.data, start=max(0, start - first))


def _is_evaluation_due(run: _Run, number: int) -> bool:
    last = number == run.config.train_steps
    due = number > 0 and (number % run.config.eval_period == 0 or last)
    # A resumed run starts at a checkpoint, which may already have its scores.
    return due and not run.checkpoints.is_scored(number)


def _evaluate(run: _Run, number: int) -> None:
    """Scores the student on validation and saves a checkpoint.

    If a signal arrives during the scoring, nothing is written or saved.
    """
    run.log.check_losses()
    try:
        complete = trainable.complete(run.state.params, run.state.frozen)
        scores = run.validate(complete, f"step_{number}")
    except interruption.Stopped:
        return
    # Without a validation split, the last checkpoint is the best.
    score = evaluation.mean_accuracy(scores) if scores else float(number)
    # Before the checkpoint: a run that is killed between the two repeats both.
    run.log.write_scores(number, "validation", scores)
    run.checkpoints.save(run.state, score)
    if scores:
        run.log.say(f"step {number}: validation {one_line(scores)}")


def _save_and_exit(run: _Run, number: int, received: int) -> NoReturn:
    if run.checkpoints.last != number:
        run.checkpoints.save(run.state)
    run.log.close_progress()
    stopping.end_run(received, f"saved step {number}")


def _stops_early(run: _Run, number: int) -> bool:
    if run.config.patience is None or number % run.config.eval_period:
        return False
    best = run.checkpoints.best
    if best is None or _evaluations_since(run, best, number) < run.config.patience:
        return False
    run.log.say(
        f"step {number}: no better score in {run.config.patience} evaluations, stopping"
    )
    return True


def _evaluations_since(run: _Run, best: int, number: int) -> int:
    """Counts the evaluations after the best one; EVAL_PERIOD may have changed."""
    steps = [point.step for point in curves.read_curve(run.folder) if point.validation]
    if not any(step <= best for step in steps):
        # A run of an earlier version, which wrote no curve.
        return (number - best) // run.config.eval_period
    return sum(step > best for step in steps)


def _merge_rows(run: _Run, batch: row_merging.Batch) -> row_merging.Batch:
    """Merges short rows, unless SeqIO has already packed them (PACK)."""
    if run.config.pack:
        return batch
    parts = run.config.num_microbatches * run.partitioner.data_size
    return row_merging.merge_rows(batch, run.model.config.emb_dim // 2, parts)


def _make_scorer(
    data: mixtures.MethodData,
    provider: mixtures.Provider,
    split: str,
    predictor: evaluation.Predictor,
    folder: pathlib.Path,
) -> ScoreFn:
    """Returns a function that scores parameters on a split and writes predictions."""
    if data.test_task.info.is_pretraining:
        return lambda params, name: {}
    if split not in provider.splits:
        print(f"{provider.name} has no {split} split, so there are no scores on it")
        return lambda params, name: {}
    scorer = evaluation.Scorer(provider, split, predictor, data.task_feature_lengths)

    def score(params: Any, name: str) -> evaluation.Scores:
        # Decoding needs each layer by itself.
        apart = stacked_layers.unstack(params)
        return scorer(apart, folder / "predictions", name)

    return score


def _score_checkpoints(run: _Run, steps: int) -> dict[str, Any]:
    """Scores the best and the last checkpoint on validation and test.

    Args:
        run: The run.
        steps: Updates done.

    Returns:
        The content of `results.json`, except for the run time.
    """
    task = run.data.test_task
    results: dict[str, Any] = {
        "mixture": run.data.mixture.name,
        "test_task": task.name,
        "steps": steps,
    }
    for name, number in (
        ("best", run.checkpoints.best),
        ("last", run.checkpoints.last),
    ):
        assert number is not None  # the loop has saved the last step
        if "best" in results and results["best"]["step"] == number:
            # The scores and predictions of a large test split take minutes.
            results[name] = results["best"]
            _copy_predictions(run.folder / "predictions", "best", name)
            run.log.write_scores(number, f"test_{name}", results[name]["test"])
            continue
        params = run.checkpoints.restore_params(number, run.abstract.params)
        params = trainable.complete(params, run.state.frozen)
        results[name] = {
            "step": number,
            "validation": run.validate(params, name),
            "test": run.test(params, name),
        }
        run.log.write_scores(number, f"test_{name}", results[name]["test"])
    results["teacher_test"] = evaluation.teacher_accuracy(task)
    run.checkpoints.close()
    return results


def _copy_predictions(folder: pathlib.Path, name: str, other: str) -> None:
    """Copies the files of predictions of a checkpoint that has two names."""
    for path in folder.glob(f"*-{name}-*.jsonl"):
        copy = folder / path.name.replace(f"-{name}-", f"-{other}-", 1)
        files.write(copy, path.read_bytes())
