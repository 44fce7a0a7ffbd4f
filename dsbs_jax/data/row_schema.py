"""The flat row in which records reach TFDS and SeqIO.

TensorFlow has no None, so a missing text is "" with its flag `has_<field>` False:

    Record("a", "2 + 2", "4", "5", None) with the teacher "palm" ->
    {"id": "a", "index": 0, "input": "2 + 2",
     "label": "4", "has_label": True,
     "palm_label": "5", "has_palm_label": True,
     "palm_rationale": "", "has_palm_rationale": False}

Only a user's rows can have several acceptable human labels. If any row has several,
every row has the field `answers`, padded with "" to the same length. In the same way,
rows with several rationales, or with weights, have `<teacher>_rationales`, padded with
"", and `<teacher>_rationale_weights`, padded with 0. If any row has a counterfactual
rationale, every row has the fields of `counterfactual_fields` and their flags.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsbs_jax.data.records import Record

LABEL = "label"
ANSWERS = "answers"


def label_field(teacher: str) -> str:
    """Returns the field of a teacher's labels: "palm" -> "palm_label"."""
    return f"{teacher}_label"


def rationale_field(teacher: str) -> str:
    """Returns the field of a teacher's rationales: "palm" -> "palm_rationale"."""
    return f"{teacher}_rationale"


def rationales_field(teacher: str) -> str:
    """Returns the field of all rationales: "palm" -> "palm_rationales"."""
    return f"{rationale_field(teacher)}s"


def rationale_weights_field(teacher: str) -> str:
    """Returns the field of their weights: "palm" -> "palm_rationale_weights"."""
    return f"{rationale_field(teacher)}_weights"


def counterfactual_fields(teacher: str) -> tuple[str, str]:
    """Returns the fields of the counterfactual rationale and its label."""
    name = f"{teacher}_counterfactual"
    return f"{name}_rationale", f"{name}_label"


def flag_of(field: str) -> str:
    """Returns the flag that tells whether a row has a field."""
    return f"has_{field}"


def field_types(teachers: Sequence[str]) -> dict[str, type]:
    """Returns the type of each field of a row with these teachers' fields.

    All fields are scalars: str, np.int64 (`index`, the row number in the raw split,
    from 0) or np.bool_ (the flags).
    """
    types: dict[str, type] = {"id": str, "index": np.int64, "input": str}
    optional = [LABEL]
    for teacher in teachers:
        optional += [label_field(teacher), rationale_field(teacher)]
    for name in optional:
        types |= {name: str, flag_of(name): np.bool_}
    return types


def make_row(
    index: int, record: Record, by_teacher: Mapping[str, Record | None]
) -> dict[str, Any]:
    """Flattens one example to the fields of `field_types(by_teacher)`.

    Args:
        index: Row number in the raw split, from 0.
        record: Gives id, input and human label.
        by_teacher: For each teacher the record that holds its label and rationale, or
            None where the teacher has no completion.
    """
    texts = {LABEL: record.label}
    for teacher, labeled in by_teacher.items():
        texts[label_field(teacher)] = labeled.teacher_label if labeled else None
        texts[rationale_field(teacher)] = labeled.rationale if labeled else None
    row: dict[str, Any] = {"id": record.id, "index": index, "input": record.input}
    for name, text in texts.items():
        row |= {name: text or "", flag_of(name): text is not None}
    return row


def record_columns(
    records: Sequence[Record], teacher: str, borrow_labels: bool = False
) -> dict[str, list[Any]]:
    """Turns the records of one teacher into columns, one for each field of a row.

    The column `answers` is left out if no record has several acceptable labels, and
    the columns of all rationales and of counterfactual ones if no record has them.

    Args:
        records: One record for each row.
        teacher: Name of the teacher whose labels and rationales they hold.
        borrow_labels: Whether a record without a human label gets the teacher's label
            in its place.
    """
    rows = []
    for index, record in enumerate(records):
        if borrow_labels and record.label is None:
            record = dataclasses.replace(record, label=record.teacher_label)
        rows.append(make_row(index, record, {teacher: record}))
    columns = {name: [row[name] for row in rows] for name in field_types([teacher])}
    most = max((len(record.answers) for record in records), default=0)
    if most:
        columns[ANSWERS] = [
            [*record.answers, *[""] * (most - len(record.answers))]
            for record in records
        ]
    if any(record.rationales for record in records):
        columns |= _rationale_columns(records, teacher)
    if any(record.counterfactual_rationale for record in records):
        columns |= _counterfactual_columns(records, teacher)
    return columns


def _counterfactual_columns(
    records: Sequence[Record], teacher: str
) -> dict[str, list[Any]]:
    rationale, label = counterfactual_fields(teacher)
    columns: dict[str, list[Any]] = {}
    for name, texts in (
        (rationale, [record.counterfactual_rationale for record in records]),
        (label, [record.counterfactual_label for record in records]),
    ):
        columns[name] = [text or "" for text in texts]
        columns[flag_of(name)] = [text is not None for text in texts]
    return columns


def _rationale_columns(
    records: Sequence[Record], teacher: str
) -> dict[str, list[list[Any]]]:
    """Returns all rationales and their weights, padded to the same length."""
    given = [record.weighted_rationales for record in records]
    most = max(map(len, given))
    padded = [[*pairs, *[("", 0.0)] * (most - len(pairs))] for pairs in given]
    return {
        rationales_field(teacher): [[text for text, _ in pairs] for pairs in padded],
        rationale_weights_field(teacher): [[w for _, w in pairs] for pairs in padded],
    }


def answers_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the acceptable labels of a row of bytes; () if it has only one."""
    return tuple(text.decode() for text in row.get(ANSWERS, ()) if text)
