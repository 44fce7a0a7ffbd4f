"""The card of a trained student: one page with its curves, metrics and examples."""

import dataclasses
from collections.abc import Mapping, Sequence

from dsbs_jax.reports import curve_plots, page, report
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.curve_plots import Curves
from dsbs_jax.reports.inheritance import Inheritance
from dsbs_jax.reports.open_answers import OpenReport
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Picture, Row, Table
from dsbs_jax.reports.saved_report import BestCheckpoint

HTML = "card.html"
_CURVES = "Losses and validation scores by step"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentCard:
    """The content of a student's card. All texts are untrusted.

    Attributes:
        title: The title of the page.
        report: The report on the test rows, with examples; None without labeled rows.
        best: The best checkpoint and its scores, if training has ended.
        curves: The curves of training.
        facts: Facts about student and data, by name.
        settings: The settings of the run, by macro name.
        inheritance: The labels of teacher and student on the test rows; None without a
            closed label set or without teacher labels.
    """

    title: str
    report: ClassificationReport | OpenReport | None = None
    best: BestCheckpoint | None = None
    curves: Curves = Curves()
    facts: Mapping[str, str | int] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inheritance: Inheritance | None = None

    def headline(self) -> str:
        """Returns the most important figure in a sentence or two."""
        if self.report is not None:
            return self.report.headline()
        scores = self._scores()
        if not scores:
            return "The student has not been scored."
        split, task, name, value = scores[-1]
        return f"The {name} of {task} on {split} is {value} %."

    def as_html(self) -> str:
        """Renders the page, which loads no other file and runs no script."""
        return page.as_html(self.title, self.blocks())

    def blocks(self) -> list[Block]:
        """Returns the contents of the page."""
        blocks: list[Block] = []
        if self.report is None:
            blocks += [Paragraph(self.headline())]
        else:
            blocks += dataclasses.replace(self.report, examples={}).blocks()
        if self.inheritance is not None:
            blocks += self.inheritance.blocks()
        blocks += self._training()
        if self.report is not None:
            blocks += report.example_blocks(self.report.examples)
        blocks += _named("Student and data", "fact", self.facts)
        blocks += _named("Settings of the run", "setting", self.settings)
        return blocks

    def _training(self) -> list[Block]:
        """Returns the section with the curves and the scores of training."""
        rows = self._scores()
        blocks: list[Block] = []
        best_step = None if self.best is None else self.best.step
        picture = curve_plots.draw(self.curves, best_step)
        if picture is not None:
            blocks += [Picture("curves.png", picture, _CURVES)]
        if rows:
            note = "Scores of the best checkpoint, which training has computed with "
            note += "free answers:"
            columns = [Column("split"), Column("task"), Column("metric")]
            table = Table([*columns, Column("value, %", numeric=True)], rows)
            blocks += [Paragraph(note), table]
        return [Heading("Training"), *blocks] if blocks else []

    def _scores(self) -> list[Row]:
        """Returns split, task, metric and value of each score of training."""
        if self.best is None:
            return []
        splits = {"validation": self.best.validation, "test": self.best.test}
        return [
            [split, task, name, f"{value:.2f}"]
            for split, tasks in splits.items()
            for task, metrics in tasks.items()
            for name, value in metrics.items()
        ]


def _named(title: str, column: str, values: Mapping[str, str | int]) -> list[Block]:
    """Returns a section with a table of named values; empty without values."""
    rows: Sequence[Row] = [[name, value] for name, value in values.items()]
    if not rows:
        return []
    return [Heading(title), Table([Column(column), Column("value")], rows)]
