"""Reads what a card needs to show a bias: columns of groups, and swapped rows."""

import pathlib
from collections.abc import Container, Sequence

from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, output_files
from dsbs_jax.rationales.card import inputs
from dsbs_jax.rationales.card.config import BiasConfig
from dsbs_jax.rationales.card.inputs import RationaleSet
from dsbs_jax.rationales.voting import VotedExample


def read_columns(
    config: BiasConfig, paths: Sequence[pathlib.Path], ids: Container[str]
) -> dict[str, dict[str, str]]:
    """Reads the columns of `GROUP_BY`.

    Args:
        config: The columns and their file.
        paths: The files of the rows, which have the columns without `GROUP_FILE`.
        ids: The ids of the rows.

    Returns:
        For each column the value by id of the row; rows without a value are left out.

    Raises:
        UserError: A file cannot be read, no row has a column, or no file has one
            of the ids.
    """
    if not config.group_by:
        return {}
    if config.group_file:
        source, rows = config.group_file, tables.read_rows(config.group_file)
    else:
        source = ", ".join(map(str, paths))
        rows = [row for path in paths for row in inputs.read_rows(path)]
    if not any(row["id"] in ids for row in rows):
        raise UserError(
            f"{source}: no row has the id of a row of the card; expected the same rows "
            "with the columns of GROUP_BY"
        )
    columns = {}
    for name in config.group_by:
        columns[name] = {
            row["id"]: str(value)
            for row in rows
            if (value := row.get(name)) is not None
        }
        if not columns[name]:
            known = sorted({column for row in rows for column in row})
            raise UserError(
                f"{source}: no row has the column {name!r} of GROUP_BY, found "
                f"{', '.join(known)}; give a file that has it as GROUP_FILE"
            )
    return columns


def read_swapped(
    config: BiasConfig, rationales: RationaleSet
) -> list[VotedExample] | None:
    """Reads the teacher's answers to the swapped inputs, also dropped ones.

    Raises:
        UserError: The rows cannot be read, or none has the id of a rationale.
    """
    if config.swapped is None:
        return None
    path = pathlib.Path(config.swapped)
    if path.is_dir():
        path = path / output_files.KEPT
    dropped = path.with_name(output_files.FILTERED)
    result = filters.read(path, dropped if dropped.is_file() else None)
    rows = [*result.kept, *(example for example, _ in result.dropped)]
    ids = {example.id for example in rationales.examples}
    if not any(row.id in ids for row in rows):
        raise UserError(
            f"{path}: no row has the id of a rationale; expected the answers to the "
            "rows of dsbs-jax swap, which keeps the ids"
        )
    return rows
