"""Tables of inputs that are tolerated or refused, with what is read from them.

The tests of the modules check each row, and docs/generate_tolerance.py makes the page
docs/tolerance.md of the same tables. A module here holds one `Section` named `SECTION`.
"""

import dataclasses
import importlib
import pathlib
import pkgutil

REPLIES = "Replies of a teacher"
SETTINGS_AND_FILES = "Settings, files and runs"


class Refused(str):
    """The reason for which an input is refused."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A table of the page.

    Attributes:
        order: Place on the page.
        title: Heading.
        text: What the section is about.
        columns: Headings of the two columns.
        rows: Pairs of an input and what is read from it: a text, or `Refused`.
        part: The part of the page, `REPLIES` or `SETTINGS_AND_FILES`.
    """

    order: int
    title: str
    text: str
    columns: tuple[str, str]
    rows: tuple[tuple[str, str], ...]
    part: str = REPLIES

    @property
    def accepted(self) -> list[tuple[str, str]]:
        """The rows that are read."""
        return [row for row in self.rows if not isinstance(row[1], Refused)]

    @property
    def refused(self) -> list[tuple[str, str]]:
        """The rows that are refused."""
        return [row for row in self.rows if isinstance(row[1], Refused)]


def sections() -> list[Section]:
    """Returns the sections of all modules in this folder, in the page's order."""
    folder = str(pathlib.Path(__file__).parent)
    names = sorted(module.name for module in pkgutil.iter_modules([folder]))
    found = [importlib.import_module(f"{__name__}.{name}").SECTION for name in names]
    return sorted(found, key=lambda section: section.order)
