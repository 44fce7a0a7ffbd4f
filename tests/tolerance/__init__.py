"""Tables of inputs that are tolerated or refused, with what is read from them.

The tests of the modules check each row, and docs/generate_tolerance.py makes the page
docs/tolerance.md of the same tables. A module here holds one `Section` named `SECTION`.
"""

import dataclasses
import importlib
import pathlib
import pkgutil


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
    """

    order: int
    title: str
    text: str
    columns: tuple[str, str]
    rows: tuple[tuple[str, str], ...]


def sections() -> list[Section]:
    """Returns the sections of all modules in this folder, in the page's order."""
    folder = str(pathlib.Path(__file__).parent)
    names = sorted(module.name for module in pkgutil.iter_modules([folder]))
    found = [importlib.import_module(f"{__name__}.{name}").SECTION for name in names]
    return sorted(found, key=lambda section: section.order)
