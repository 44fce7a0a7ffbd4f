"""Batches for the local engine, from SeqIO."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.data.mixtures import MethodData
from dsbs_jax.errors import UserError
from dsbs_jax.local import pairs
from dsbs_jax.local.row_merging import Batch, round_up_length
from dsbs_jax.task_ids import TASK_BITS

# Examples that are counted at a time.
_COUNTED_AT_A_TIME = 1_024
_COUNTED_FEATURES = ("inputs", "targets")
_TEXT = "targets_pretokenized"


@dataclasses.dataclass(frozen=True)
class TaskSize:
    """Number of a task's examples, and how many of them are truncated.

    Attributes:
        name: Name of the task.
        rows: Number of examples.
        truncated: For each feature, the examples that are longer than its length.
        longest: For each feature, the tokens of the longest example, with end token.
        targets: Number of examples with each target, by its text, for label tasks.
        target_lengths: Number of examples with each number of target tokens.
    """

    name: str
    rows: int
    truncated: dict[str, int]
    longest: dict[str, int]
    targets: Counter[str]
    target_lengths: Counter[int]


def task_sizes(data: MethodData) -> list[TaskSize]:
    """Counts the training examples of each task, and those that are truncated.

    Raises:
        UserError: A task has no training examples.
    """
    return [_task_size(data, task) for task in seqio.get_subtasks(data.mixture)]


def _task_size(data: MethodData, task: seqio.Task) -> TaskSize:
    info = data.tasks.get(task.name)
    is_label = info is not None and info.label is not None and not info.single_task
    lengths: dict[str, Counter[int]] = {name: Counter() for name in _COUNTED_FEATURES}
    targets: Counter[str] = Counter()
    # Texts of pretraining are split at these lengths, and others truncated.
    splits = info is not None and info.is_pretraining
    split_at = data.task_feature_lengths if splits else None
    for block in _example_blocks(task, split_at, with_text=is_label):
        for name in _COUNTED_FEATURES:
            lengths[name].update(block[name].tolist())
        targets.update(text.decode() for text in block.get(_TEXT, ()))
    rows = lengths["targets"].total()
    if not rows:
        raise UserError(
            f"task {task.name!r} has no training examples: no row has the label or "
            "rationale that it trains on"
        )
    limits = data.task_feature_lengths
    return TaskSize(
        name=task.name,
        rows=rows,
        truncated={
            name: sum(n for length, n in counts.items() if length > limits[name])
            for name, counts in lengths.items()
        },
        longest={name: max(counts) for name, counts in lengths.items()},
        targets=targets,
        target_lengths=lengths["targets"],
    )


def _example_blocks(
    task: seqio.Task, split_at: Mapping[str, int] | None, with_text: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the tokens of inputs and targets, int [N], and texts of targets."""
    dataset = task.get_dataset(
        split_at, "train", shuffle=False, num_epochs=1, try_in_mem_cache=False
    )

    def count(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        counted = {name: tf.size(example[name]) for name in _COUNTED_FEATURES}
        return counted | ({_TEXT: example[_TEXT]} if with_text else {})

    counts = dataset.map(count, num_parallel_calls=tf.data.AUTOTUNE)
    yield from counts.batch(_COUNTED_AT_A_TIME).as_numpy_iterator()


def trim(batch: Mapping[str, np.ndarray]) -> Batch:
    """Removes columns that are padding in every row; rounds the width up.

    The student's result does not change. Widths are rounded up because each new shape
    is compiled.

    Args:
        batch: int32, [B, S] for encoder features and [B, T] for decoder features.

    Returns:
        The same features with smaller S and T.
    """
    widths = {}
    for side, tokens in (
        ("encoder", "encoder_input_tokens"),
        ("decoder", "decoder_target_tokens"),
    ):
        used = np.flatnonzero(batch[tokens].any(axis=0))
        longest = int(used[-1]) + 1 if used.size else 1
        widths[side] = min(round_up_length(longest), batch[tokens].shape[1])
    return {name: v[:, : widths[name.split("_")[0]]] for name, v in batch.items()}


def describe(
    batch: Mapping[str, np.ndarray], vocabulary: seqio.Vocabulary
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a batch in readable form: token ids and their text.

    Args:
        batch: As in `trim`.
        vocabulary: The student's vocabulary.
    """
    for row in range(len(batch["encoder_input_tokens"])):
        described: dict[str, Any] = {"row": row}
        for name in ("encoder_input_tokens", "decoder_target_tokens"):
            ids = np.trim_zeros(batch[name][row], "b").tolist()
            described |= {name: ids, f"{name}_text": vocabulary.decode(ids)}
        ids = batch["decoder_task_ids"][row]
        described["task_id"] = int(ids[0]) % 2**TASK_BITS
        yield described


def training_batches(
    data: MethodData, batch_size: int, *, pack: bool, seed: int, start: int = 0
) -> Iterator[Batch]:
    """Yields training batches without end; the same arguments give the same batches.

    Args:
        data: The examples.
        batch_size: Rows of a batch, of all tasks together.
        pack: Whether SeqIO packs several examples into each row.
        seed: Seed of the order of the examples and of mixing.
        start: Batches to skip, because a resumed run has already trained on them. They
            are read and tokenized again, which takes a fraction of the time of
            training.

    Yields:
        int32 features, [B, S] for the encoder and [B, T] for the decoder. Rows of
        pairs have the features of `pairs.batches`.

    Raises:
        UserError: The examples are pairs, and `pack` is set.
    """
    if pairs.has_pairs(data):
        if pack:
            raise UserError(
                f"PACK is True, expected False for {data.mixture.name!r}, whose rows "
                "have two examples each"
            )
        yield from map(trim, pairs.batches(data, batch_size, seed, start))
        return
    dataset = seqio.get_dataset(
        data.mixture,
        task_feature_lengths=dict(data.task_feature_lengths),
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        feature_converter=DistillationFeatureConverter(pack=pack),
        seed=seed,
    )
    dataset = dataset.batch(batch_size, drop_remainder=True).skip(start)
    for batch in dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield trim(batch)
