"""The sections of a quality card on the texts of the rationales."""

from collections.abc import Mapping

from dsbs_jax.rationales import texts
from dsbs_jax.rationales.texts import Duplicates, NamedLabels, TextFigures
from dsbs_jax.reports import tables
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table
from dsbs_jax.reports.proportion import Proportion


def sections(figures: TextFigures) -> list[Block]:
    """Returns the sections; those without figures are left out."""
    return [
        *_named(figures.named),
        *_copied(figures.copied),
        *_duplicates("Near-duplicate rationales", figures.duplicates, _DUPLICATES),
        *_duplicates("Templates", figures.templates, _TEMPLATES),
    ]


_DUPLICATES = (
    "Kept rationales that are nearly equal to that of another row: their shingles of "
    f"{texts.SHINGLE_WORDS} words have a Jaccard similarity of at least "
    f"{texts.SIMILARITY}. At most {texts.SEARCHED_ROWS:,} rows are searched."
)
_NOT_SEARCHED = (
    "Not searched, because the package datasketch is not installed; the extra "
    "“duplicates” installs it."
)
_TEMPLATES = (
    "The same after numbers and words of the input are replaced by "
    f"“{texts.BLANK}”. A student learns a template by heart."
)


def _named(named: NamedLabels | None) -> list[Block]:
    if named is None:
        return []
    note = (
        "Labels that kept rationales name: the choices of the input, or labels of the "
        "label set, as complete words. A rationale that names only other labels, or "
        "another label last, can contradict the teacher label."
    )
    rows = {
        "only the teacher label": named.agree,
        "the teacher label and others": named.several,
        "only other labels": named.disagree,
        "no label": named.silent,
        "the teacher label last, of those with a label": named.last,
    }
    return [
        Heading("Agreement of label and rationale"),
        Paragraph(note),
        tables.shares("rationales", rows),
    ]


def _copied(copied: Mapping[float, Proportion]) -> list[Block]:
    if not any(share.total for share in copied.values()):
        return []
    note = (
        f"Kept rationales by the share of their shingles of {texts.SHINGLE_WORDS} "
        "words that also occur in the input. A rationale that repeats the input "
        "explains little."
    )
    rows = {f"{least:.0%} or more": share for least, share in copied.items()}
    return [Heading("Copied input"), Paragraph(note), tables.shares("rationales", rows)]


def _duplicates(title: str, figures: Duplicates | None, note: str) -> list[Block]:
    if figures is None:
        return [Heading(title), Paragraph(_NOT_SEARCHED)]
    if not figures.repeated.total:
        return []
    rows = {"with a near-duplicate": figures.repeated}
    blocks: list[Block] = [
        Heading(title),
        Paragraph(note),
        tables.shares("rationales", rows),
    ]
    if not figures.groups:
        return blocks
    groups: list[Row] = [[group.text, group.rows] for group in figures.groups]
    columns = [Column("largest groups"), Column("rows", numeric=True)]
    return [*blocks, Table(columns, groups)]
