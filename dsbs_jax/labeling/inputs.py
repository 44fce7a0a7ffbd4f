"""The rows to label: one pass checks them, the next one labels them in windows."""

import dataclasses
import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from dsbs_jax.data import tables
from dsbs_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class CheckedInput:
    """Rows that can be labeled.

    Attributes:
        source: The rows in any format of `tables.read_examples`, without splits.
        columns: The columns of the rows.
        rows: The number of rows.
        fingerprint: Hash of all values of all rows.
        reserved_ids: Ids of rows that look like the generated id of another row.
    """

    source: tables.Source
    columns: tables.ColumnMap
    rows: int
    fingerprint: str
    reserved_ids: frozenset[str]

    def windows(self, size: int, chosen: range) -> Iterator[list[dict[str, Any]]]:
        """Yields the rows of some windows, one window after another.

        Args:
            size: Rows of a window; the last window may have fewer.
            chosen: The windows.

        Yields:
            All columns of each row, and the texts `input` and `id`.
        """
        faults = tables.Faults()
        window: list[dict[str, Any]] = []
        first, end = chosen.start * size, min(chosen.stop * size, self.rows)
        rows = tables.iter_inputs(self.source, self.columns, faults)
        for number, row in enumerate(rows):
            if number >= end:
                break
            if number < first:
                continue
            window.append({**row.values, "input": row.input, "id": self._id(row)})
            if len(window) == size or number + 1 == end:
                yield window
                window = []
        faults.raise_if_any()  # the file has changed since it was checked

    def _id(self, row: tables.InputRow) -> str:
        if row.id is not None:
            return row.id
        copy, unique = 1, row.generated_id
        while unique in self.reserved_ids:
            copy += 1
            unique = f"{row.generated_id}.{copy}"
        return unique


def check(
    source: tables.Source, columns: tables.ColumnMap, new_columns: Collection[str]
) -> CheckedInput:
    """Reads all rows once, in bounded memory.

    Args:
        source: As for `CheckedInput`.
        columns: The columns of the rows.
        new_columns: Names of the fields that the answers add.

    Raises:
        UserError: The rows cannot be read, a row is wrong, or the rows have a column
            that the answers would replace.
    """
    faults, digest = tables.Faults(), hashlib.sha256()
    count, reserved = 0, set[str]()
    for row in tables.iter_inputs(source, columns, faults):
        lost = next((name for name in new_columns if name in row.values), None)
        if lost is not None:
            raise UserError(
                f"{source}: the rows have a column {lost!r}, which the answers would "
                "replace; rename the column"
            )
        count += 1
        digest.update(repr(row.values).encode("utf-8", "surrogatepass"))
        if row.id is not None and row.id.startswith(f"{row.stem}-"):
            reserved.add(row.id)
    faults.raise_if_any()
    return CheckedInput(source, columns, count, digest.hexdigest(), frozenset(reserved))
