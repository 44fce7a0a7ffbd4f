"""A user's own examples as JSONL: one JSON object a line.

Fields: `input` (text), and optionally `label`, `teacher_label`, `rationale` (texts;
null means missing) and `id` (text or whole number; without one, `<file stem>-<line>`).
A row needs a label, a teacher_label or a rationale. Other fields are ignored, and a
note on standard error says so once. Blank lines, Windows line ends and a byte order
mark are fine; all else that is wrong is collected over the file and reported by line.

`{"input": "debt, no car", "label": "refuse"}` ->
`Record(id="mine-1", input="debt, no car", label="refuse")`
"""

import functools
import hashlib
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dsbs_jax.data.records import Record, check_text
from dsbs_jax.errors import UserError

FIELDS = ("input", "label", "rationale", "teacher_label", "id")
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of the inputs that each of validation and test gets
REPORTED = 5  # bad lines spelled out in an error

T = TypeVar("T")


@functools.cache
def _note(message: str) -> None:
    """Prints a note once, however often the same file is read."""
    print(f"note: {message}", file=sys.stderr)


def read_jsonl(path: str | os.PathLike[str]) -> list[Record]:
    """Reads training examples.

    Returns:
        Records in the file's order.

    Raises:
        UserError: The file cannot be read, holds no rows, or has bad lines; the message
            gives the first few by number and their total.
    """
    path = pathlib.Path(path)
    rows = _read_objects(path, _record)
    unknown: dict[str, None] = {}
    for _, names in rows:
        unknown.update(dict.fromkeys(names))
    if unknown:
        _note(
            f"{path}: ignoring fields {', '.join(map(repr, unknown))}; "
            f"those read are {', '.join(FIELDS)}"
        )
    return [record for record, _ in rows]


def read_inputs(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads rows to predict on: `input`, optionally `id`, anything else passed through.

    Returns:
        The rows as they stand in the file, each with a text `id`.

    Raises:
        UserError: As `read_jsonl`.
    """
    path = pathlib.Path(path)
    return _read_objects(path, _input_row)


def split_records(records: list[Record]) -> dict[str, list[Record]]:
    """Splits one file's records 80/10/10, always the same way.

    Distinct inputs are ordered by their SHA-256, and of n of them the first ceil(0.1 n)
    go to test, as many to validation, the rest to train. So neither the order of the
    file nor a seed matters, and rows that share an input stay together. Where some
    inputs have human labels, only those are held out; the others all train.

    Returns:
        train, validation and test, each in the file's order.

    Raises:
        UserError: Fewer than three distinct inputs that can be held out.
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


def read_dataset(
    files: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
) -> dict[str, list[Record]]:
    """Reads a user's dataset.

    Args:
        files: One file a split ({"train": …, "validation": …, "test": …}, of which
            train has to be there), or a single file, which is split by
            `split_records`; a note on standard error says into how many rows.

    Raises:
        UserError: As `read_jsonl` and `split_records`, or an unknown split's name.
    """
    if not isinstance(files, Mapping):
        try:
            result = split_records(read_jsonl(files))
        except UserError as error:
            raise UserError(_naming(files, error)) from error
        sizes = ", ".join(f"{split} {len(rows)}" for split, rows in result.items())
        _note(f"{files}: one file alone, split by a hash of the inputs into {sizes}")
        return result
    unknown = [split for split in files if split not in SPLITS]
    if unknown or "train" not in files:
        raise UserError(
            f"a dataset's files are given for {', '.join(files) or 'no split'}; "
            f"expected train and optionally validation and test"
        )
    return {split: read_jsonl(files[split]) for split in SPLITS if split in files}


def _naming(path: str | os.PathLike[str], error: UserError) -> str:
    message = str(error)
    return message if message.startswith(str(path)) else f"{path}: {message}"


def _read_objects(
    path: pathlib.Path, read_row: Callable[[dict[str, Any]], T]
) -> list[T]:
    """Applies `read_row` to each line's object and collects all their ValueErrors.

    Raises:
        UserError: As `read_jsonl`; also for an id that is there twice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    rows, problems, lines_of_id = [], [], {}
    for n, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found = _parse_object(line)
            found["id"] = _row_id(found, f"{path.stem}-{n}")
            first = lines_of_id.setdefault(found["id"], n)
            if first != n:
                raise ValueError(f"id {found['id']!r} is also that of line {first}")
            rows.append(read_row(found))
        except ValueError as error:
            problems.append(f"line {n}: {error}")
    if problems:
        more = len(problems) - REPORTED
        shown = "; ".join(problems[:REPORTED]) + (f"; {more} more" if more > 0 else "")
        raise UserError(f"{path}: {len(problems)} bad line(s): {shown}")
    if not rows:
        raise UserError(f"{path}: holds no rows")
    return rows


def _parse_object(line: bytes) -> dict[str, Any]:
    """Parses one line; raises ValueError for anything but a JSON object."""
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {type(found).__name__}")
    if "input" not in found:
        raise ValueError("field 'input' is missing")
    check_text("input", found["input"])
    return found


def _row_id(row: dict[str, Any], default: str) -> str:
    given = row.get("id")
    if given is None:
        return default
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    check_text("id", given)
    return given


def _record(row: dict[str, Any]) -> tuple[Record, list[str]]:
    """Returns the row's record and the names of fields that are not read."""
    unknown = [name for name in row if name not in FIELDS]
    record = Record(**{name: row.get(name) for name in FIELDS})
    if record.label is record.teacher_label is record.rationale is None:
        raise ValueError("none of label, teacher_label and rationale is given")
    return record, unknown


def _input_row(row: dict[str, Any]) -> dict[str, Any]:
    return row
