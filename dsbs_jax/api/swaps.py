"""Rows with swapped terms, which show whether a teacher's answers depend on them."""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

from dsbs_jax import files, settings
from dsbs_jax.data import swaps, tables
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.errors import UserError

_Path = str | os.PathLike[str]


def write_swapped(
    data: _Path, output: _Path, *, pairs: Iterable[str], **columns: Any
) -> int:
    """Writes the rows whose input contains a term, with swapped terms.

        dsbs_jax.write_swapped("tickets.jsonl", "swapped.jsonl", pairs=["he:she"])

    Ids and all other columns remain, so `extract` answers the new rows like any others,
    and the quality card compares the labels before and after the swap.

    Args:
        data: Rows with an input, in a format that `dsbs_jax.data.tables` reads.
        output: The JSON lines file to write.
        pairs: Pairs of terms with a colon between them; each term of a pair is replaced
            by the other one.
        **columns: Settings of `ColumnConfig`, such as `input_column="text"`.

    Returns:
        The number of rows that were written.

    Raises:
        UserError: The rows cannot be read, a pair is wrong, no input contains a term,
            or the output is the file of the rows.
        OSError: The file cannot be written.
    """
    if pathlib.Path(output).resolve() == pathlib.Path(data).resolve():
        raise UserError(
            f"{os.fspath(output)} is the file of the rows, expected another"
        )
    terms = swaps.read_pairs(pairs)
    config = settings.from_fields(ColumnConfig, columns)
    rows = tables.read_inputs(os.fspath(data), config.columns)
    swapped = swaps.swapped_rows(rows, terms)
    files.write_jsonl(output, swapped)
    return len(swapped)
