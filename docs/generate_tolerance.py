"""Writes docs/tolerance.md from the tables in tests/tolerance.

python docs/generate_tolerance.py            # writes the page
python docs/generate_tolerance.py --stdout   # prints it
"""

import html
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/tolerance.md"
sys.path.insert(0, str(ROOT / "tests"))

import tolerance  # noqa: E402
from tolerance import REPLIES, SETTINGS_AND_FILES, Section  # noqa: E402

INTRODUCTION = """\
# What is tolerated, what is refused

<!-- Written by docs/generate_tolerance.py; do not edit. -->

Language models, servers and users write the same thing in many forms. This page lists
forms that are read, and forms that are refused with a reason. Every row is a test. The
text below a heading describes the two columns of the tables.
"""

PARTS = {
    REPLIES: """\
New extractions are read by these rules. The released completions are read by the
paper's parsers, so that the published figures stay the same. A refused row is in
`filtered.jsonl` with its reason, and the printout, `report.json` and the card count
the reasons. If these rules would change the labels of a prompt file's exemplars, such
as labels in quotes, the paper's parser reads the replies to that prompt too.""",
    SETTINGS_AND_FILES: """\
A command that refuses its input prints one line, `error:` and the reason, and exits
with status 2. The tables give the part of the line that names the reason.""",
}


def cell(text: str) -> str:
    """Formats a text as code for a table cell, with its control characters escaped."""
    shown = _escape_markup("".join(c if c.isprintable() else _escaped(c) for c in text))
    return f"<code>{shown}</code>" if text else "(empty)"


def _escape_markup(text: str) -> str:
    """Escapes the characters that Markdown and tables read."""
    shown = html.escape(text, quote=False).replace("|", "&#124;")
    for character in "\\`*_[]":
        shown = shown.replace(character, f"&#{ord(character)};")
    return shown


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def table(section: Section) -> list[str]:
    """Makes the table of a section: rows that are read, then refused ones."""
    first, second = section.columns
    read = [f"| {cell(text)} | {cell(value)} |" for text, value in section.accepted]
    refused = [
        f"| {cell(text)} | {_escape_markup(reason)} |"
        for text, reason in section.refused
    ]
    lines = [f"| {first} | {second} |", "| --- | --- |", *read] if read else []
    if refused:
        gap = [""] if read else []
        lines += [*gap, "Refused:", "", f"| {first} | reason |", "| --- | --- |"]
    return lines + refused


def page() -> str:
    """Makes the page."""
    lines = []
    for part, text in PARTS.items():
        lines += ["", f"## {part}", "", text]
        for section in tolerance.sections():
            if section.part == part:
                lines += ["", f"### {section.title}", "", section.text, ""]
                lines += table(section)
    return INTRODUCTION + "\n".join(lines) + "\n"


def main() -> None:
    """Writes or prints the page."""
    if "--stdout" in sys.argv[1:]:
        sys.stdout.buffer.write(page().encode())
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
