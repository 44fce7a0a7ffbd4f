"""Tables of JSON objects: one object on each line, or a list of objects."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dsbs_jax import json_input
from dsbs_jax.data.tables import streams
from dsbs_jax.data.tables.table import BadRow, FileTable, TableError, Types

# The first line of a file that is not JSON lines, and the error.
_SEVERAL_LINES = {
    b"{": "an object spans several lines, expected one object on each line; "
    "'jq -c . FILE' prints this form",
    b"[": "a list spans several lines, expected one object on each line; give the file "
    "the suffix .json",
}
# A longer text next to "data" is a field: {"version": "v2.0", "data": [...]} has none.
_LONGEST_VERSION = 8
_ONE_ROW_A_LINE = "expected one object on each line or a list of objects"
_SPACES = re.compile(r"[ \t\r\n]*")


class JsonLines(FileTable):
    """One JSON object on each line; blank lines are skipped."""

    unit = "line"
    types: Types = "json"

    def columns(self) -> None:
        """Returns None, because each line has its own fields."""

    def rows(
        self, wanted: Sequence[str] | None
    ) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yields the object of each line, with all its fields."""
        del wanted
        suffix = streams.uncompressed(self.path).suffix.lower()
        with streams.open_bytes(self.path) as stream:
            for number, line in enumerate(stream, 1):
                if number == 1:
                    line = line.removeprefix(streams.BYTE_ORDER_MARK)
                if not line.strip():
                    continue
                lines = suffix != ".json" and number == 1
                if lines and line.strip() in _SEVERAL_LINES:
                    raise TableError(_SEVERAL_LINES[line.strip()])
                try:
                    line = line.rstrip(b"\n")
                    row = json_input.parse(line, dict[str, Any], unique=True)
                    if number == 1 and (advice := _whole_table(row)):
                        raise TableError(f"{advice}; {_ONE_ROW_A_LINE}")
                    yield number, row
                except json_input.JsonError as error:
                    if number == 1 and suffix == ".json":
                        raise TableError(
                            "expected a list of objects, or one object on each line; "
                            f"line 1: {error}"
                        ) from error
                    yield number, BadRow(str(error))


def _whole_table(row: dict[str, Any]) -> str | None:
    """Describes an object that holds all rows of a file; None for a row."""
    values = [*row.values()]
    if values and all(isinstance(value, dict) and value for value in values):
        indices = {tuple(value) for value in values}
        if len(indices) == 1 and all(index.isdigit() for index in indices.pop()):
            return (
                "the file is one object of columns, as pandas writes by default; write "
                "it with to_json(FILE, orient='records', lines=True)"
            )
    data = row.get("data")
    if not (isinstance(data, list) and data) or any(map(_is_field, values)):
        return None
    if all(isinstance(item, dict) for item in data):
        return (
            "the rows are in the list 'data' of one object; 'jq -c .data[] FILE' "
            "prints them"
        )
    if all(isinstance(item, list) for item in data) and "columns" in row:
        return (
            "the file has the columns and the values apart, as pandas writes with "
            "orient='split'; write it with to_json(FILE, orient='records', lines=True)"
        )
    return None


def _is_field(value: object) -> bool:
    """Whether a value next to the rows of a file may be a field of a row."""
    return isinstance(value, str) and len(value) > _LONGEST_VERSION


class JsonArray(FileTable):
    """A list of JSON objects. The file's text is in memory while it is read."""

    unit = "row"
    types: Types = "json"

    def columns(self) -> None:
        """Returns None, because each object has its own fields."""

    def rows(
        self, wanted: Sequence[str] | None
    ) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yields each object, with all its fields."""
        del wanted
        with streams.open_bytes(self.path) as stream:
            content = stream.read().removeprefix(streams.BYTE_ORDER_MARK)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TableError(
                f"not UTF-8 at byte {error.start}; save the file as UTF-8"
            ) from error
        del content
        for number, item in enumerate(_items(text), 1):
            try:
                yield number, json_input.convert(item, dict[str, Any])
            except json_input.JsonError as error:
                yield number, BadRow(str(error))


def _items(text: str) -> Iterator[object]:
    """Yields the items of a JSON list, one after another.

    Raises:
        TableError: The text is not a JSON list.
    """
    decoder = json.JSONDecoder(object_pairs_hook=json_input.unique_fields)

    def next_character(position: int) -> tuple[str, int]:
        spaces = _SPACES.match(text, position)
        assert spaces is not None  # the pattern matches everywhere
        return text[spaces.end() : spaces.end() + 1], spaces.end()

    _, position = next_character(0)
    character, position = next_character(position + 1)
    while character != "]":
        try:
            item, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _broken(text, error.pos, error.msg) from error
        except RecursionError as error:
            raise TableError("JSON nested too deeply") from error
        except ValueError as error:  # an integer of more than 4,300 digits
            raise _broken(text, position, str(error)) from error
        yield item
        character, position = next_character(position)
        if character == ",":
            character, position = next_character(position + 1)
        elif character != "]":
            raise _broken(text, position, "expected ',' or ']'")
    character, position = next_character(position + 1)
    if character:
        raise _broken(text, position, "expected the end of the file")


def _broken(text: str, position: int, reason: str) -> TableError:
    error = json.JSONDecodeError(reason, text, position)
    return TableError(
        f"broken JSON at line {error.lineno}, column {error.colno}: {reason}"
    )
