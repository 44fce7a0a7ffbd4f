"""New prompt files for a user's task."""

import os
import pathlib
from collections.abc import Sequence

from dsbs_jax import files
from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import new_prompt

_Path = str | os.PathLike[str]


def init_prompt(
    data: _Path,
    output: _Path,
    *,
    labels: Sequence[str],
    zero_shot: bool = False,
) -> pathlib.Path:
    """Writes a commented prompt file for a user's task.

    With exemplars, the rationales are placeholders that the user replaces; `extract`
    refuses the file until then.

    Args:
        data: Rows with `input` and `label`, in a format that `dsbs_jax.data.tables`
            reads.
        output: The new prompt file.
        labels: The task's labels.
        zero_shot: Whether to leave out exemplars; the file is then ready to use.

    Returns:
        The path of the file.

    Raises:
        UserError: The file exists, the data cannot be read, or a label has no row.
        OSError: The file cannot be written.
    """
    path = pathlib.Path(output)
    if path.exists():
        raise UserError(f"{path} exists, expected the name of a new file")
    records = tables.read_split(data, unlabeled=True)
    rows = [{"input": record.input, "label": record.label} for record in records]
    text = new_prompt.text(rows, tuple(labels), pathlib.Path(data).name, zero_shot)
    files.write(path, text)
    return path
