"""A page of text, tables and a picture, as Markdown and as HTML.

All text is untrusted: a completion may hold markup, links, scripts, control characters
or characters that reverse the direction of writing. None of it takes effect: HTML is
escaped, in Markdown every character that could begin markup gets a backslash, and what
cannot be seen is spelled out.
"""

import base64
import dataclasses
import html
import re
import unicodedata
from collections.abc import Sequence

MAX_TEXT = 700  # characters shown of one text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d8dee4; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e6e9ed; text-align: left;
  vertical-align: top; overflow-wrap: break-word; }
th { color: #57606a; font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
img { max-width: 100%; height: auto; }
dl { border-left: 3px solid #d8dee4; margin: .8rem 0; padding: .1rem 0 .1rem .9rem;
  display: grid; grid-template-columns: 6.5rem 1fr; gap: .15rem .6rem; }
dt { color: #57606a; } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
# Nothing is fetched and nothing runs, whatever got into the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# What begins markup or an address within a line.
_MARKUP = re.compile(r"[\\`*_\[\]<>#|~&@$!]|:(?=//)|(?<=www)\.")
# Unicode's categories of control and format characters, surrogates, line separators.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


@dataclasses.dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text of one's own, which begins with a word."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table. Columns whose header begins with "#" hold numbers; the sign is dropped.

    Attributes:
        header: A title for each column.
        rows: As many cells each.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image that lies beside the Markdown and inside the HTML.

    Attributes:
        name: Its file's name.
        content: The file.
        description: For those who cannot see it.
    """

    name: str
    content: bytes
    description: str


@dataclasses.dataclass(frozen=True)
class Example:
    """Named texts that belong together."""

    fields: Sequence[tuple[str, str]]


Block = Heading | Paragraph | Table | Picture | Example


def visible(text: str) -> str:
    r"""Spells out what cannot be seen, line ends apart, and shortens long text.

    Control characters, lone surrogates and those that steer the direction of writing
    become "\x1b" or "\u202e".
    """
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}…"
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(map(_visible_character, text))


def _visible_character(char: str) -> str:
    if char == "\n" or unicodedata.category(char) not in _UNSEEN:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """Writes a page as Markdown."""
    parts = [f"# {_plain(title)}", *map(_markdown_block, blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading():
            return f"## {_plain(block.text)}"
        case Paragraph():
            return _plain(block.text)
        case Table():
            rules = ["---:" if name.startswith("#") else "---" for name in block.header]
            header = [_plain(name.removeprefix("#")) for name in block.header]
            rows = [header, rules, *([*map(_plain, row)] for row in block.rows)]
            return "\n".join(f"| {' | '.join(row)} |" for row in rows)
        case Picture():
            return f"![{_plain(block.description)}]({block.name})"
        case Example():
            lines = [f"> **{_plain(k)}** {_plain(text)}" for k, text in block.fields]
            return "  \n".join(lines)


def _plain(text: str) -> str:
    """Escapes text for one line of Markdown."""
    lines = (line.strip() for line in visible(text).split("\n"))
    return _MARKUP.sub(r"\\\g<0>", " ⏎ ".join(line for line in lines if line))


def web_page(title: str, blocks: Sequence[Block]) -> str:
    """Writes a page as one HTML file that needs no other."""
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_escaped(title)}</title>\n<style>{_STYLE}</style></head><body>"
    )
    body = [f"<h1>{_escaped(title)}</h1>", *map(_html_block, blocks)]
    return "\n".join([head, *body, "</body></html>\n"])


def _html_block(block: Block) -> str:
    match block:
        case Heading():
            return f"<h2>{_escaped(block.text)}</h2>"
        case Paragraph():
            return f"<p>{_escaped(block.text)}</p>"
        case Table():
            return _html_table(block)
        case Picture():
            data = base64.b64encode(block.content).decode()
            source = f"data:image/png;base64,{data}"
            return f'<p><img alt="{_escaped(block.description)}" src="{source}"></p>'
        case Example():
            pairs = [
                f"<dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd>"
                for name, text in block.fields
            ]
            return f"<dl>{''.join(pairs)}</dl>"


def _html_table(table: Table) -> str:
    kinds = [' class="number"' if name[:1] == "#" else "" for name in table.header]

    def row(tag: str, cells: Sequence[str]) -> str:
        made = [
            f"<{tag}{kind}>{_escaped(cell)}</{tag}>"
            for kind, cell in zip(kinds, cells, strict=True)
        ]
        return f"<tr>{''.join(made)}</tr>"

    header = row("th", [name.removeprefix("#") for name in table.header])
    return "\n".join(
        ["<table>", header, *(row("td", r) for r in table.rows), "</table>"]
    )


def _escaped(text: str) -> str:
    return html.escape(visible(text))
