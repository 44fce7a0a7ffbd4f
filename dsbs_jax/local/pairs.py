"""Batches of pairs: the label task and the rationale task of a row in one packed row.

The objective of `mutual_information` compares the two tasks of a row, so both have to
be in the same part of a batch. A packed row is never split, and packing does not change
the losses of the two tasks.
"""

from collections.abc import Iterator, Mapping

import seqio
import tensorflow as tf

from dsbs_jax.data.mixtures import MethodData
from dsbs_jax.errors import UserError
from dsbs_jax.local.row_merging import Batch


def has_pairs(data: MethodData) -> bool:
    """Returns whether the examples of a mixture are pairs.

    Raises:
        UserError: Only some of them are.
    """
    names = [task.name for task in seqio.get_subtasks(data.mixture)]
    paired = [name for name in names if data.tasks[name].paired]
    if paired and len(names) > 1:
        raise UserError(
            f"MIXTURE_OR_TASK_NAME is {data.mixture.name!r}, which has the task "
            f"{paired[0]!r} and others, expected pairs alone or no pairs"
        )
    return bool(paired)


def batches(
    data: MethodData, batch_size: int, seed: int, start: int
) -> Iterator[Batch]:
    """Yields batches of pairs without end; the same arguments give the same batches.

    Args:
        data: The examples; `has_pairs` is true.
        batch_size: Pairs of a batch.
        seed: Seed of the order of the pairs.
        start: Batches to skip.

    Yields:
        int32 features, [B, 2 S] for the encoder and [B, 2 T] for the decoder, with
        segment ids: 1 for the label task and 2 for the rationale task.
    """
    (task,) = seqio.get_subtasks(data.mixture)
    lengths = dict(data.task_feature_lengths)
    lengths |= {f"explain_{name}": lengths[name] for name in ("inputs", "targets")}
    dataset = task.get_dataset(
        lengths, "train", shuffle=True, seed=seed, num_epochs=None
    )
    joined = dataset.map(_join, num_parallel_calls=tf.data.AUTOTUNE)
    shapes = {
        name: [2 * lengths["inputs" if name.startswith("encoder") else "targets"]]
        for name in joined.element_spec
    }
    padded = joined.padded_batch(batch_size, shapes, drop_remainder=True).skip(start)
    yield from padded.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def _join(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Packs the two tasks of a pair.

    inputs [7, 1], targets [3, 1], explain_inputs [8, 1], explain_targets [5, 6, 1]
    -> "encoder_input_tokens": [7, 1, 8, 1], "encoder_segment_ids": [1, 1, 2, 2],
       "decoder_input_tokens": [0, 3, 0, 5, 6],
       "decoder_target_tokens": [3, 1, 5, 6, 1], "decoder_task_ids": [1, 1, 2, 2, 2],
       "decoder_segment_ids": [1, 1, 2, 2, 2]
    """
    # A row without a rationale has only the end token in the rationale task.
    has = tf.cast(tf.size(example["explain_targets"]) > 1, tf.int32)

    def explain(name: str) -> tf.Tensor:
        tokens = example[f"explain_{name}"]
        return tokens[: has * tf.size(tokens)]

    sources = [example["inputs"], explain("inputs")]
    targets = [example["targets"], explain("targets")]
    shifted = [tf.concat([[0], part], axis=0)[:-1] for part in targets]
    ids = [example["task_ids"], explain("task_ids")]
    return {
        "encoder_input_tokens": tf.concat(sources, axis=0),
        "encoder_segment_ids": _segments(sources),
        "decoder_input_tokens": tf.concat(shifted, axis=0),
        "decoder_target_tokens": tf.concat(targets, axis=0),
        "decoder_task_ids": tf.concat(ids, axis=0),
        "decoder_segment_ids": _segments(targets),
    }


def _segments(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat([tf.fill(tf.shape(p), i) for i, p in enumerate(parts, 1)], axis=0)
