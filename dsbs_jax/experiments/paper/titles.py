"""Names of methods, teachers and cells in tables and plots."""

from dsbs_jax.data.methods import info_of
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.reports.proportion import NO_VALUE

_TEACHERS = {
    "palm": "PaLM 540B",
    "gpt_neox": "GPT-NeoX 20B",
    "aided": "teacher given the label",
    "teachers": "several teachers",
}


def method(cell: Cell) -> str:
    """Names method and teacher: "step-by-step, PaLM 540B"."""
    teacher = _TEACHERS.get(cell.teacher, cell.teacher)
    return ", ".join([info_of(cell.method).title, *([teacher] if teacher else [])])


def percent(fraction: float) -> str:
    """Formats a proportion of the training rows: "12.5 %", without a line break."""
    return f"{100 * fraction:g}\N{NO-BREAK SPACE}%"


def line(cell: Cell, axis: str) -> str:
    """Names a line of a plot, without what the axis shows."""
    name = method(cell)
    if cell.dataset.endswith("_asdiv"):
        name += ", with ASDiv"
    if axis != "alpha" and not cell.has_default_alpha:
        name += f", alpha {cell.alpha:g}"
    if cell.variant:
        name += f", {cell.variant.replace('_', ' ')}"
    if cell.steps:
        name += f", {cell.steps:,} updates"
    if axis != "fraction" and cell.fraction < 1:
        name += f", {percent(cell.fraction)}"
    return name


def short(cell: Cell) -> str:
    """Names a cell in a comparison, without dataset and size."""
    return line(cell, "")


def number(value: float | None, sign: bool = False) -> str:
    """Formats a percentage with two digits; "–" without a value."""
    if value is None:
        return NO_VALUE
    return f"{value:+.2f}" if sign else f"{value:.2f}"
