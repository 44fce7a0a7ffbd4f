r"""Finds JSON objects in a text, also objects that are not quite valid.

    "Sure:\n```json\n{'label': visit, // yes\n}\n```" -> [{"label": "visit"}]

Numbers become texts as written ("8.0"), and so do true, false and words without quotes.
A member that occurs twice with different values is `DUPLICATE`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

# A value of a member that occurs twice with different values.
DUPLICATE = object()
_MAX_DEPTH = 12
_MAX_STARTS = 50
_MAX_OBJECTS = 20
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "”": "”"}
_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*[\s\S]*?\*/|#[^\n]*)+")
_BARE = re.compile(r"[^\s,:{}\[\]\"'“”][^,:{}\[\]\n\"“”]{0,500}")
# A member without a comma before it.
_NEXT_MEMBER = re.compile(r"[\"'“][\w ]{1,30}[\"'”]\s?:")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class _Broken(Exception):
    """The text is not an object."""


def find(text: str) -> list[dict[str, Any]]:
    """Returns the outermost objects of a text, in their order.

    An object without its last closing brackets counts; an object that ends within a
    quoted text does not.
    """
    return [value for value, _, _ in _find(text)]


def without(text: str) -> str:
    """Returns the text outside the objects that `find` returns."""
    parts, position = [], 0
    for _, begin, end in _find(text):
        parts.append(text[position:begin])
        position = end
    return "".join(parts) + text[position:]


def _find(text: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yields each outermost object with its begin and its end."""
    position, starts, found = 0, 0, 0
    while found < _MAX_OBJECTS and starts < _MAX_STARTS:
        begin = text.find("{", position)
        if begin < 0:
            break
        starts += 1
        value, end = _object(text, begin)
        if value is not None:
            found += 1
            yield value, begin, end
        position = max(end, begin + 1)


def _object(text: str, begin: int) -> tuple[dict[str, Any] | None, int]:
    """Reads the object at a position strictly, and leniently if that fails."""
    decoder = json.JSONDecoder(
        object_pairs_hook=_members,
        parse_int=str,
        parse_float=str,
        parse_constant=str,
        strict=False,
    )
    try:
        value, end = decoder.raw_decode(text, begin)
        return _with_text(value), end
    except (ValueError, RecursionError):
        pass
    reader = _Lenient(text, begin)
    try:
        value = reader.value(0)
    except _Broken:
        return None, begin + 1
    return (value if isinstance(value, dict) and value else None), reader.position


def _with_text(value: Any, depth: int = 0) -> Any:
    """Writes booleans as JSON does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return {name: _with_text(v, depth + 1) for name, v in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list):
        return [_with_text(v, depth + 1) for v in value[:100]]
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        same = name not in members or members[name] == value
        members[name] = value if same else DUPLICATE
    return members


class _Lenient:
    """Reads nearly-JSON: other quotes, bare words, comments, stray commas."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self.position = position

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise _Broken
        self._skip()
        character = self._peek()
        if character == "{":
            return self._object(depth)
        if character == "[":
            return self._list(depth)
        if character in _QUOTES and character:
            return self._quoted()
        return self._bare()

    def _peek(self) -> str:
        return self._text[self.position : self.position + 1]

    def _skip(self) -> None:
        if match := _SPACE.match(self._text, self.position):
            self.position = match.end()

    def _object(self, depth: int) -> dict[str, Any]:
        self.position += 1
        pairs: list[tuple[str, Any]] = []
        while len(pairs) < 100:
            self._skip()
            character = self._peek()
            if character in ("", "}"):  # the end of the text closes it
                self.position += 1
                return _members(pairs)
            if character == ",":
                self.position += 1
                continue
            name = self._quoted() if character in _QUOTES else self._bare()
            self._skip()
            if self._peek() not in (":", "="):
                raise _Broken
            self.position += 1
            pairs.append((str(name).strip(), self.value(depth + 1)))
        raise _Broken

    def _list(self, depth: int) -> list[Any]:
        self.position += 1
        values: list[Any] = []
        while len(values) < 100:
            self._skip()
            character = self._peek()
            if character in ("", "]", "}"):
                self.position += character != "}"
                return values
            if character == ",":
                self.position += 1
                continue
            values.append(self.value(depth + 1))
        raise _Broken

    def _quoted(self) -> str:
        """Reads a quoted text; a quote ends it only where a value can end."""
        closing = _QUOTES[self._peek()]
        text, begin = self._text, self.position + 1
        parts: list[str] = []
        position = begin
        while position < len(text):
            character = text[position]
            if character == "\\" and position + 1 < len(text):
                part, position = self._escape(position)
                parts.append(part)
                continue
            if character == closing and self._ends(position + 1):
                self.position = position + 1
                return "".join(parts)
            parts.append(character)
            position += 1
        raise _Broken  # cut off within a text

    def _ends(self, position: int) -> bool:
        """Whether a member, the object or the text ends here."""
        rest = self._text[position : position + 40].lstrip(" \t\r")
        if rest[:1] == "\n":
            rest = rest.lstrip()
            return rest[:1] in ('"', "'", "}", "]", ",", "", "`", "“")
        if rest[:1] == ",":
            following = rest[1:].lstrip()
            return following[:1] in (
                '"',
                "'",
                "{",
                "[",
                "}",
                "]",
                "“",
                "",
                "/",
                "#",
            ) or (re.match(r"\w[\w ]{0,30}:|[\d\w]+\s*[,\]]", following) is not None)
        if _NEXT_MEMBER.match(rest):
            return True
        return rest[:1] in ("}", "]", ":", "", "`", "/")

    def _escape(self, position: int) -> tuple[str, int]:
        character = self._text[position + 1]
        if character == "u":
            digits = self._text[position + 2 : position + 6]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                return chr(int(digits, 16)), position + 6
        if character in "\"'\\/`“”":
            return character, position + 2
        if character in _ESCAPES and not self._is_command(position):
            return _ESCAPES[character], position + 2
        return "\\", position + 1

    def _is_command(self, position: int) -> bool:
        r"""Whether a LaTeX command with one backslash begins: "\times", "\frac"."""
        return re.match(r"\\(?:times|text|frac|boxed|bf|rm|right|neq|nabla|theta)",
                        self._text[position : position + 10]) is not None  # fmt: skip

    def _bare(self) -> Any:
        match = _BARE.match(self._text, self.position)
        if match is None:
            raise _Broken
        self.position = match.end()
        word = match[0].split("//")[0].strip()
        return {"null": None, "None": None, "True": "true", "False": "false"}.get(
            word, word
        )


def texts(value: Any) -> Iterator[str]:
    """Yields the texts of a value, in a list too: ["a"] -> "a"."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one) if isinstance(one, str | list) else ()
