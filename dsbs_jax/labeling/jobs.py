"""Labels the rows of a file of any size: in windows, with resume after a kill.

Each window of rows is sorted by length, answered, and written as one part. A run that
ends early continues after its last complete part. The answers to a window depend on its
rows only, so the output is that of a run without interruption.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsbs_jax import files, progress
from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.labeling import formats, inputs, parts

# Rows of a window, which are in memory together. A window of more rows wastes less
# padding, and one of fewer rows loses less work when the process is killed.
WINDOW = 2_048
# Changes when other versions must not continue the parts of this one.
_VERSION = 1

# Takes the inputs of a window and returns the new fields of each row.
Answer = Callable[[Sequence[str]], Sequence[Mapping[str, Any]]]
# Takes the plan of an earlier run that did not end, the number of rows, and a function
# that reads the inputs of the first window; returns the part of the plan that depends
# on them.
Choose = Callable[
    [Mapping[str, Any], int, Callable[[], Sequence[str]]], Mapping[str, Any]
]


@dataclasses.dataclass(frozen=True, slots=True)
class LabeledFile:
    """The result of labeling a file.

    Attributes:
        path: The file of the answers.
        rows: Its rows.
        new_rows: The rows that this call has labeled; an earlier one did the others.
        seconds: Time of this call's labeling.
        facts: How the file was made, as `<output>.json` has it.
    """

    path: pathlib.Path
    rows: int
    new_rows: int
    seconds: float
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is labeled, and how.

    Attributes:
        source: Rows in any format of `tables.read_examples`, without splits.
        columns: The columns of the rows.
        output: File of the answers, .jsonl, .csv, .tsv or .parquet.
        new_columns: Names of the fields that the answers add.
        identity: What the answers depend on apart from the rows, as JSON values.
        shard: Number of this shard, from 0, and number of shards. Shards are labeled
            independently of each other; each has its own output.
        window: Rows of a window.
    """

    source: tables.Source
    columns: tables.ColumnMap
    output: str
    new_columns: Sequence[str]
    identity: Mapping[str, Any]
    shard: tuple[int, int] = (0, 1)
    window: int = WINDOW


def label_file(
    job: Job,
    answer: Answer,
    choose: Choose | None = None,
    measured: Callable[[], Mapping[str, Any]] = dict,
) -> LabeledFile:
    """Labels the rows of a file.

    Args:
        job: The rows, and where the answers go.
        answer: Answers the inputs of a window.
        choose: Adds to `job.identity` before the first window is labeled.
        measured: Returns what was measured, for `<output>.json`.

    Raises:
        UserError: The output cannot be written or has another plan, or the rows cannot
            be read.
    """
    output = _shard_path(files.check_output_file(job.output), job.shard)
    if output.exists() and any(map(output.samefile, tables.files_of(job.source))):
        raise UserError(
            f"{output} is a file of the rows, which the answers would replace; "
            "expected another file"
        )
    format = formats.format_of(output, tables.arrow_types(job.source))
    checked = inputs.check(job.source, job.columns, job.new_columns)
    windows = _windows_of_shard(checked.rows, job)
    fixed = {
        "version": _VERSION,
        "rows": checked.rows,
        "rows_sha256": checked.fingerprint,
        "columns": job.columns.names,
        "window": job.window,
        "shard": list(job.shard),
        **job.identity,
    }

    def first_inputs() -> list[str]:
        first = next(checked.windows(job.window, windows[:1]), [])
        return [row["input"] for row in first]

    def make_plan(stored: Mapping[str, Any]) -> Mapping[str, Any]:
        if choose is None:
            return fixed
        return fixed | dict(choose(stored, checked.rows, first_inputs))

    with parts.open_parts(output, make_plan, format) as opened:
        rows, new_rows, seconds = _label_windows(job, checked, windows, opened, answer)
        facts = {**opened.plan, "shard_rows": rows, **measured()}
        opened.finish(windows, facts)
    return LabeledFile(output, rows, new_rows, seconds, facts)


def _label_windows(
    job: Job,
    checked: inputs.CheckedInput,
    windows: range,
    opened: parts.Parts,
    answer: Answer,
) -> tuple[int, int, float]:
    """Labels the windows that have no part yet.

    Returns:
        The rows of all windows, the rows that were labeled, and the seconds of it.
    """
    size = job.window

    def rows_of(window: int) -> int:
        return min(size, checked.rows - window * size)

    total = sum(map(rows_of, windows))
    done = sum(rows_of(window) for window in windows if opened.has(window))
    bar = progress.Progress("row", total, done)
    if done:
        bar.say(f"{done:,} of {total:,} rows were labeled by an earlier run")
    began, before = time.monotonic(), done
    for window, rows in zip(windows, checked.windows(size, windows), strict=True):
        if opened.has(window):
            continue
        answers = answer([row["input"] for row in rows])
        opened.write(
            window, [row | dict(a) for row, a in zip(rows, answers, strict=True)]
        )
        done += len(rows)
        bar.update(done)
    bar.close()
    seconds = time.monotonic() - began
    return total, done - before, seconds


def _windows_of_shard(rows: int, job: Job) -> range:
    """Returns consecutive windows, so that the shards in order have all rows."""
    number, count = job.shard
    windows = math.ceil(rows / job.window)
    return range(windows * number // count, windows * (number + 1) // count)


def _shard_path(output: pathlib.Path, shard: tuple[int, int]) -> pathlib.Path:
    """Returns the file of a shard: answers-00002-of-00008.jsonl.

    Raises:
        UserError: The shard's number is not below the number of shards.
    """
    number, count = shard
    if not 0 <= number < count:
        raise UserError(
            f"shard is {number}/{count}, expected two numbers as in 0/4, 1/4, 2/4, 3/4"
        )
    if count == 1:
        return output
    return output.with_name(f"{output.stem}-{number:05}-of-{count:05}{output.suffix}")
