"""The tables of reports and cards."""

from collections.abc import Mapping, Sequence

from dsbs_jax.reports import p_values
from dsbs_jax.reports.calibration import Calibration
from dsbs_jax.reports.class_scores import ClassScore, Confusion
from dsbs_jax.reports.label_skew import LabelSkew
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table
from dsbs_jax.reports.paired import PairedComparison
from dsbs_jax.reports.proportion import NO_VALUE, Proportion
from dsbs_jax.reports.subgroups import Subgroups

# With more classes than this, the page lists the most frequent mistakes only.
_MAX_TABLE = 12
_MISTAKES = 20


def _number(name: str) -> Column:
    return Column(name, numeric=True)


# Columns of a table of proportions.
SHARE_COLUMNS = (
    Column("metric"),
    *map(_number, ("rows", "of", "value", "95 % interval, %")),
)


def shares(title: str, rows: Mapping[str, Proportion]) -> Table:
    """Returns a table of proportions.

    Args:
        title: The title of the names.
        rows: The proportions by name.
    """
    cells: list[Row] = [
        [name, share.count, share.total, share.percent, share.percent_interval]
        for name, share in rows.items()
    ]
    return Table((Column(title), *SHARE_COLUMNS[1:]), cells)


def classes(scores: Sequence[ClassScore]) -> list[Block]:
    """Returns the section with the scores of each class."""

    def value(share: Proportion) -> str:
        return f"{share.value:.3f}" if share.total else NO_VALUE

    rows: list[Row] = [
        [s.label, s.support, value(s.precision), value(s.recall), f"{s.f1:.3f}"]
        for s in scores
    ]
    titles = ("rows", "precision", "recall", "F1")
    note = "Precision has no value for a class that is never predicted, and recall for "
    note += "a class without rows."
    columns = [Column("class"), *map(_number, titles)]
    return [Heading("Classes"), Table(columns, rows), Paragraph(note)]


def confusion(table: Confusion) -> list[Block]:
    """Returns the section with the confusion matrix, or its largest counts."""
    heading = Heading("Confusion of labels")
    if len(table.rows) <= _MAX_TABLE:
        columns = [Column("label ↓ predicted →"), *map(_number, table.columns)]
        rows: list[Row] = [
            [name, *counts]
            for name, counts in zip(table.rows, table.counts, strict=True)
        ]
        return [heading, Table(columns, rows)]
    columns = [Column("label"), Column("predicted label"), _number("rows")]
    mistakes = table.mistakes()
    note = f"The most frequent of {len(mistakes):,} kinds of mistakes:"
    return [heading, Paragraph(note), Table(columns, mistakes[:_MISTAKES])]


def calibration(figures: Calibration | None) -> list[Block]:
    """Returns the section with the reliability bins; empty without figures."""
    if figures is None:
        return []
    note = (
        "A row's confidence is the probability of its best label. The expected "
        "calibration error is the mean difference between accuracy and confidence over "
        f"{len(figures.bins)} bins of equal width, weighted by rows (Guo et al. 2017)."
    )
    rows: list[Row] = [
        [
            f"{one.low:.2f} to {one.high:.2f}",
            one.correct.total,
            f"{one.confidence:.3f}",
            f"{one.correct.value:.3f}",
        ]
        for one in figures.bins
        if one.correct.total
    ]
    titles = ("rows", "mean confidence", "accuracy")
    table = Table([Column("confidence"), *map(_number, titles)], rows)
    return [Heading("Calibration"), Paragraph(note), table]


def skew(figures: LabelSkew, targets: str, answers: str) -> Table:
    """Returns the table of a label skew.

    Args:
        figures: The shares of the labels.
        targets: What the targets are, such as "human label".
        answers: What the answers are, such as "teacher label".
    """
    titles = (f"{targets}, %", f"{answers}, %", "difference", "95 % interval")
    rows: list[Row] = [
        [
            name,
            f"{100 * pair.first.value:.2f}",
            f"{100 * pair.second.value:.2f}",
            *points(pair),
        ]
        for name, pair in figures.classes.items()
    ]
    return Table([Column("class"), *map(_number, titles)], rows)


def points(pair: PairedComparison) -> tuple[str, str]:
    """Returns a difference and its interval in percentage points."""
    low, high = pair.interval
    return f"{100 * pair.difference:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}"


def homogeneity(figures: LabelSkew) -> str:
    """Returns the result of the Stuart–Maxwell test as a sentence."""
    p_value = p_values.statement(figures.p_value)
    return f"Stuart–Maxwell test that all shares are equal: {p_value}."


def subgroups(groups: Mapping[str, Subgroups], title: str) -> list[Block]:
    """Returns the section with the accuracy of each group; empty without groups.

    Args:
        groups: The accuracy by value, for each column.
        title: The title of the section.
    """
    blocks: list[Block] = []
    for column, figures in groups.items():
        rows: list[Row] = [
            [name, share.count, share.total, share.percent, share.percent_interval]
            for name, share in figures.accuracy.items()
        ]
        titles = ("right", "rows", "accuracy", "95 % interval")
        text = (
            f"Chi-squared test that the accuracy is the same for all values of "
            f"{column}: {p_values.statement(figures.p_value)}."
        )
        table = Table([Column(column), *map(_number, titles)], rows)
        blocks += [table, Paragraph(text)]
    return [Heading(title), *blocks] if blocks else []
