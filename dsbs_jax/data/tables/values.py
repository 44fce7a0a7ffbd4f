"""One canonical text for each value of a label column, in every file format.

    text       unchanged, without surrounding spaces
    integer    1 -> "1"
    boolean    true -> "true", false -> "false"
    number     2.50 -> "2.5", 1.0 -> "1", 1e20 -> "1e+20"
    missing    null, NaN, an empty cell, and the text "nan" that pandas writes

The number 1.0 is "1", because tables store the integers of a column with missing values
as floating-point numbers. CSV has no types: `LabelColumn` finds the type of a complete
column, as pandas does.
"""

import decimal
import functools
import math
import re
import sys
from collections.abc import Mapping, Set
from typing import Any, Literal

from dsbs_jax.data.tables.faults import Faults, Place

Kind = Literal["text", "a number", "true or false"]
_BOOLEANS = ("true", "false")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
# Numbers as pandas and Arrow write them. A final zero as in 1.10 is not written.
_NUMBER = re.compile(
    r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9]|\.0)?|-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]+"
)
# From here on, Python writes a number with an exponent.
_FIRST_EXPONENT = 1e16


def type_name(value: object) -> str:
    """Returns the name of a value's type for messages."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = {str: "text", int: "integer", float: "number", list: "list", dict: "object"}
    return names.get(type(value), type(value).__name__)


def label_text(name: str, value: Any) -> tuple[Kind, str] | None:
    """Returns the kind and the canonical text of one label; None if it is missing.

    Args:
        name: Name of the column, for messages.
        value: A value of a JSON or Arrow table.

    Raises:
        ValueError: The value cannot be a label; the message names the column.
    """
    match value:
        case None:
            return None
        case bool():
            return "true or false", str(value).lower()
        case int():
            return "a number", str(value)
        case float() if math.isnan(value):
            return None
        case float() if math.isinf(value):
            raise ValueError(f"{name} is infinite, expected a finite number")
        case float():
            return "a number", number_text(value)
        case decimal.Decimal():
            return "a number", number_text(float(value))
        case str() if value in ("nan", "NaN"):
            return None
        case str() if not value.strip():
            raise ValueError(f"{name} is blank")
        case str():
            return "text", value.strip()
    raise ValueError(
        f"field {name!r} must be text, number, true, false, a list of these or null, "
        f"found {type_name(value)}"
    )


def canonical_label(name: str, value: Any) -> str | None:
    """Returns the canonical text of one label, as `label_text` without the kind."""
    label = label_text(name, value)
    return label and label[1]


def canonical_labels(name: str, value: Any) -> tuple[str, ...]:
    """Returns the canonical texts of a label or of a list of acceptable labels."""
    items = value if isinstance(value, list) else [value]
    texts = (canonical_label(name, item) for item in items)
    return tuple(dict.fromkeys(text for text in texts if text is not None))


def optional_text(name: str, row: Mapping[str, Any]) -> str | None:
    """Returns the text of a column; None if it is missing.

    Raises:
        ValueError: The value is not text; the message names the column.
    """
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"field {name!r} must be text or null, found {type_name(value)}")


def text_list(name: str, value: Any) -> tuple[str, ...]:
    """Returns the texts of a list; () if the value is missing.

    Raises:
        ValueError: The value is not a list of texts; the message names the column.
    """
    return _items(name, value, (str,), "texts")


def number_list(name: str, value: Any) -> tuple[float, ...]:
    """Returns the numbers of a list; () if the value is missing.

    Raises:
        ValueError: The value is not a list of numbers, or an integer is too large for
            a float; the message names the column.
    """
    numbers = _items(name, value, (int, float), "numbers")
    try:
        return tuple(map(float, numbers))
    except OverflowError as error:
        raise ValueError(
            f"field {name!r} holds an integer that is too large for a number"
        ) from error


def _items(
    name: str, value: Any, types: tuple[type, ...], expected: str
) -> tuple[Any, ...]:
    items = [] if value is None else value
    found = type_name(value)
    if isinstance(items, list):
        wrong = [x for x in items if not isinstance(x, types) or isinstance(x, bool)]
        if not wrong:
            return tuple(items)
        found = f"a list with {type_name(wrong[0])}"
    raise ValueError(
        f"field {name!r} must be a list of {expected} or null, found {found}"
    )


def number_text(value: float) -> str:
    """Returns the shortest text of a finite number: 1.0 -> "1", 2.5 -> "2.5"."""
    if value.is_integer() and abs(value) < _FIRST_EXPONENT:
        return str(int(value))
    return repr(value)


def scalar_text(name: str, value: Any, typed: bool) -> str:
    """Returns the text of a column that a template names.

    Args:
        name: Name of the column, for messages.
        value: The value of the column.
        typed: Whether the file format has types. In a format without types, a cell that
            looks like a number or a boolean is one.

    Raises:
        ValueError: The value is missing or is not a text, number or boolean.
    """
    if isinstance(value, str):
        kinds = frozenset[Kind]() if typed else _possible_kinds(value)
        return _canonical(value, kinds)
    label = None if isinstance(value, list) else label_text(name, value)
    if label is None:
        raise ValueError(
            f"field {name!r} must be text or a number, found {type_name(value)}"
        )
    return label[1]


class LabelColumn:
    """The kinds of values in a label column of one or several files.

    Attributes:
        name: Name of the column.
    """

    def __init__(self, name: str) -> None:
        """Starts with an empty column."""
        self.name = name
        self._first: dict[Kind, tuple[Place, str]] = {}
        # What the values of CSV files can be, besides text.
        self._untyped_kinds: set[Kind] = {"a number", "true or false"}
        self._untyped_differ = False

    def add(self, value: Any, place: Place, typed: bool) -> tuple[str, ...]:
        """Returns the canonical texts of a row's label: none, one, or several answers.

        Args:
            value: The value of the column.
            place: The row.
            typed: Whether the file format has types. Texts of a format without types
                may still change; see `untyped_text`.

        Raises:
            ValueError: The value cannot be a label.
        """
        texts = []
        for item in value if isinstance(value, list) else [value]:
            label = label_text(self.name, item)
            if label is None:
                continue
            kind, text = label
            if not typed:
                self._untyped_kinds &= _possible_kinds(text)
                self._untyped_differ |= text not in _BOOLEANS and not _is_integer(text)
            elif kind not in self._first:
                self._first[kind] = place, text
            texts.append(text)
        return tuple(dict.fromkeys(texts))

    def check(self, faults: Faults) -> None:
        """Adds a fault if the column holds values of several kinds."""
        if len(self._first) < 2:
            return
        (_, (place, text)), (kind, (other, other_text)) = list(self._first.items())[:2]
        first_kind = next(iter(self._first))
        where = str(place) if place.file == other.file else f"{place.file}: {place}"
        faults.add(
            other,
            f"column {self.name!r} has values of two types: {kind} ({other_text!r}) "
            f"here and {first_kind} ({text!r}) in {where}",
        )

    def untyped_text(self, text: str | None) -> str | None:
        """Returns the canonical text of a CSV cell, when the column is complete.

        If every cell is true or false, in any letter case, the column is boolean. If
        every cell is a number as Python writes it, the column has numbers. Any other
        column is text: "01", "1.10" and "True" next to "unknown" stay unchanged.
        """
        return text and sys.intern(_canonical(text, self._untyped_kinds))

    @property
    def changes_untyped(self) -> bool:
        """Whether `untyped_text` changes a text of the column."""
        return self._untyped_differ and bool(self._untyped_kinds)


def _canonical(text: str, kinds: Set[Kind]) -> str:
    """Returns the canonical text of a cell that has one of these kinds, or is text."""
    if not kinds or _is_integer(text):
        return text
    return text.lower() if "true or false" in kinds else number_text(float(text))


def _is_integer(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text))


@functools.lru_cache(maxsize=10_000)
def _possible_kinds(text: str) -> frozenset[Kind]:
    """Returns the kinds that a cell of a CSV file can have besides text."""
    if text.lower() in _BOOLEANS:
        return frozenset({"true or false"})
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return frozenset({"a number"})
    return frozenset()
