"""T5X's trainer for an objective that is a mean over the whole batch."""

from collections.abc import Iterator

import jax.numpy as jnp
from cached_property import cached_property
from t5x import trainer

from dsbs_jax.pods.models import TOKEN_COUNTS
from dsbs_jax.student import objective


def with_token_counts(batch: trainer.BatchType) -> trainer.BatchType:
    """Adds how many target tokens of each task the batch holds, to every row.

    T5X cuts each feature into microbatches by rows and adds up their gradients, and
    its loss function sees one microbatch. With the counts of the whole batch in it,
    the parts' losses add up to the whole's, whatever each part holds.

    Args:
        batch: Int32 features, the decoder's [B, T].

    Returns:
        The batch, with `TOKEN_COUNTS`, float32 [B, 2].
    """
    task_ids = batch["decoder_task_ids"]
    counts = objective.task_token_counts(task_ids)
    return {**batch, TOKEN_COUNTS: jnp.tile(counts, (task_ids.shape[0], 1))}


class Trainer(trainer.Trainer):
    """T5X's trainer, which counts a batch's tokens before it is split.

    A run that was stopped reads the batches again that it has seen, so that it ends as
    if it had not been: T5X begins its data anew whenever it starts.
    """

    _caught_up = False

    def train(
        self,
        batch_iter: Iterator[trainer.BatchType],
        num_steps: int,
        start_step: int | None = None,
    ) -> trainer.ArrayMapFuture:
        """Trains for some steps; see the base class."""
        step = int(self.train_state.step if start_step is None else start_step)
        if not self._caught_up:
            # Steps count from the run's own start: t5x/train.gin sees to it.
            for _ in range(step):
                next(batch_iter)
            self._caught_up = True
        return super().train(batch_iter, num_steps, step)

    @cached_property
    def _partitioned_train_step(self) -> trainer.PartitionedTrainCallable:
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
