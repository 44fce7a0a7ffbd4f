"""Strict reading of JSON, with readable error messages.

`parse` accepts what Python's `json` accepts, which is more than msgspec's own decoder:
a completion with half of a surrogate pair is input to report, not a broken file.
msgspec checks the types, so no reader needs its own `isinstance` tests (`True` is
not an integer, 1.5 is not one either).

    class Row(msgspec.Struct):
        input: str
        label: str | None = None

    parse(b'{"input": "2 + 2", "label": 4}', Row)
    # JsonError: field 'label' must be text or null, found integer
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WRONG_TYPE = re.compile(r"Expected `(.+?)`, got `(.+?)`(?: - at `(.+)`)?")
_OUT_OF_RANGE = re.compile(r"Expected `(.+?)` ([<>]=? .+?)(?: - at `(.+)`)?")
_TOO_LARGE = re.compile(r"(?:Number|Integer value) out of range(?: - at `(.+)`)?")
_MISSING = re.compile(r"Object missing required field `(.+?)`(?: - at `(.+)`)?")
# msgspec's names of types, and ours.
_TYPE_NAMES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}


class JsonError(ValueError):
    """The text is not JSON, or a value has another type than expected.

    The message names the place in the text, or the field. It names no file; the caller
    adds file and line.
    """


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object from its fields; the `object_pairs_hook` of Python's `json`.

    Raises:
        JsonError: A field occurs twice. Python would keep the last value silently.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"field {twice!r} occurs twice")
    return values


@overload
def parse(content: bytes | str, *, unique: bool = False) -> Any: ...
@overload
def parse(content: bytes | str, expected: type[T], *, unique: bool = False) -> T: ...
def parse(content: bytes | str, expected: Any = Any, *, unique: bool = False) -> Any:
    """Reads one JSON value.

    Args:
        content: The JSON text; bytes are UTF-8.
        expected: The type that the value must have, for example a `msgspec.Struct`,
            whose unknown fields are ignored, or `dict[str, Any]`.
        unique: Whether a field that occurs twice in an object is an error; otherwise
            its last value counts.

    Raises:
        JsonError: The content is not UTF-8, is not JSON, is nested too deeply, or has
            another type than expected.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        hook = unique_fields if unique else None
        value = json.loads(text, object_pairs_hook=hook)
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        place = f"column {error.colno}"
        if error.lineno > 1:
            place = f"line {error.lineno}, {place}"
        raise JsonError(f"broken JSON at {place}: {error.msg}") from error
    except RecursionError as error:
        raise JsonError("JSON nested too deeply") from error
    except ValueError as error:  # an integer of more than 4,300 digits
        raise JsonError(f"broken JSON: {error}") from error
    return convert(value, expected)


def convert(value: object, expected: type[T], *, strict: bool = True) -> T:
    """Checks a parsed JSON value and converts it to a type, without loss.

    Args:
        value: The value.
        expected: The type, as for `parse`.
        strict: Whether a number must be a number. Otherwise a text that is a number or
            a boolean is also one, as in CSV; the text null is a missing value; 0 and 1
            are booleans; and 3.0 is an integer, as pandas writes the integers of a
            column with missing values.

    Raises:
        JsonError: The value has another type than expected.
    """
    try:
        return msgspec.convert(value, expected, strict=strict)
    except msgspec.ValidationError as error:
        raise JsonError(_message(str(error))) from error
    except RecursionError as error:
        raise JsonError("JSON nested too deeply") from error


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the number, counted from 1, and the text of each line that is not blank.

    A byte order mark and Windows line ends are accepted.
    """
    lines = content.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line


def _message(message: str) -> str:
    """Rewrites a message of msgspec.

    "Expected `str | null`, got `int` - at `$.label`"
    -> "field 'label' must be text or null, found integer"
    """
    if match := _MISSING.fullmatch(message):
        return f"field {_field(match[2], match[1])} is missing"
    if match := _WRONG_TYPE.fullmatch(message):
        expected = " or ".join(_type_name(name) for name in match[1].split(" | "))
        actual = _type_name(match[2])
        if match[3] is None:
            return f"expected {expected}, found {actual}"
        return f"field {_field(match[3])} must be {expected}, found {actual}"
    if match := _OUT_OF_RANGE.fullmatch(message):
        expected = f"{_type_name(match[1])} {match[2]}"
        if match[3] is None:
            return f"expected {expected}"
        return f"field {_field(match[3])} must be {expected}"
    if match := _TOO_LARGE.fullmatch(message):
        where = "the value" if match[1] is None else f"field {_field(match[1])}"
        return f"{where} is too large for a number"
    return message


def _type_name(name: str) -> str:
    return _TYPE_NAMES.get(name, name)


def _field(path: str | None, name: str = "") -> str:
    """Names a field: ("$.rows[0]", "label") -> "'rows[0].label'"."""
    parts = [(path or "$").removeprefix("$").removeprefix("."), name]
    return repr(".".join(part for part in parts if part))
