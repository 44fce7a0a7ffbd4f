"""The base class of reports: JSON values, a page, and the files of both."""

import abc
import hashlib
import heapq
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dsbs_jax import files
from dsbs_jax.reports import page
from dsbs_jax.reports.page import Block, Column, Heading, Table, TextFields

JSON = "report.json"
TEXT = "report.txt"
HTML = "report.html"
# Wrong rows and right rows that a report shows.
SHOWN_EXAMPLES = 5

# Named texts of a row, such as its input and rationales.
Texts = Mapping[str, str]


class Report(abc.ABC):
    """Base class of reports on a student's answers."""

    title = "Evaluation"

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; proportions and probabilities are 0 to 1."""

    @abc.abstractmethod
    def blocks(self) -> list[Block]:
        """Returns the contents of the page."""

    @abc.abstractmethod
    def headline(self) -> str:
        """Returns the most important figures in one or two sentences."""

    def to_text(self) -> str:
        """Returns the report as text with tables."""
        return page.as_text(self.title, self.blocks())

    def write(
        self, folder: str | os.PathLike[str], facts: Mapping[str, object] | None = None
    ) -> None:
        """Writes `report.json`, `report.txt` and `report.html`.

        The page needs no other file. Existing files are replaced.

        Args:
            folder: The folder; it is created if it does not exist.
            facts: Facts about student and data by name, such as the method and the
                data's fingerprint.

        Raises:
            OSError: A file cannot be written.
        """
        folder, facts = pathlib.Path(folder), dict(facts or {})
        values = {**self.to_json(), "facts": {k: str(v) for k, v in facts.items()}}
        blocks = self.blocks()
        if facts:
            columns = [Column("field"), Column("value")]
            rows = [[name, str(value)] for name, value in facts.items()]
            blocks += [Heading("Student and data"), Table(columns, rows)]
        files.write_json(folder / JSON, values)
        files.write(folder / TEXT, page.as_text(self.title, blocks))
        files.write(folder / HTML, page.as_html(self.title, blocks))


def choose(
    rows: Iterable[int], confidences: Sequence[float] | None, seed: str
) -> list[int]:
    """Chooses the few rows that a report shows.

    Args:
        rows: Indices of the rows to choose from.
        confidences: Confidence of every row, in the order of the indices. The rows with
            the highest confidence are chosen. None draws rows at random.
        seed: Decides between rows with the same confidence, by a hash of the seed and
            the index. The same arguments choose the same rows.
    """

    def key(row: int) -> tuple[float, bytes]:
        digest = hashlib.sha256(f"{seed} {row}".encode()).digest()
        return -confidences[row] if confidences is not None else 0.0, digest

    return heapq.nsmallest(SHOWN_EXAMPLES, rows, key=key)


def example_blocks(examples: Mapping[str, Sequence[Texts]]) -> list[Block]:
    """Returns a heading and the examples for each title with examples."""
    blocks: list[Block] = []
    for title, rows in examples.items():
        if rows:
            blocks.append(Heading(title))
            blocks += [TextFields(list(row.items())) for row in rows]
    return blocks
