"""Reads a user's examples as JSONL: one JSON object on each line.

Fields: `input` (text), and optionally `label`, `teacher_label`, `rationale` (text;
null means missing) and `id` (text or integer; without one, `<file stem>-<line>`). A row
needs a label, a teacher_label or a rationale. Other fields are ignored, and a note on
standard error names them once. Blank lines, Windows line ends and a byte order mark are
accepted. Wrong lines are collected over the complete file and reported by number.

`{"input": "debt, no car", "label": "refuse"}` ->
`Record(id="mine-1", input="debt, no car", label="refuse")`
"""

import functools
import hashlib
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from dsbs_jax import json_input
from dsbs_jax.data.records import Record, check_text
from dsbs_jax.errors import UserError

FIELDS = ("input", "label", "rationale", "teacher_label", "id")
# Further fields of an extraction's rows, which need no note.
_EXTRACTION_FIELDS = (
    "parser_version",
    "votes",
    "samples",
    "margin",
    "reason",
    "problem",
    "completions",
)
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # proportion of the inputs in each of validation and test
SHOWN_PROBLEMS = 5  # wrong lines that an error describes

Path = str | os.PathLike[str]
T = TypeVar("T")


class _InputRow(msgspec.Struct):
    input: str
    id: str | int | None = None


class _ExampleRow(_InputRow):
    label: str | None = None
    rationale: str | None = None
    teacher_label: str | None = None


@functools.cache
def _note(message: str) -> None:
    """Prints a note once, however often the same file is read."""
    print(f"note: {message}", file=sys.stderr)


def read_jsonl(path: Path) -> list[Record]:
    """Reads training examples.

    Returns:
        Records in the file's order.

    Raises:
        UserError: The file cannot be read, has no rows, or has wrong lines; the message
            describes the first of them by number and gives their total.
    """
    rows = _read_rows(path, _record)
    names = dict.fromkeys(name for row, _ in rows for name in row)
    unknown = [name for name in names if name not in (*FIELDS, *_EXTRACTION_FIELDS)]
    if unknown:
        _note(
            f"{path}: ignoring fields {', '.join(map(repr, unknown))}; the fields that "
            f"are read are {', '.join(FIELDS)}"
        )
    return [record for _, record in rows]


def read_inputs(path: Path) -> list[dict[str, Any]]:
    """Reads rows to predict on: `input`, optionally `id`, and any other fields.

    Returns:
        The rows with all their fields, each with a text `id`.

    Raises:
        UserError: As `read_jsonl`.
    """
    return [row for row, _ in _read_rows(path, _input_row)]


def split_records(records: list[Record]) -> dict[str, list[Record]]:
    """Splits one file's records 80/10/10, always in the same way.

    The distinct inputs are ordered by their SHA-256. Of n inputs the first ceil(0.1 n)
    are test, the next ceil(0.1 n) validation, and the others train. So the order of the
    file does not matter, and rows with the same input stay together. If some inputs
    have human labels, only those are held out, and all others train.

    Returns:
        train, validation and test, each in the file's order.

    Raises:
        UserError: Fewer than three distinct inputs can be held out.
    """
    unlabelled = {record.input for record in records if record.label is None}
    inputs = {record.input for record in records}
    usable = inputs - unlabelled or inputs
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


def read_dataset(files: Path | Mapping[str, Path]) -> dict[str, list[Record]]:
    """Reads a user's dataset.

    Args:
        files: One file for each split ({"train": …, "validation": …, "test": …}; train
            is required), or a single file, which `split_records` splits; a note on
            standard error gives the number of rows of each split.

    Raises:
        UserError: As `read_jsonl` and `split_records`, or a split's name is unknown.
    """
    if not isinstance(files, Mapping):
        records = read_jsonl(files)
        try:
            result = split_records(records)
        except UserError as error:
            raise UserError(f"{files}: {error}") from error
        sizes = ", ".join(f"{split} {len(rows)}" for split, rows in result.items())
        _note(f"{files}: split by a hash of the inputs into {sizes} rows")
        return result
    unknown = [split for split in files if split not in SPLITS]
    if unknown or "train" not in files:
        raise UserError(
            f"DATA_FILES has files for {', '.join(files) or 'no split'}, expected "
            "train and optionally validation and test"
        )
    return {split: read_jsonl(files[split]) for split in SPLITS if split in files}


def _read_rows(
    path: Path, read_row: Callable[[dict[str, Any], str], T]
) -> list[tuple[dict[str, Any], T]]:
    """Reads each line's object, and passes it to `read_row`.

    Args:
        path: The file.
        read_row: Takes a line's object and an id for a row without one. It raises
            ValueError for a wrong row.

    Raises:
        UserError: As `read_jsonl`; also for an id that occurs twice.
    """
    path = pathlib.Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    rows: list[tuple[dict[str, Any], T]] = []
    problems: list[str] = []
    lines_of_ids: dict[str, int] = {}
    for number, line in json_input.numbered_lines(content):
        try:
            row = json_input.parse(line, dict[str, Any])
            value = read_row(row, f"{path.stem}-{number}")
            first = lines_of_ids.setdefault(row["id"], number)
            if first != number:
                raise ValueError(f"id {row['id']!r} is also that of line {first}")
            rows.append((row, value))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        shown = "; ".join(problems[:SHOWN_PROBLEMS])
        shown += f"; {more} more" if more > 0 else ""
        raise UserError(f"{path}: {len(problems)} bad line(s): {shown}")
    if not rows:
        raise UserError(f"{path}: holds no rows")
    return rows


def _set_id(row: dict[str, Any], given: str | int | None, default: str) -> None:
    row["id"] = default if given is None else str(given)
    check_text("id", row["id"])


def _input_row(row: dict[str, Any], default_id: str) -> None:
    fields = json_input.convert(row, _InputRow)
    check_text("input", fields.input)
    _set_id(row, fields.id, default_id)


def _record(row: dict[str, Any], default_id: str) -> Record:
    fields = json_input.convert(row, _ExampleRow)
    check_text("input", fields.input)
    _set_id(row, fields.id, default_id)
    if fields.label is fields.teacher_label is fields.rationale is None:
        raise ValueError("none of label, teacher_label and rationale is given")
    return Record(
        id=row["id"],
        input=fields.input,
        label=fields.label,
        teacher_label=fields.teacher_label,
        rationale=fields.rationale,
    )
