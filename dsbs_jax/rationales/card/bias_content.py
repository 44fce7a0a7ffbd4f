"""The sections of a quality card on the teacher's bias."""

from collections.abc import Mapping

from dsbs_jax.rationales.bias import Bias, LengthGroup, Swaps
from dsbs_jax.rationales.card.content import short
from dsbs_jax.reports import p_values, tables
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table


def sections(bias: Bias) -> list[Block]:
    """Returns the sections; those without figures are left out."""
    return [
        *_skew(bias),
        *tables.subgroups(bias.groups, "Teacher accuracy by group"),
        *_lengths(bias),
        *_swaps(bias.swaps),
    ]


def _skew(bias: Bias) -> list[Block]:
    if bias.skew is None:
        return []
    note = (
        "Share of each label among the human labels and among the teacher's labels of "
        "the same rows, and the difference in percentage points. "
        f"{tables.homogeneity(bias.skew)}"
    )
    table = tables.skew(bias.skew, "human label", "teacher label")
    return [Heading("Label skew of the teacher"), Paragraph(note), table]


def _lengths(bias: Bias) -> list[Block]:
    blocks: list[Block] = []
    if bias.accuracy_lengths:
        blocks.append(_length_table("teacher label", bias.accuracy_lengths))
    if bias.length_p_value is not None:
        text = (
            "Mann–Whitney test that right and wrong rows have rationales of the same "
            f"length: {p_values.statement(bias.length_p_value)}."
        )
        blocks.append(Paragraph(text))
    if len(bias.label_lengths) > 1:
        blocks.append(_length_table("teacher label", bias.label_lengths))
    return [Heading("Lengths by correctness and label"), *blocks] if blocks else []


def _length_table(title: str, groups: Mapping[str, LengthGroup]) -> Table:
    titles = ["rows", "median words", "longer than the median of all", "95 % interval"]
    rows: list[Row] = [
        [
            short(name),
            group.longer.total,
            f"{group.median:g}",
            group.longer.percent,
            group.longer.percent_interval,
        ]
        for name, group in groups.items()
    ]
    return Table([Column(title), *(Column(t, numeric=True) for t in titles)], rows)


def _swaps(swaps: Swaps | None) -> list[Block]:
    if swaps is None:
        return []
    note = (
        f"The teacher's label changed on {swaps.changed.percent} of the "
        f"{swaps.changed.total:,} inputs with a label before and after the swap of "
        f"terms (95 % interval {swaps.changed.percent_interval}). A teacher that "
        "samples also changes labels without a swap."
    )
    blocks: list[Block] = [Heading("Swapped terms"), Paragraph(note)]
    if not swaps.changes:
        return blocks
    columns = [Column("label before"), Column("label after")]
    rows: list[Row] = [
        [short(old), short(new), count] for (old, new), count in swaps.changes.items()
    ]
    return [*blocks, Table([*columns, Column("inputs", numeric=True)], rows)]
