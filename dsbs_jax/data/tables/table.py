"""The interface of every file format: numbered rows of a table, one after another."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

Types = Literal["json", "arrow", "none"]


class TableError(ValueError):
    """A table cannot be read, or cannot be read to its end."""


@dataclasses.dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, in place of its values.

    Attributes:
        text: What is wrong.
    """

    text: str


class Table(Protocol):
    """One file or one split of a dataset.

    Attributes:
        name: The file, as messages name it.
        stem: First part of the ids of rows without an id.
        unit: What `rows` counts: "line" or "row".
        types: Type system of the values: "json", "arrow", or "none" if every value is
            text, as in CSV.
    """

    name: str
    stem: str
    unit: str
    types: Types

    def columns(self) -> Sequence[str] | None:
        """Returns the names of the columns; None if each row has its own.

        Raises:
            TableError: The table cannot be read.
        """
        ...

    def rows(
        self, wanted: Sequence[str] | None
    ) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yields the number of each row, from 1, and its values by column.

        Only a part of the table is in memory.

        Args:
            wanted: The columns to read, all of which the table has; None reads all.
                Formats in which each row has its own columns may yield others too.

        Raises:
            TableError: The rest of the table cannot be read.
        """
        ...

    def arrow_types(self) -> Mapping[str, Any]:
        """Returns the Arrow types of the columns; {} for formats without them."""
        ...


class FileTable:
    """Base class of tables in files, with path, name and stem."""

    def __init__(self, path: pathlib.Path, stem: str) -> None:
        """Keeps the path; nothing is read."""
        self.name, self.stem, self.path = str(path), stem, path

    def arrow_types(self) -> Mapping[str, Any]:
        """Returns {}, because the format has no Arrow types."""
        return {}
