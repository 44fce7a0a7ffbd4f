"""T5X's trainer for a loss that averages over the global batch."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from cached_property import cached_property
from t5x import trainer

from dsbs_jax.pods import preemption
from dsbs_jax.pods.models import TOKEN_COUNTS
from dsbs_jax.student import objective


def with_token_counts(batch: trainer.BatchType) -> trainer.BatchType:
    """Adds the number of target tokens of each task to every row of a batch.

    T5X splits each feature into microbatches by rows and adds their gradients, and its
    loss function sees one microbatch at a time. With the counts of the global batch in
    every row, each microbatch's loss is its share of the global loss, so the sum is
    exact for every distribution of the tokens.

    Args:
        batch: Int32 features; "decoder_task_ids" is [B, T].

    Returns:
        The batch and `TOKEN_COUNTS`, float32 [B, 2].
    """
    task_ids = batch["decoder_task_ids"]
    counts = objective.task_token_counts(task_ids)
    return {**batch, TOKEN_COUNTS: jnp.tile(counts, (task_ids.shape[0], 1))}


class Trainer(trainer.Trainer):
    """T5X's trainer with three additions.

    - It counts the tokens of each task before a batch is split into microbatches.
    - It skips the batches that a resumed run has already seen, because T5X restarts its
      training data at every start. The result is the same as that of an uninterrupted
      run.
    - It ends the run after a preemption notice. T5X then saves a checkpoint.
    """

    _skipped_seen_batches = False
    _compiled_train_step: trainer.PartitionedTrainCallable

    def __init__(self, *, total_steps: int | None = None, **arguments: Any) -> None:
        """Creates a trainer.

        Args:
            total_steps: Step at which the run ends. A notice that arrives in the last
                step does not end the run before its last evaluation.
            **arguments: Those of the base class.
        """
        super().__init__(**arguments)
        self._total_steps = total_steps
        self._steps_done = 0
        self._notices = contextlib.ExitStack()

    def close(self) -> None:
        """Ends the trainer's threads, and restores the handlers of signals."""
        self._notices.close()
        super().close()

    def compile_train(self, batch: trainer.BatchType) -> None:
        """Compiles the step, and from now on heeds preemption notices.

        Args:
            batch: A batch with the shapes and types of the data.
        """
        super().compile_train(batch)
        self._notices.enter_context(preemption.recorded())
        self._compiled_train_step = functools.partial(
            self._step_until_preempted, self._compiled_train_step
        )

    def _step_until_preempted(
        self,
        step: trainer.PartitionedTrainCallable,
        state: trainer.train_state_lib.TrainState,
        batch: trainer.BatchType,
    ) -> tuple[trainer.train_state_lib.TrainState, trainer.MetricMapType]:
        """Runs a step.

        Raises:
            Preempted: This process must stop after this step.
        """
        state, metrics = step(state, batch)
        self._steps_done += 1
        number = preemption.received(self._steps_done)
        if number is not None and self._steps_done != self._total_steps:
            # T5X saves this attribute, which the base class sets only after the last of
            # its `num_steps` steps. The older state was donated to the step.
            self.train_state = state
            preemption.end_run(number, self._steps_done)
        return state, metrics

    def train(
        self,
        batch_iter: Iterator[trainer.BatchType],
        num_steps: int,
        start_step: int | None = None,
    ) -> trainer.ArrayMapFuture:
        """Trains for `num_steps` steps; see the base class."""
        step = int(self.train_state.step if start_step is None else start_step)
        if not self._skipped_seen_batches:
            # One batch per step of this run: gin/t5x/train.gin resets the step of an
            # initial checkpoint to 0.
            for _ in range(step):
                next(batch_iter)
            self._skipped_seen_batches = True
        self._steps_done = step
        return super().train(batch_iter, num_steps, step)

    @cached_property
    def _partitioned_train_step(self) -> trainer.PartitionedTrainCallable:
        """Compiles the step; as the base class's, with `with_token_counts`."""
        spec = self._partitioner.data_partition_spec

        def train_step(state: trainer.train_state_lib.TrainState, batch: dict) -> tuple:
            return trainer.train_with_lr(
                state,
                with_token_counts(batch),
                learning_rate=self._learning_rate_fn(state.step),
                dropout_rng=self._get_step_rng(state.step),
                model=self._model,
                num_microbatches=self._num_microbatches,
                weight_metrics_computer=self._weight_metrics_computer,
                data_partition_spec=spec,
            )

        return self._partitioner.partition(
            train_step,
            in_axis_resources=(self._train_state_axes, spec),
            out_axis_resources=(self._train_state_axes, None),
            donate_argnums=(0,),
        )
