"""The paper's published numbers, which are in one file with their source.

`published.json` has the values that the paper prints in its tables, and the sentences
about its figures. It has no coordinates that were read off a plot. PINTO's line in
Figures 6 and 7 is a plotted value, so the file does not have it.
"""

import dataclasses
import functools
import pathlib

from dsbs_jax import json_input
from dsbs_jax.data.methods import METHODS, Method
from dsbs_jax.experiments.paper.cell import Cell


@dataclasses.dataclass(frozen=True)
class Score:
    """An accuracy in one of the paper's tables.

    Attributes:
        where: The table.
        dataset: Name of the dataset.
        size: Size of the student.
        method: The training method.
        teacher: Name of the teacher, or "".
        accuracy: Accuracy on test, in percent.
    """

    where: str
    dataset: str
    size: str
    method: Method
    teacher: str
    accuracy: float

    @property
    def cell(self) -> Cell:
        """The cell with all training rows and the paper's alpha."""
        alpha = METHODS[self.method].alpha
        return Cell(
            self.dataset, self.size, self.method, self.teacher, fraction=1, alpha=alpha
        )


@dataclasses.dataclass(frozen=True)
class Rerun:
    """Accuracies of a method that others measured with the released code."""

    source: str
    method: str
    teacher: str
    size: str
    accuracy: dict[str, float]


@dataclasses.dataclass(frozen=True)
class TeacherLine:
    """Accuracies of the teacher itself on test, in percent, by dataset."""

    source: str
    accuracy: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of the paper about a figure."""

    where: str
    dataset: str
    text: str


@dataclasses.dataclass(frozen=True)
class Published:
    """The content of `published.json`."""

    paper: str
    scores: tuple[Score, ...]
    reruns: Rerun
    teacher: TeacherLine
    claims: tuple[Claim, ...]

    def score_of(self, cell: Cell) -> float | None:
        """Returns the published accuracy of a cell in percent, or None."""
        found = [score.accuracy for score in self.scores if score.cell == cell]
        return found[0] if found else None


@functools.cache
def load() -> Published:
    """Reads the file of the package."""
    path = pathlib.Path(__file__).with_name("published.json")
    return json_input.parse(path.read_bytes(), Published, unique=True)
