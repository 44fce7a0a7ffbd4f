"""T5X's trainer for a loss that averages over the global batch."""

from collections.abc import Iterator

import jax.numpy as jnp
from cached_property import cached_property
from t5x import trainer

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
    """T5X's trainer with two additions for this project's objective and data.

    - It counts the tokens of each task before a batch is split into microbatches.
    - It skips the batches that a resumed run has already seen, because T5X restarts its
      training data at every start. The result is the same as that of an uninterrupted
      run.
    """

    _skipped_seen_batches = False

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
