"""Makes validation and test splits for a user's rows: stratified and seeded.

`data_files.split_records` splits a single DATA_FILES path. It is a separate function,
because its splits must not change between versions.
"""

import collections
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dsbs_jax.data import label_sets
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError

MIN_INPUTS = 3  # one for each split
# Answers are open if more than this proportion of inputs have a unique answer.
OPEN_ANSWERS = 0.2


def make_splits(
    records: Sequence[Record],
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
) -> dict[str, list[Record]]:
    """Splits rows into train, validation and test.

    All rows of an input are in the same split. The splits depend on the set of rows and
    the seed, not on the order of the rows. Each label has about the same proportion of
    its inputs in each split; a label with one input is in train. If more than 20 % of
    the inputs have a label that no other input has, the answers are open, and these
    inputs are split as one class. If some inputs have a human label, only these can be
    in validation and test.

    100 inputs, 60 "yes" and 40 "no" -> 70 (42 + 28), 10 (6 + 4) and 20 (12 + 8)

    Args:
        records: The rows.
        seed: Another seed gives other splits.
        validation: Proportion of the inputs in validation; 0 makes no validation split.
        test: Proportion of the inputs in test; 0 makes no test split.

    Returns:
        The rows of each split in their order, train first.

    Raises:
        UserError: The rows cannot be trained on (`check_rows`), there are fewer than
            three distinct inputs, or the proportions are out of range.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise UserError(
            f"the proportions of validation and test are {validation} and {test}, "
            "expected numbers from 0 with a sum below 1"
        )
    check_rows(records)
    classes = _classes(records, seed)
    total = sum(map(len, classes.values()))
    if total < MIN_INPUTS:
        raise UserError(
            f"{total} distinct inputs with a label cannot be split into train, "
            f"validation and test; expected at least {MIN_INPUTS}, better 100 or more"
        )
    # One input of each class stays in train.
    room = {name: len(inputs) - 1 for name, inputs in classes.items()}
    split_of: dict[str, str] = {}
    for split, proportion in (("test", test), ("validation", validation)):
        if not proportion:
            continue
        sizes = _allocate(classes, proportion, room)
        for name, size in sizes.items():
            taken = len(classes[name]) - 1 - room[name]
            split_of |= dict.fromkeys(classes[name][taken : taken + size], split)
            room[name] -= size
    names = ["train", *(["validation"] * bool(validation)), *(["test"] * bool(test))]
    result: dict[str, list[Record]] = {name: [] for name in names}
    for record in records:
        result[split_of.get(record.input, "train")].append(record)
    return result


def check_rows(records: Sequence[Record]) -> None:
    """Checks that a student can learn something from the rows.

    Raises:
        UserError: There are no rows, no labels, only one label, or only one input.
    """
    if not records:
        raise UserError("there are no rows")
    inputs = {record.input for record in records}
    if len(inputs) == 1 < len(records):
        raise UserError(
            f"all {len(records):,} rows have the same input, {records[0].input!r:.60}; "
            "check the input column or the template"
        )
    labels = label_sets.target_labels(records)
    if not labels:
        raise UserError(
            f"none of {len(records):,} rows has a label or a teacher_label; check the "
            "label column"
        )
    if len(set(labels)) == 1 and len(labels) > 1:
        raise UserError(
            f"all {len(labels):,} labels are {labels[0]!r:.60}, expected two or more "
            "different labels; check the label column"
        )


def _classes(records: Sequence[Record], seed: int) -> dict[str, list[str]]:
    """Returns the inputs that may be held out by class, in a random order.

    Args:
        records: The rows.
        seed: Decides the order.
    """
    human = any(record.label is not None for record in records)
    labels: dict[str, collections.Counter[str]] = {}
    for record in records:
        label = record.label if human else record.teacher_label
        if label is not None:
            labels.setdefault(record.input, collections.Counter())[label] += 1
    classes: dict[str, list[str]] = {}
    for text, counts in labels.items():
        # An input with several labels has the class of the most frequent one.
        name = min(counts, key=lambda label: (-counts[label], label))
        classes.setdefault(name, []).append(text)
    single = [inputs[0] for inputs in classes.values() if len(inputs) == 1]
    if len(single) > OPEN_ANSWERS * len(labels):
        # Open answers: the inputs with a unique answer are one class.
        classes = {name: part for name, part in classes.items() if len(part) > 1}
        classes[""] = single
    return {name: _shuffled(classes[name], seed) for name in sorted(classes)}


def _shuffled(inputs: Iterable[str], seed: int) -> list[str]:
    """Orders inputs by a hash, so that their order in the file does not matter."""
    return sorted(
        inputs, key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    )


def _allocate(
    classes: Mapping[str, Sequence[Any]], proportion: float, room: Mapping[str, int]
) -> dict[str, int]:
    """Distributes a split's size over the classes by largest remainders.

    Args:
        classes: The inputs of each class.
        proportion: Proportion of the inputs to take, at least one in all.
        room: The largest number to take of each class.
    """
    total = sum(map(len, classes.values()))
    size = min(max(1, round(proportion * total)), sum(room.values()))
    quota = {name: proportion * len(inputs) for name, inputs in classes.items()}
    result = {name: min(int(quota[name]), room[name]) for name in classes}
    by_remainder = sorted(
        classes, key=lambda name: (int(quota[name]) - quota[name], name)
    )
    left = size - sum(result.values())
    while left > 0:
        for name in by_remainder:
            if left and result[name] < room[name]:
                result[name] += 1
                left -= 1
    return result
