"""Files of answers: JSON lines, CSV, TSV and Parquet.

A format writes the rows of each part, and joins the parts to the final file. Both hold
one part in memory.
"""

import csv
import io
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

from dsbs_jax import files, json_input
from dsbs_jax.data.tables import json_value
from dsbs_jax.errors import UserError

Row = Mapping[str, Any]


class OutputFormat(Protocol):
    """Writes the answers.

    Attributes:
        suffix: Suffix of the parts.
    """

    suffix: str

    def write_part(self, path: pathlib.Path, rows: Sequence[Row]) -> None:
        """Writes the rows of one part.

        Raises:
            UserError: The format cannot hold a value.
        """
        ...

    def join(self, parts: Sequence[pathlib.Path], output: IO[bytes]) -> None:
        """Writes the rows of all parts.

        Raises:
            UserError: The format cannot hold the values of a column.
        """
        ...


def format_of(output: pathlib.Path, arrow_types: Mapping[str, Any]) -> OutputFormat:
    """Returns the format for the suffix of a file.

    Args:
        output: The file of the answers.
        arrow_types: Arrow types of the columns that have one in the input.

    Raises:
        UserError: The suffix is not known.
    """
    suffix = output.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines()
    if suffix in (".csv", ".tsv"):
        return Csv("\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return Parquet(arrow_types)
    raise UserError(
        f"{output}: has the suffix {output.suffix!r}, expected .jsonl, .csv, .tsv or "
        ".parquet"
    )


class JsonLines:
    """One JSON object on each line."""

    suffix = ".jsonl"

    def write_part(self, path: pathlib.Path, rows: Sequence[Row]) -> None:
        """Writes values that JSON does not have as text, and NaN as null."""
        files.write_jsonl(path, (json_value(dict(row)) for row in rows))

    def join(self, parts: Sequence[pathlib.Path], output: IO[bytes]) -> None:
        """Writes the parts one after another."""
        for part in parts:
            output.write(part.read_bytes())


class Csv(JsonLines):
    """A header with all columns, and a line for each row; parts are JSON lines.

    Lists and objects are written as JSON, missing values as empty cells.
    """

    def __init__(self, delimiter: str) -> None:
        """Takes the text between cells."""
        self._delimiter = delimiter

    def join(self, parts: Sequence[pathlib.Path], output: IO[bytes]) -> None:
        """Reads the parts twice: for the columns, and for their values."""
        names = dict.fromkeys(name for row in _read_rows(parts) for name in row)
        text = io.TextIOWrapper(
            output, encoding="utf-8", errors="backslashreplace", newline=""
        )
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        writer.writerow(names)
        for row in _read_rows(parts):
            writer.writerow([_cell(row.get(name)) for name in names])
        text.flush()
        text.detach()


def _read_rows(parts: Iterable[pathlib.Path]) -> Iterator[dict[str, Any]]:
    for part in parts:
        with part.open("rb") as lines:
            for line in lines:
                yield json_input.parse(line, dict[str, Any])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Parquet:
    """Columns with the types of a Parquet input; the types of other columns are found.

    The files of the parts are Parquet files too.
    """

    suffix = ".parquet"

    def __init__(self, arrow_types: Mapping[str, Any]) -> None:
        """Takes the types of the columns of the input that have one."""
        self._types = arrow_types

    def write_part(self, path: pathlib.Path, rows: Sequence[Row]) -> None:
        """Writes the rows as one row group."""
        import pyarrow
        from pyarrow import parquet

        names = dict.fromkeys(name for row in rows for name in row)
        columns = {}
        for name in names:
            try:
                columns[name] = pyarrow.array(
                    [row.get(name) for row in rows], self._types.get(name)
                )
            except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as e:
                raise UserError(_mixed(name, str(e))) from e
        with files.replaced(path) as file:
            parquet.write_table(pyarrow.table(columns), file)

    def join(self, parts: Sequence[pathlib.Path], output: IO[bytes]) -> None:
        """Writes the parts with types that hold the values of all of them."""
        import pyarrow
        from pyarrow import parquet

        schemas = [parquet.read_schema(part) for part in parts]
        try:
            schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise UserError(_mixed("", str(error))) from error
        with parquet.ParquetWriter(output, schema) as writer:
            for part in parts:
                table = parquet.read_table(part)
                columns = [_column(table, field) for field in schema]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def _column(table: Any, field: Any) -> Any:
    """Returns a column with the type of a field; of nulls if the table lacks it."""
    import pyarrow

    if field.name not in table.column_names:
        return pyarrow.nulls(len(table), field.type)
    return table[field.name].cast(field.type)


def _mixed(name: str, reason: str) -> str:
    column = f"column {name!r}" if name else "a column"
    return (
        f"{column} cannot be written to Parquet: {reason.splitlines()[0]}; a column of "
        "Parquet has one type, so write .jsonl"
    )
