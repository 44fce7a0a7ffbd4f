"""A page of text, tables and a picture, rendered as HTML, as Markdown and as text.

All text is untrusted: a completion may hold markup, links, scripts, control characters
or characters that reverse the direction of writing. None of it has an effect, because
the templates escape every value by default: HTML is escaped, in Markdown each character
that could begin markup gets a backslash, and invisible characters are written as escape
sequences.
"""

import base64
import dataclasses
import functools
import pathlib
import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import ClassVar

import jinja2
import markupsafe
import tabulate

# The longest text that is shown, in characters; longer ones are cut.
MAX_TEXT = 700
# Cells of a table; integers get thousands separators.
Row = Sequence[str | int]
_TEXT_WIDTH = 88  # characters of a line of text

# Characters that begin markup or an address within a line of Markdown.
_MARKUP = re.compile(r"[\\`*_\[\]<>#|~&@$!]|:(?=//)|(?<=www)\.")
# Unicode categories of invisible characters: control and format characters, surrogates,
# line and paragraph separators.
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page on disk.

    Attributes:
        page: The HTML file, which needs no other file.
        headline: The most important figures in one or two sentences.
    """

    page: pathlib.Path
    headline: str


@dataclasses.dataclass(frozen=True)
class Heading:
    """The title of a section."""

    kind: ClassVar[str] = "heading"

    text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph that begins with a word, so that Markdown sees no list or title."""

    kind: ClassVar[str] = "paragraph"

    text: str


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: The header.
        numeric: Whether the cells are numbers, which are aligned to the right.
    """

    title: str
    numeric: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: The columns.
        rows: One cell per column in each row.
    """

    kind: ClassVar[str] = "table"

    columns: Sequence[Column]
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image: a file next to the Markdown page, embedded in the HTML page.

    Attributes:
        file_name: Name of the file.
        content: Content of the file.
        description: Text for readers who cannot see the image.
    """

    kind: ClassVar[str] = "picture"

    file_name: str
    content: bytes
    description: str

    @property
    def data(self) -> markupsafe.Markup:
        """The content in base64, which needs no escaping."""
        return markupsafe.Markup(base64.b64encode(self.content).decode())


@dataclasses.dataclass(frozen=True)
class TextFields:
    """Named texts of one example, such as its input and its rationale."""

    kind: ClassVar[str] = "fields"

    fields: Sequence[tuple[str, str]]


Block = Heading | Paragraph | Table | Picture | TextFields


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Renders a page as Markdown."""
    return markdown_template("page.md.jinja").render(title=title, blocks=blocks)


def markdown_template(name: str) -> jinja2.Template:
    """Returns a template of a Markdown page, which escapes every value.

    In the template the filter `code` makes a code span of a value.
    """
    return _environment(escape_markdown).get_template(name)


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Renders a page as one HTML file that loads no other file and runs no script."""
    template = _environment(escape_html).get_template("page.html.jinja")
    return template.render(title=title, blocks=blocks)


def as_text(title: str, blocks: Sequence[Block]) -> str:
    """Renders a page as text for a terminal, without its pictures."""
    parts = [_underlined(title, "=")]
    parts += [part for block in blocks if (part := _text_of(block)) is not None]
    return "\n\n".join(parts) + "\n"


def _text_of(block: Block) -> str | None:
    if isinstance(block, Heading):
        return _underlined(block.text, "-")
    if isinstance(block, Paragraph):
        return textwrap.fill(visible(block.text), _TEXT_WIDTH)
    if isinstance(block, Table):
        sides = ["right" if column.numeric else "left" for column in block.columns]
        return tabulate.tabulate(
            [[_one_line(cell) for cell in row] for row in block.rows],
            [_one_line(column.title) for column in block.columns],
            disable_numparse=True,
            colalign=sides if block.rows else None,
        )
    if isinstance(block, TextFields):
        lines = (f"{_one_line(n)}: {_one_line(text)}" for n, text in block.fields)
        return "\n".join(lines)
    return None


def _underlined(text: str, line: str) -> str:
    text = _one_line(text)
    return f"{text}\n{line * len(text)}"


def _one_line(value: str | int) -> str:
    text = f"{value:,}" if isinstance(value, int) else visible(value)
    return " ⏎ ".join(part for line in text.split("\n") if (part := line.strip()))


@functools.cache
def _environment(escape: Callable[[str], markupsafe.Markup]) -> jinja2.Environment:
    def finalize(value: object) -> markupsafe.Markup:
        """Escapes each value that a template prints, unless it is already escaped."""
        if isinstance(value, markupsafe.Markup):
            return value
        return escape(f"{value:,}" if isinstance(value, int) else str(value))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code_span
    return environment


def escape_html(text: str) -> markupsafe.Markup:
    """Escapes text for HTML."""
    return markupsafe.escape(visible(text))


def escape_markdown(text: str) -> markupsafe.Markup:
    r"""Escapes text for one line of Markdown.

    "a *b*\nc | d" -> "a \*b\* ⏎ c \| d"
    """
    return markupsafe.Markup(_MARKUP.sub(r"\\\g<0>", _one_line(text)))


def code_span(text: str) -> markupsafe.Markup:
    """Makes a code span of Markdown, which keeps spaces and shows no markup.

    "predict: " -> "`predict: `"; "a`b" -> "`` a`b ``"
    """
    text = visible(text).replace("\n", " ⏎ ")
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    padding = " " if len(ticks) > 1 else ""
    return markupsafe.Markup(f"{ticks}{padding}{text}{padding}{ticks}")


def visible(text: str) -> str:
    r"""Writes invisible characters as escape sequences and shortens long text.

    Line ends remain. The escape character becomes "\x1b", a character that reverses the
    direction of writing "\u202e", and half of a surrogate pair "\ud800".
    """
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}…"
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(map(_visible_character, text))


def _visible_character(char: str) -> str:
    if char == "\n" or unicodedata.category(char) not in _INVISIBLE:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
