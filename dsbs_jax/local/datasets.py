"""Batches for the local engine, from SeqIO."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.data.features import VOCABULARY
from dsbs_jax.errors import UserError
from dsbs_jax.local.packing import bucket

# Rows looked at to say how many are cut off: enough for all but e-SNLI's training set.
_COUNTED_ROWS = 20_000


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which examples, and how they are put into batches; T5X's names.

    Attributes:
        mixture_or_task_name: As registered with SeqIO.
        task_feature_lengths: Tokens, for "inputs", "targets" and "task_ids".
        batch_size: Rows a batch, of all tasks together.
        seed: Of the order of the examples and of mixing.
        pack: Whether several examples share a row.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    batch_size: int
    seed: int = 0
    pack: bool = False

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.batch_size < 1:
            raise UserError(f"BATCH_SIZE is {self.batch_size}, expected 1 or more")
        for feature in ("inputs", "targets", "task_ids"):
            length = self.task_feature_lengths.get(feature)
            if not isinstance(length, int) or length < 1:
                raise UserError(
                    f"TASK_FEATURE_LENGTHS: {feature} is {length}, expected tokens"
                )
        # Checks that they fit together, before anything is read or written.
        DistillationFeatureConverter(pack=self.pack).get_model_feature_lengths(
            self.task_feature_lengths
        )

    @property
    def provider(self) -> seqio.Task | seqio.Mixture:
        """The registered task or mixture.

        Raises:
            UserError: Nothing is registered under the name.
        """
        try:
            return seqio.get_mixture_or_task(self.mixture_or_task_name)
        except ValueError as error:
            raise UserError(
                f"MIXTURE_OR_TASK_NAME: {str(error).splitlines()[0]} "
                "(the dataset's gin file imports its tasks)"
            ) from error


@dataclasses.dataclass(frozen=True)
class TaskSize:
    """How many examples a task has and how many of them are cut off.

    Attributes:
        name: Of the task.
        rows: Examples looked at, at most `_COUNTED_ROWS`.
        truncated: By feature, examples longer than its length.
        longest: By feature, tokens of the longest example, end of sequence included.
    """

    name: str
    rows: int
    truncated: dict[str, int]
    longest: dict[str, int]


def task_sizes(config: DatasetConfig) -> list[TaskSize]:
    """Counts each task's training examples and those that its lengths cut off.

    Raises:
        UserError: A task has no training examples.
    """
    sizes = []
    for task in seqio.get_subtasks(config.provider):
        dataset = task.get_dataset(
            None, "train", shuffle=False, num_epochs=1, try_in_mem_cache=False
        )
        lengths = dataset.take(_COUNTED_ROWS).map(
            lambda e: tf.stack([tf.size(e["inputs"]), tf.size(e["targets"])]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        table = np.asarray(list(lengths.as_numpy_iterator())).reshape(-1, 2)
        if not len(table):
            raise UserError(
                f"task {task.name!r} has no training examples: its rows lack the label "
                "or rationale that it asks for"
            )
        limits = [config.task_feature_lengths[f] for f in ("inputs", "targets")]
        sizes.append(
            TaskSize(
                task.name,
                len(table),
                dict(
                    zip(
                        ("inputs", "targets"),
                        (table > limits).sum(0).tolist(),
                        strict=True,
                    )
                ),
                dict(zip(("inputs", "targets"), table.max(0).tolist(), strict=True)),
            )
        )
    return sizes


def trim(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cuts off columns that are padding in every row, up to the next bucket.

    Args:
        batch: Int32, encoder features [B, S], decoder features [B, T].

    Returns:
        The same features with smaller S and T; what the student computes is the same.
    """
    widths = {}
    for side, tokens in (
        ("encoder", "encoder_input_tokens"),
        ("decoder", "decoder_target_tokens"),
    ):
        used = np.flatnonzero(batch[tokens].any(axis=0))
        longest = int(used[-1]) + 1 if used.size else 1
        widths[side] = min(bucket(longest), batch[tokens].shape[1])
    return {k: v[:, : widths[k.split("_")[0]]] for k, v in batch.items()}


def describe(batch: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Yields a batch's rows as people read them: ids, and the text they stand for."""
    for row in range(len(batch["encoder_input_tokens"])):
        described: dict[str, Any] = {"row": row}
        for name in ("encoder_input_tokens", "decoder_target_tokens"):
            ids = np.trim_zeros(batch[name][row], "b").tolist()
            described |= {name: ids, f"{name}_text": VOCABULARY.decode(ids)}
        described["task_id"] = int(batch["decoder_task_ids"][row, 0])
        yield described


def training_batches(
    config: DatasetConfig, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Endless training batches, the same ones for the same settings.

    Args:
        config: Which examples.
        start: Batches to leave out, those a resumed run has seen. They are read and
            tokenized again, which costs a fraction of training on them.

    Yields:
        int32 features, [B, S] for the encoder's and [B, T] for the decoder's.
    """
    dataset = seqio.get_dataset(
        config.provider.name,
        task_feature_lengths=dict(config.task_feature_lengths),
        dataset_split="train",
        shuffle=True,
        num_epochs=None,
        feature_converter=DistillationFeatureConverter(pack=config.pack),
        seed=config.seed,
    )
    dataset = dataset.batch(config.batch_size, drop_remainder=True).skip(start)
    for batch in dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        yield trim(batch)
