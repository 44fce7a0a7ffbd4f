"""Tables that pyarrow reads: CSV, TSV and Parquet. pyarrow is imported when used."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from dsbs_jax.data.tables import streams
from dsbs_jax.data.tables.table import BadRow, FileTable, TableError, Types
from dsbs_jax.errors import first_line

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

# Bytes that the CSV reader parses at a time. Larger blocks need more memory, and are
# tried only for a file that has a longer row.
_BLOCKS = (1 << 20, 1 << 26)
_BATCH_ROWS = 2_000
_DELIMITERS = (",", ";", "\t")

Rows = Iterator[tuple[int, dict[str, Any] | BadRow]]


class CsvTable(FileTable):
    """CSV or TSV with a header line. Cells may contain line breaks in quotes.

    Rows are counted from 1 below the header. An empty cell is missing (None).
    """

    unit = "row"
    types: Types = "none"

    def columns(self) -> Sequence[str]:
        """Reads the names in the header."""
        names, _ = self._header()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TableError(f"the header has column {twice[0]!r} twice")
        return names

    def _header(self) -> tuple[list[str], str]:
        """Returns the names of the columns, and the most frequent delimiter of them."""
        is_tsv = streams.uncompressed(self.path).suffix.lower() == ".tsv"
        with streams.open_bytes(self.path) as stream:
            lines = (line for line in _decoded_lines(stream) if line.strip())
            first = next(lines, "")
            delimiter = "\t" if is_tsv else max(_DELIMITERS, key=first.count)
            # A name in quotes may contain line breaks.
            texts = itertools.chain([first], lines)
            try:
                names = next(csv.reader(texts, delimiter=delimiter), [])
            except csv.Error as error:
                raise TableError(f"the header cannot be read: {error}") from error
        if not names:
            raise TableError("holds no rows")
        return names, delimiter

    def rows(self, wanted: Sequence[str] | None) -> Rows:
        """Yields the cells of each row as text."""
        done = 0
        for block in _BLOCKS:
            try:
                for number, row in self._parsed(wanted, block):
                    if number > done:
                        done = number
                        yield number, row
                return
            except _RowTooLongError:
                continue
        raise TableError(
            f"row {done + 1} or a later one has more than {_BLOCKS[-1] >> 20} MiB; a "
            "quote may not be closed"
        )

    def _parsed(self, wanted: Sequence[str] | None, block: int) -> Rows:
        """Parses blocks of this many bytes, which the longest row must fit."""
        names, delimiter = self._header()
        names = names if wanted is None else list(wanted)
        skipped: list[tuple[int, str]] = []

        def skip(row: Any) -> str:
            cells = f"found {row.actual_columns} cells, expected {row.expected_columns}"
            if row.text.count('"') % 2:
                cells += "; a quote is not closed"
            # The header is row 1 of pyarrow.
            skipped.append((row.number - 1, cells))
            return "skip"

        number = 0
        with self._open(names, delimiter, skip, block) as reader:
            for batch in reader:
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    while skipped and skipped[0][0] == number:
                        yield number, BadRow(skipped.pop(0)[1])
                        number += 1
                    yield number, _decoded(names, cells)
            yield from ((bad, BadRow(text)) for bad, text in skipped)

    @contextlib.contextmanager
    def _open(
        self,
        names: Sequence[str],
        delimiter: str,
        invalid_row_handler: Callable[[Any], str],
        block: int,
    ) -> Iterator[pyarrow.csv.CSVStreamingReader]:
        import pyarrow
        import pyarrow.csv

        with streams.open_bytes(self.path) as stream, _arrow_errors():
            try:
                yield pyarrow.csv.open_csv(
                    stream,
                    # One thread, because the row numbers of faults need it.
                    pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
                    pyarrow.csv.ParseOptions(
                        delimiter=delimiter,
                        newlines_in_values=True,
                        invalid_row_handler=invalid_row_handler,
                    ),
                    # As bytes, because pyarrow does not say where bad UTF-8 is.
                    pyarrow.csv.ConvertOptions(
                        column_types=dict.fromkeys(names, pyarrow.binary()),
                        include_columns=list(names),
                    ),
                )
            except pyarrow.ArrowInvalid as error:
                if "straddling object" in str(error):
                    raise _RowTooLongError from error
                raise


class _RowTooLongError(Exception):
    """A row is longer than a block."""


def _decoded_lines(stream: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(stream):
        if number == 0:
            line = line.removeprefix(streams.BYTE_ORDER_MARK)
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TableError(
                "the header is not UTF-8; save the file as UTF-8"
            ) from error


def _decoded(names: Iterable[str], cells: Iterable[bytes]) -> dict[str, Any] | BadRow:
    row: dict[str, str | None] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            text = cell.decode("utf-8")
        except UnicodeDecodeError as error:
            return BadRow(
                f"column {name!r} is not UTF-8 at byte {error.start} of the cell; "
                "save the file as UTF-8"
            )
        row[name] = text if text.strip() else None
    return row


class ParquetTable(FileTable):
    """A Parquet file, read in batches of rows."""

    unit = "row"
    types: Types = "arrow"

    def columns(self) -> Sequence[str]:
        """Reads the names in the schema."""
        with self._open() as file:
            names: list[str] = file.schema_arrow.names
        return names

    def rows(self, wanted: Sequence[str] | None) -> Rows:
        """Yields the values of each row as Python objects."""
        with self._open() as file:
            batches = file.iter_batches(_BATCH_ROWS, columns=wanted and list(wanted))
            yield from numbered(batch.to_pylist() for batch in batches)

    def arrow_types(self) -> Mapping[str, Any]:
        """Reads the types in the schema."""
        with self._open() as file:
            return {field.name: field.type for field in file.schema_arrow}

    @contextlib.contextmanager
    def _open(self) -> Iterator[pyarrow.parquet.ParquetFile]:
        import pyarrow
        from pyarrow import parquet

        with streams.open_bytes(self.path) as stream, _arrow_errors():
            compressed = streams.compression(self.path)
            # The format is read from its end, which a compressed stream cannot reach.
            source = pyarrow.BufferReader(stream.read()) if compressed else stream
            yield parquet.ParquetFile(source)


def numbered(batches: Iterable[list[dict[str, Any]]]) -> Rows:
    """Yields the rows of batches with their numbers, from 1."""
    number = 0
    for batch in batches:
        for row in batch:
            number += 1
            yield number, row


@contextlib.contextmanager
def _arrow_errors() -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise TableError(f"cannot be read: {first_line(error)}") from error
