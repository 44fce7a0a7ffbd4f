"""The section of a quality card on the verdicts of a judge."""

from dsbs_jax.counts import counted
from dsbs_jax.rationales.verdicts import JudgeFigures
from dsbs_jax.reports import tables
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table
from dsbs_jax.reports.proportion import NO_VALUE

_NOTE = (
    "A judge was asked whether the rationale of each row supports its label. A row "
    "whose verdict cannot be read is kept."
)
_AGREEMENT = (
    "The judge gets the teacher's label. With GIVE_ANSWERS this can be the human "
    "label; these rows do not count. Agreement is the share of the rows that are "
    "accepted with a right teacher label or rejected with a wrong one. Rows without a "
    "human label or a readable verdict do not count either."
)


def sections(figures: JudgeFigures | None) -> list[Block]:
    """Returns the section; nothing without a judge."""
    if figures is None:
        return []
    shares = {
        "rejected": figures.rejected,
        "verdict cannot be read": figures.unreadable,
    }
    blocks: list[Block] = [
        Heading("Judge"),
        Paragraph(_NOTE),
        tables.shares("judged rows", shares),
    ]
    if figures.not_judged:
        rows = counted(figures.not_judged, "kept row was", "kept rows were")
        blocks.append(Paragraph(f"{rows} not judged."))
    if not figures.agreement.total:
        return blocks
    agreement = {
        "right, of the accepted rows": figures.accepted_right,
        "right, of the rejected rows": figures.rejected_right,
        "agreement of verdict and correctness": figures.agreement,
    }
    return [
        *blocks,
        Paragraph(_AGREEMENT),
        tables.shares("rows with a human label", agreement),
        _kappa(figures),
    ]


def _kappa(figures: JudgeFigures) -> Block:
    kappa = figures.kappa
    if kappa is None:
        return Paragraph(
            "Cohen's kappa is not known, because the rows have only one verdict, or "
            "are all right or all wrong."
        )
    interval = NO_VALUE
    if kappa.interval:
        low, high = kappa.interval
        interval = f"{low:.2f} to {high:.2f}"
    columns = [
        Column("agreement beyond chance"),
        Column("value", numeric=True),
        Column("95 % interval", numeric=True),
    ]
    row: Row = ["Cohen's kappa", f"{kappa.value:.2f}", interval]
    return Table(columns, [row])
