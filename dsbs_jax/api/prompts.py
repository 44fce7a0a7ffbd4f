"""New prompt files for a user's task."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from dsbs_jax import files, settings
from dsbs_jax.data import label_sets, tables
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import new_prompt

_Path = str | os.PathLike[str]


def init_prompt(
    data: _Path,
    output: _Path,
    *,
    labels: Sequence[str] | None = None,
    zero_shot: bool = False,
    **columns: Any,
) -> pathlib.Path:
    """Writes a commented prompt file for a user's task.

    With exemplars, the rationales are placeholders that the user replaces; `extract`
    refuses the file until then.

    Args:
        data: Rows with an input and a label, in a format that `dsbs_jax.data.tables`
            reads.
        output: The new prompt file.
        labels: The task's labels; by default the labels of the data, if they are a
            small closed set. An empty list is for open answers.
        zero_shot: Whether to leave out exemplars; the file is then ready to use.
        **columns: Settings of `ColumnConfig`, such as `input_column="text"`.

    Returns:
        The path of the file.

    Raises:
        UserError: The file exists, the data cannot be read, the labels are not a small
            set, or a label has no row.
        OSError: The file cannot be written.
    """
    path = pathlib.Path(output)
    if path.exists():
        raise UserError(f"{path} exists, expected the name of a new file")
    config = settings.from_fields(ColumnConfig, columns)
    records = tables.read_split(os.fspath(data), config.columns, unlabeled=True)
    if labels is None:
        labels = _detect(data, records)
    name = pathlib.Path(data).name
    files.write(path, new_prompt.text(records, tuple(labels), name, zero_shot))
    return path


def _detect(data: _Path, records: Sequence[Record]) -> Sequence[str]:
    found = label_sets.detect_label_set(records)
    if found is None:
        if all(record.label is None for record in records):
            raise UserError(f"{data}: no row has a label; give the labels as labels")
        raise UserError(
            f"{data}: {label_sets.why_open(records)}; give the labels of a closed set "
            "as labels, or for open answers an empty list, []"
        )
    return found.labels
