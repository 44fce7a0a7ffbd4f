"""SeqIO sources: prepared released datasets, and records held in memory.

Both take a part of the training rows where the settings ask for one.
"""

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


class ReleasedSource(seqio.TfdsDataSource):
    """A dataset that `python -m dsbs_jax.data.prepare` wrote.

    A part of the training rows is chosen before the validation rows are carved out, as
    the authors' code does; both splits then hold other rows than with the whole.
    """

    has_human_labels = True

    def __init__(self, name: str, *, carved: bool, has_validation: bool = True) -> None:
        """Names the dataset; nothing is read before it is used.

        Args:
          name: a config of the TFDS builder, for example "cqa".
          carved: whether validation is a part of the raw training rows.
          has_validation: False where only "train" is of use.
        """
        # Registers the builder by its name.
        from dsbs_jax.data import tfds_builder

        self._name, self._carved = name, carved
        held = ("train", "validation", "test") if has_validation else ("train",)
        version = tfds_builder.Dsbs.VERSION
        super().__init__(tfds_name=f"dsbs/{name}:{version}", splits=held)

    def _chosen(self, split: str) -> np.ndarray | None:
        """Raw training rows of the split, or None where it is used as it stands."""
        fraction, seed = subsample()
        if fraction == 1 or split not in ("train", "validation"):
            return None
        if split == "validation" and not self._carved:
            return None
        rows = super().num_input_examples("train")
        if self._carved:
            rows += super().num_input_examples("validation")
        train, validation = splits.train_and_validation(
            rows, fraction, seed, self._carved
        )
        return np.asarray(train if split == "train" else validation)

    def get_dataset(
        self, split: str = "train", *args: object, **kwargs: object
    ) -> tf.data.Dataset:
        """Rows of a split. See the base class.

        Raises:
          UserError: the dataset has not been prepared.
        """
        try:
            chosen = self._chosen(split)
            dataset = super().get_dataset(split, *args, **kwargs)
            if chosen is None:
                return dataset
            if self._carved:
                other = "validation" if split == "train" else "train"
                dataset = dataset.concatenate(
                    super().get_dataset(other, *args, **kwargs)
                )
        except (AssertionError, FileNotFoundError, LookupError) as error:
            raise self._unprepared(error) from error
        keep = np.zeros(int(chosen.max()) + 1, bool)
        keep[chosen] = True
        keep = tf.constant(keep)
        inside = tf.cast(tf.size(keep), tf.int64)
        return dataset.filter(
            lambda row: (
                row["index"] < inside
                and tf.gather(keep, tf.minimum(row["index"], inside - 1))
            )
        )

    def num_input_examples(self, split: str) -> int | None:
        """Rows of a split, after a part has been chosen."""
        try:
            chosen = self._chosen(split)
            return super().num_input_examples(split) if chosen is None else len(chosen)
        except (AssertionError, FileNotFoundError, LookupError) as error:
            raise self._unprepared(error) from error

    def _unprepared(self, error: Exception) -> UserError:
        return UserError(
            f"dataset {self._name!r} is not prepared in --tfds_data_dir "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            f"run python -m dsbs_jax.data.prepare --datasets={self._name} first"
        )


def rows(
    records: Sequence[Record], teacher: str, borrow_labels: bool = False
) -> dict[str, list]:
    """The columns that the preprocessors expect, of records with one teacher.

    Args:
      records: one a row.
      teacher: whose labels and rationales they hold.
      borrow_labels: whether a record without a human label has the teacher's instead.
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
          records: by split.
          teacher: the name under which labels and rationales are found.
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
