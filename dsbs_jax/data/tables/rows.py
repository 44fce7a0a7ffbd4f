"""Yields the rows of a table that have the needed columns, and reports the others."""

import functools
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import Any

from dsbs_jax.data.tables.columns import DEFAULT, ColumnMap, nearest_column
from dsbs_jax.data.tables.faults import Faults, Place
from dsbs_jax.data.tables.table import BadRow, Table, TableError

# Fields of the files that this project writes, which no note mentions.
OUTPUT_FIELDS = frozenset(
    {
        *("votes", "samples", "margin", "parser_version", "reason", "completions"),
        *("problem", "predicted_label", "log_probability", "probabilities"),
        "predicted_rationale",
    }
)
_LISTED = 10

Rows = Iterator[tuple[Place, dict[str, Any]]]


@functools.cache
def note(message: str) -> None:
    """Prints a note once, also if the same file is read several times."""
    print(f"note: {message}", file=sys.stderr)


def example_rows(
    table: Table, columns: ColumnMap, faults: Faults, unlabeled: bool
) -> Rows:
    """Yields the rows of a table with the mapped columns that it has.

    A note on standard error names the other columns.

    Args:
        table: The table.
        columns: The columns that are read.
        faults: Gets the faults of other rows, and the faults of the table.
        unlabeled: Whether a row may have no label, and is read without its rationale
            and teacher label.
    """
    needs = _single(columns.required)
    teacher = (columns.teacher_label, columns.rationale)
    if unlabeled:
        used = {*columns.input_columns, columns.label, columns.id}
        wanted = [name for name in columns.all if name in used]
    else:
        wanted = [*columns.all]
        needs.append((columns.label, *teacher))
    found = yield from _rows(table, columns, needs, faults, wanted)
    ignored = [name for name in found if not _is_known(name, columns)]
    if ignored:
        more = len(ignored) - _LISTED
        end = f" and {more} more" if more > 0 else ""
        note(
            f"{table.name}: ignoring fields "
            f"{', '.join(map(repr, ignored[:_LISTED]))}{end}; the fields that are read "
            f"are {', '.join(wanted)}"
        )


def input_rows(table: Table, columns: ColumnMap, faults: Faults) -> Rows:
    """Yields the rows of a table that have the input, with all their columns.

    Args:
        table: The table.
        columns: The columns of the input.
        faults: Gets the faults of other rows, and the faults of the table.
    """
    yield from _rows(table, columns, _single(columns.input_columns), faults)


def all_rows(table: Table, faults: Faults) -> Rows:
    """Yields the rows of a table with all their columns; they need none of them.

    Args:
        table: The table.
        faults: Gets the faults of other rows, and the faults of the table.
    """
    yield from _rows(table, DEFAULT, [], faults)


def _is_known(name: str, columns: ColumnMap) -> bool:
    return name in columns.all or name in DEFAULT.all or name in OUTPUT_FIELDS


# Characters between the names in a header that was read as one column.
_SEPARATORS = "|:"
_EXPECTED_SEPARATORS = "commas, semicolons or tabs"
# Of each group of columns, a row needs at least one.
_Needs = list[tuple[str, ...]]


def _single(names: Iterable[str]) -> _Needs:
    return [(name,) for name in names]


def _rows(
    table: Table,
    columns: ColumnMap,
    needs: _Needs,
    faults: Faults,
    wanted: Sequence[str] | None = None,
) -> Generator[tuple[Place, dict[str, Any]], None, dict[str, None]]:
    """Yields the rows that have the needed columns, and returns all column names."""
    count, seen = 0, dict[str, None]()
    gaps: dict[tuple[str, ...], list[int]] = {need: [] for need in needs}
    try:
        header = table.columns()
        if header is not None:
            seen = dict.fromkeys(header)
            missing = [need for need in needs if not seen.keys() & set(need)]
            for need in missing:
                text = _missing("column", need) + _advice(need, header, columns)
                faults.add(table.name, text)
            if missing:
                return {}
        names = wanted
        if header is not None and wanted is not None:
            names = [name for name in wanted if name in seen]
        for number, row in table.rows(names):
            count += 1
            place = Place(table.name, table.unit, number)
            if isinstance(row, BadRow):
                faults.add(place, row.text)
                continue
            if header is None:
                seen |= dict.fromkeys(row)
                if wanted is not None:
                    row = {name: row[name] for name in wanted if name in row}
                gap = next((n for n in needs if not any(x in row for x in n)), None)
                if gap is not None:
                    gaps[gap].append(number)
                    continue
            yield place, row
    except TableError as error:
        faults.add(table.name, str(error))
        return seen
    if not count:
        faults.add(table.name, "holds no rows")
    for need, numbers in gaps.items():
        nowhere = not seen.keys() & set(need)
        for number in numbers[:1] if nowhere else numbers:
            text = _missing("field", need)
            if nowhere and count > 1:
                text += _advice(need, seen, columns)
            faults.add(Place(table.name, table.unit, number), text)
    return seen


def _missing(word: str, need: tuple[str, ...]) -> str:
    """Describes columns that a row lacks."""
    if len(need) == 1:
        return f"{word} {need[0]!r} is missing"
    return f"none of {', '.join(need[:-1])} and {need[-1]} is given"


def _advice(need: tuple[str, ...], found: Collection[str], columns: ColumnMap) -> str:
    """Says what to do about columns that no row of a table has."""
    text = nearest_column(need[0], found)
    if need[0] in DEFAULT.all and columns.has_settings:
        text += f"; {need[0]}_column names another column"
    elif need[0] in DEFAULT.all:
        text += f"; rename a column to {need[0]!r}"
    if len(found) == 1 and set(next(iter(found))) & set(_SEPARATORS):
        text += f"; expected {_EXPECTED_SEPARATORS} between the cells"
    return text
