"""Reads `DATA_FILES`: a user's rows by split, or one list of rows that is split here.

The rows may be in any format that `dsbs_jax.data.tables` reads.
"""

import hashlib
import math
from collections.abc import Mapping

from dsbs_jax.data import tables
from dsbs_jax.data.records import Record
from dsbs_jax.data.tables import Source, note
from dsbs_jax.errors import UserError

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # proportion of the inputs in each of validation and test

# Rows to split, or the rows of each split.
DataFiles = Source | Mapping[str, Source]


def read_dataset(files: DataFiles) -> dict[str, list[Record]]:
    """Reads a user's dataset.

    Args:
        files: The rows of each split ({"train": …, "validation": …, "test": …}; train
            is required); or a dataset with these splits; or rows without splits, which
            `split_records` splits. Then a note on standard error gives the number of
            rows of each split.

    Raises:
        UserError: As `tables.read_examples` and `split_records`, or a split's name is
            unknown.
    """
    if isinstance(files, Mapping):
        check_splits(files)
    records = tables.read_examples(files)
    if isinstance(records, dict):
        check_splits(records)
        return {split: records[split] for split in SPLITS if split in records}
    try:
        result = split_records(records)
    except UserError as error:
        raise UserError(f"{files}: {error}") from error
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in result.items())
    note(f"{files}: split by a hash of the inputs into {sizes} rows")
    return result


def read_training_rows(files: DataFiles) -> list[Record]:
    """Reads the inputs that pretraining uses: those of train, or rows without splits.

    Args:
        files: The rows, or those of each split. They need no label.

    Raises:
        UserError: As `tables.read_inputs`, or the splits have no train.
    """
    if isinstance(files, Mapping):
        check_splits(files)
        files = files["train"]
    return [Record(row["id"], row["input"]) for row in tables.read_inputs(files)]


def check_splits(splits: Mapping[str, object]) -> None:
    """Checks the names of splits: train is required.

    Raises:
        UserError: A name is unknown, or train is missing.
    """
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or "train" not in splits:
        raise UserError(
            f"DATA_FILES has files for {', '.join(splits) or 'no split'}, expected "
            "train and optionally validation and test"
        )


def split_records(records: list[Record]) -> dict[str, list[Record]]:
    """Splits one list of records 80/10/10, always in the same way.

    The distinct inputs are ordered by their SHA-256. Of n inputs the first ceil(0.1 n)
    are test, the next ceil(0.1 n) validation, and the others train. So the order of the
    rows does not matter, and rows with the same input are in the same split. If some
    inputs have human labels, only these can be in test and validation; all others are
    in train.

    Returns:
        train, validation and test, each in the order of the rows.

    Raises:
        UserError: Fewer than three distinct inputs can be in test and validation.
    """
    unlabeled = {record.input for record in records if record.label is None}
    inputs = {record.input for record in records}
    usable = inputs - unlabeled or inputs
    if len(usable) < 3:
        raise UserError(
            f"{len(usable)} distinct inputs cannot be split into train, validation and "
            "test; at least 3 are needed"
        )
    order = sorted(usable, key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = math.ceil(HELD_OUT * len(order))
    split_of = dict.fromkeys(order[:held_out], "test")
    split_of |= dict.fromkeys(order[held_out : 2 * held_out], "validation")
    result: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for record in records:
        result[split_of.get(record.input, "train")].append(record)
    return result
