"""Measures the first steps of a planned run: time, memory and parameters."""

import dataclasses
import itertools
import resource
import statistics
import sys
import time
from typing import Any

import jax

from dsbs_jax.data import mixtures
from dsbs_jax.fitting.plan import Plan
from dsbs_jax.local import (
    datasets,
    evaluation,
    optimizers,
    partitioning,
    state,
    step,
    trainable,
)
from dsbs_jax.local.alpha_schedule import make_alpha
from dsbs_jax.local.config import TrainSettings
from dsbs_jax.local.input_batches import encode_inputs
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.row_merging import Batch, merge_rows
from dsbs_jax.student import stacked_layers
from dsbs_jax.student.network import Transformer

# Batches from which a typical one is taken, and steps that are measured on it.
_BATCHES, _STEPS = 8, 3
# Inputs that are decoded to measure an evaluation.
_DECODED = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """Measurements of the first steps.

    Attributes:
        parameters: Parameters of the student.
        updated: Parameters that training updates.
        step_seconds: Seconds of a step.
        evaluation_seconds: Seconds of an evaluation on validation.
        seconds: Expected seconds of the complete run, without an early stop.
        peak_bytes: Largest memory of the device; of the process on a CPU.
        optimizer: Name of the optimizer.
        optimizer_bytes: Memory of the optimizer's state, on all devices together.
    """

    parameters: int
    updated: int
    step_seconds: float
    evaluation_seconds: float
    seconds: float
    peak_bytes: int
    optimizer: str
    optimizer_bytes: int

    def text(self) -> str:
        """Returns the expected time and memory to print."""
        return (
            f"Expected: {_about(self.seconds)} without an early stop and at least "
            f"{self.peak_bytes / 2**30:.1f} GiB of memory, measured on {_STEPS} steps "
            f"of {self.step_seconds:.3f} s. The student has {self.parameters:,} "
            f"parameters, of which training updates {self.updated:,}; the state of "
            f"{self.optimizer} takes {self.optimizer_bytes / 2**20:,.1f} MiB."
        )


def _about(seconds: float) -> str:
    """Formats a duration: "40 seconds", "4 minutes" or "10.3 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def run(plan: Plan) -> Trial:
    """Runs a few steps of the planned run, from random weights; writes nothing.

    Raises:
        UserError: The settings do not fit the machine or the checkpoint.
    """
    config, data = plan.settings, plan.method_data
    model = Transformer(plan.network)
    partitioner = partitioning.of_run(config)
    end, first, each = _time_steps(config, data, model, partitioner)
    params = stacked_layers.unstack(trainable.complete(end.params, end.frozen))
    predictor = evaluation.Predictor(model, config.decoding, partitioner)
    evaluation_seconds = _time_evaluation(plan, data, predictor, params)
    evaluations = config.loop.train_steps // config.loop.eval_period
    # The best and the last checkpoint are scored at the end, on validation and test.
    scored = evaluations + 2 * (1 + _size(plan, "test") / _size(plan, "validation"))
    return Trial(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(end.weights)),
        updated=sum(leaf.size for leaf in jax.tree.leaves(end.params)),
        step_seconds=each,
        evaluation_seconds=evaluation_seconds,
        seconds=first + config.loop.train_steps * each + scored * evaluation_seconds,
        peak_bytes=_peak_bytes(),
        optimizer=config.optimizer.optimizer,
        optimizer_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(end.opt_state)),
    )


def _time_steps(
    config: TrainSettings,
    data: mixtures.MethodData,
    model: Transformer,
    partitioner: Partitioner,
) -> tuple[state.TrainState, float, float]:
    """Returns the last state, and the seconds of the first step and of a later one."""
    loop = config.loop
    schedule = optimizers.make_schedule(config.optimizer, loop.train_steps)
    optimizer = optimizers.make_optimizer(config.optimizer, schedule)
    key = jax.random.key(loop.random_seed)
    abstract = state.abstract_state(model, optimizer, partitioner, config.trainable)
    current = state.init_state(model, optimizer, abstract, key)
    train_step = step.make_train_step(
        model,
        optimizer,
        partitioner,
        make_alpha(loop),
        loop.num_microbatches,
        config.beta,
    )
    batch = partitioner.put_batch(_typical_batch(config, data, model, partitioner))
    seconds = []
    for _ in range(1 + _STEPS):
        began = time.monotonic()
        current, metrics = train_step(current, batch, key)
        jax.block_until_ready(metrics)
        seconds.append(time.monotonic() - began)
    return current, seconds[0], statistics.median(seconds[1:])


def _typical_batch(
    config: TrainSettings,
    data: mixtures.MethodData,
    model: Transformer,
    partitioner: Partitioner,
) -> Batch:
    """Returns the batch of median size of the first ones."""
    loop = config.loop
    batches = datasets.training_batches(
        data, loop.batch_size, pack=loop.pack, seed=loop.random_seed
    )
    first = list(itertools.islice(batches, _BATCHES))
    if not loop.pack:
        width = model.config.emb_dim // 2
        parts = loop.num_microbatches * partitioner.data_size
        first = [merge_rows(batch, width, parts) for batch in first]
    first.sort(key=lambda batch: batch["encoder_input_tokens"].size)
    return first[len(first) // 2]


def _time_evaluation(
    plan: Plan,
    data: mixtures.MethodData,
    predictor: evaluation.Predictor,
    params: Any,
) -> float:
    """Returns the seconds of an evaluation on validation, without compilation."""
    records = plan.rows.splits["validation"]
    prefix = data.test_task.info.prefix
    texts = [prefix + record.input for record in records[:_DECODED]]
    limit = data.task_feature_lengths["inputs"]
    inputs = encode_inputs(texts, plan.words, limit)
    predictor(params, inputs)
    began = time.monotonic()
    predictor(params, inputs)
    return (time.monotonic() - began) * len(records) / len(texts)


def _size(plan: Plan, split: str) -> int:
    return len(plan.rows.splits.get(split, ()))


def _peak_bytes() -> int:
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, but bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
