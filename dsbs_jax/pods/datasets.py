"""Training data for many processes: the same batches however many there are."""

from collections.abc import Callable

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
    """One process's rows of each batch; what T5X calls as `get_dataset_fn`.

    T5X's own function gives each process a part of the examples, shuffled and mixed by
    itself, so that a run's batches depend on the number of processes. Here every one
    reads all examples, of which these datasets have few, and keeps its rows.

    Args:
        cfg: T5X's; the batch size is the whole batch's.
        shard_id: This process's part, from 0.
        num_shards: Parts that differ: one a process, or less where a copy of the student
            is spread over several.
        feature_converter_cls: Of the model.
        num_epochs: None repeats for ever.
        continue_from_last_checkpoint: T5X's; not supported.

    Returns:
        Batches of int32 features, [B / num_shards, …].

    Raises:
        UserError: The batch does not divide by the parts.
    """
    if cfg.batch_size % num_shards:
        raise UserError(
            f"BATCH_SIZE is {cfg.batch_size}, expected a multiple of the {num_shards} "
            "processes that hold different rows"
        )
    whole = utils.get_dataset(
        cfg, 0, 1, feature_converter_cls, num_epochs, continue_from_last_checkpoint
    )
    rows = cfg.batch_size // num_shards
    here = slice(shard_id * rows, (shard_id + 1) * rows)
    return whole.map(lambda batch: {name: value[here] for name, value in batch.items()})
