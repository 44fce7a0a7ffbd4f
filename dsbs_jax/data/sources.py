"""SeqIO sources of records in memory, and where a dataset's source is found.

A new source is made for each set of settings, so a dataset registers a function: a
`SourceFactory` takes the subsample of the training rows and returns the source.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data import data_files, dataset_spec, row_schema
from dsbs_jax.data.data_files import DataFiles
from dsbs_jax.data.records import Record
from dsbs_jax.data.splits import ALL_ROWS, Subsample
from dsbs_jax.data.tables import note
from dsbs_jax.errors import UserError

SourceFactory = Callable[[Subsample], seqio.DataSource]
_FACTORIES: dict[str, SourceFactory] = {}


def register(dataset: str, make_source: SourceFactory) -> None:
    """Adds the source of a dataset; a source of the same name is replaced."""
    _FACTORIES[dataset] = make_source


def import_dataset(dataset: str, module: str) -> None:
    """Imports the module that registers a dataset, unless the dataset is registered.

    Raises:
        UserError: The module cannot be imported, or does not register the dataset.
    """
    if _is_registered(dataset):
        return
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"DATASET_MODULE is {module!r}: {error}") from error
    if not _is_registered(dataset):
        raise UserError(
            f"DATASET is {dataset!r}, expected one of {', '.join(_FACTORIES)}; or give "
            "your own rows as DATA_FILES, or a DATASET_MODULE that registers it"
        )


def _is_registered(dataset: str) -> bool:
    spec = dataset_spec.find(dataset)
    parts = spec and spec.parts or (dataset,)
    return spec is not None and all(part in _FACTORIES for part in parts)


def factory_of(dataset: str) -> SourceFactory:
    """Returns the source factory of a registered dataset."""
    return _FACTORIES[dataset]


class RecordSource(seqio.DataSource):
    """A source of records in memory: a user's data or a generated dataset.

    Attributes:
        has_human_labels: Whether any row has a human label. Otherwise scores are the
            agreement with the teacher.
        train_rows: Number of training rows before they are subsampled.
        most_rationales: Most rationales that a training row has, at least 1.
    """

    def __init__(
        self,
        records: Mapping[str, Sequence[Record]],
        teacher: str,
        subsample: Subsample = ALL_ROWS,
    ) -> None:
        """Keeps the records.

        Args:
            records: The records of each split.
            teacher: Name of the teacher whose labels and rationales they hold.
            subsample: The part of the training rows to use.
        """
        self.has_human_labels = any(r.label for part in records.values() for r in part)
        self.train_rows = 0
        self.most_rationales = 1
        self._teacher = teacher
        self._records = {split: list(part) for split, part in records.items()}
        if "train" in records:
            train = records["train"]
            self._records["train"] = [train[i] for i in subsample.choose(len(train))]
            self.train_rows = len(train)
            self.most_rationales = max([1, *(len(r.rationales) for r in train)])
        super().__init__(splits=tuple(records))

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """SeqIO's property: False, because all records are one shard."""
        return False

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
    ) -> tf.data.Dataset:
        """Returns the rows of a split in their order; the task shuffles them."""
        del shuffle, seed
        # Scores compare with human labels if there are any, so only training
        # rows borrow the teacher's labels.
        borrow = split == "train" or not self.has_human_labels
        columns = row_schema.record_columns(self._records[split], self._teacher, borrow)
        arrays = {**columns, "index": np.asarray(columns["index"], np.int64)}
        dataset = tf.data.Dataset.from_tensor_slices(arrays)
        if shard_info and shard_info.num_shards > 1:
            dataset = dataset.shard(shard_info.num_shards, shard_info.index)
        return dataset

    def records(self, split: str) -> Sequence[Record]:
        """Returns the records of a split; of the training rows, those that are used."""
        return self._records[split]

    def num_input_examples(self, split: str) -> int:
        """Returns the number of rows of a split."""
        return len(self._records[split])

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns SeqIO's list of shards, here the split itself."""
        return [split]


def from_files(dataset: str, files: DataFiles, teacher: str) -> SourceFactory:
    """Returns the source factory of a user's files; see `dsbs_jax.data.data_files`.

    Args:
        dataset: Name of the dataset, for messages.
        files: One file, which is split 80/10/10, or the files of each split.
        teacher: Name of the teacher whose labels and rationales they hold.

    Raises:
        UserError: As `data_files.read_dataset`.
    """
    return of_records(dataset, data_files.read_dataset(files), teacher)


def of_records(
    dataset: str, records: Mapping[str, Sequence[Record]], teacher: str
) -> SourceFactory:
    """Returns the source factory of a user's rows.

    Notes on standard error give the number of training rows without a human label.
    A note is printed once, also if the rows are read several times.

    Args:
        dataset: Name of the dataset, for messages.
        records: The rows of each split; train is required.
        teacher: Name of the teacher whose labels and rationales they hold.
    """
    train = records["train"]
    without = [record for record in train if record.label is None]
    neither = sum(record.teacher_label is None for record in without)
    of_all = f"of {len(train):,} training rows have"
    if len(without) > neither:
        borrowed = len(without) - neither
        note(f"{dataset}: {borrowed:,} {of_all} no human label and use the teacher's")
    if neither:
        note(f"{dataset}: {neither:,} {of_all} no label and no teacher_label")
    return functools.partial(RecordSource, records, teacher)
