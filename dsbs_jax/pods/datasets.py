"""Training batches that do not depend on the number of processes."""

from collections.abc import Callable, Mapping

import seqio
import tensorflow as tf
from t5x import utils

from dsbs_jax.errors import UserError


def get_dataset(
    cfg: utils.DatasetConfig,
    shard_id: int,
    num_shards: int,
    feature_converter_cls: Callable[..., seqio.FeatureConverter],
    num_epochs: int | None = None,
    continue_from_last_checkpoint: bool = False,
) -> tf.data.Dataset:
    """Returns this process's rows of each global batch; T5X's `get_dataset_fn`.

    T5X's own function gives each process a part of the examples, which it shuffles and
    mixes separately, so the batches of a run depend on the number of processes. Here
    every process reads all examples (the datasets are small) and keeps its rows.

    Global batch [a b c d], 2 shards -> shard 0: [a b], shard 1: [c d]

    Args:
        cfg: T5X's settings of the dataset; `batch_size` counts the global batch's rows.
        shard_id: Index of this process's shard, from 0.
        num_shards: Number of shards: the number of processes, or fewer where one copy
            of the student spans several processes.
        feature_converter_cls: The model's feature converter.
        num_epochs: Passes over the data; None repeats forever.
        continue_from_last_checkpoint: Passed to T5X.

    Returns:
        Batches of int32 features, [B / num_shards, length of the feature].

    Raises:
        UserError: The batch size is not a multiple of the number of shards.
    """
    if cfg.batch_size % num_shards:
        raise UserError(
            f"BATCH_SIZE is {cfg.batch_size}, expected a multiple of the {num_shards} "
            "processes that hold different rows"
        )
    global_batches = utils.get_dataset(
        cfg, 0, 1, feature_converter_cls, num_epochs, continue_from_last_checkpoint
    )
    rows = cfg.batch_size // num_shards
    own_rows = slice(shard_id * rows, (shard_id + 1) * rows)

    def keep_own_rows(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: value[own_rows] for name, value in batch.items()}

    return global_batches.map(keep_own_rows)
