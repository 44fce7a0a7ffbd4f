"""SeqIO source of records held in memory, and the subsample of training rows."""

from collections.abc import Mapping, Sequence

import gin
import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data import splits
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError


@gin.configurable
def subsample(fraction: float = 1.0, seed: int = 0) -> tuple[float, int]:
    """The part of the training rows to use, and the seed that chooses it.

    Raises:
        UserError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UserError(f"subsample.fraction is {fraction}, expected 0 < fraction <= 1")
    return fraction, seed


def rows(
    records: Sequence[Record], teacher: str, borrow_labels: bool = False
) -> dict[str, list]:
    """The columns that the preprocessors expect, of records with one teacher.

    Args:
        records: One a row.
        teacher: Whose labels and rationales they hold.
        borrow_labels: Whether a record without a human label has the teacher's instead.
    """
    columns: dict[str, list] = {
        "id": [record.id for record in records],
        "index": list(range(len(records))),
        "input": [record.input for record in records],
    }
    values = {
        "label": [
            record.label or (record.teacher_label if borrow_labels else None)
            for record in records
        ],
        f"{teacher}_label": [record.teacher_label for record in records],
        f"{teacher}_rationale": [record.rationale for record in records],
    }
    for name, column in values.items():
        columns[name] = [value or "" for value in column]
        columns[f"has_{name}"] = [value is not None for value in column]
    return columns


class RecordSource(seqio.DataSource):
    """Records held in memory: a user's own data, or a generated set."""

    def __init__(self, records: Mapping[str, Sequence[Record]], teacher: str) -> None:
        """Keeps the records.

        Args:
            records: By split.
            teacher: The name under which labels and rationales are found.
        """
        self._records, self._teacher = dict(records), teacher
        # Without any, scores are agreement with the teacher.
        self.has_human_labels = any(r.label for part in records.values() for r in part)
        super().__init__(splits=tuple(records))

    @property
    def supports_arbitrary_sharding(self) -> bool:  # noqa: D102
        return False

    def _rows(self, split: str) -> list[Record]:
        held = list(self._records[split])
        fraction, seed = subsample()
        if split != "train" or fraction == 1:
            return held
        return [held[i] for i in splits.subsample(len(held), fraction, seed)]

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **_: object,
    ) -> tf.data.Dataset:
        """Rows of a split, in their order: the task shuffles them all."""
        # What people labelled is scored against people, wherever there is any of it.
        borrow = split == "train" or not self.has_human_labels
        columns = rows(self._rows(split), self._teacher, borrow)
        columns["index"] = np.asarray(columns["index"], np.int64)
        dataset = tf.data.Dataset.from_tensor_slices(columns)
        if shard_info and shard_info.num_shards > 1:
            dataset = dataset.shard(shard_info.num_shards, shard_info.index)
        return dataset

    def num_input_examples(self, split: str) -> int:  # noqa: D102
        return len(self._rows(split))

    def list_shards(self, split: str) -> Sequence[str]:  # noqa: D102
        return [split]
