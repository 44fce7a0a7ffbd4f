"""Plots of a grid: accuracy by proportion of the rows, by size or by alpha."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from dsbs_jax.experiments.paper import titles
from dsbs_jax.experiments.paper.results import CellResult
from dsbs_jax.reports import figures
from dsbs_jax.reports.figures import BLACK, BLUE, GOLD, GREY, RED
from dsbs_jax.student import operations, sizes

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes

Axis = Literal["fraction", "size", "alpha"]
_COLORS = (GREY, BLUE, RED, BLACK)
_LABELS = {
    "fraction": "training rows, %",
    "size": "parameters of the student, millions",
    "alpha": "alpha, weight of the label loss",
}


def draw(
    results: Sequence[CellResult],
    axis: Axis,
    selection: str,
    kind: Literal["png", "svg"],
    rows: int = operations.PUBLISHED_ROWS,
) -> bytes:
    """Draws one panel for each test set, and for each size unless it is the axis.

    Args:
        results: The results.
        axis: What the x axis shows.
        selection: Which checkpoint is scored.
        kind: Format of the file.
        rows: Rows of the students' embeddings, for the number of parameters.
    """
    panels: dict[tuple[str, ...], list[CellResult]] = {}
    for result in results:
        # ASDiv adds rows to SVAMP, whose test rows are scored.
        dataset = result.cell.dataset.removesuffix("_asdiv")
        key = (dataset,) if axis == "size" else (dataset, result.cell.size)
        panels.setdefault(key, []).append(result)
    place = functools.partial(_place, axis=axis, rows=rows)
    drawn = [_panel(", ".join(k), v, axis, selection, place) for k, v in panels.items()]
    return figures.render(drawn, kind=kind)


def _panel(
    title: str,
    results: Sequence[CellResult],
    axis: Axis,
    selection: str,
    place: Callable[[CellResult], float],
) -> figures.Panel:
    lines: dict[str, list[CellResult]] = {}
    for result in results:
        lines.setdefault(titles.line(result.cell, axis), []).append(result)

    def panel(axes: Axes) -> None:
        for number, (name, points) in enumerate(lines.items()):
            points.sort(key=place)
            axes.errorbar(
                [place(point) for point in points],
                [point.mean(selection) for point in points],
                yerr=[point.error(selection) or 0.0 for point in points],
                color=_COLORS[number % len(_COLORS)],
                marker="o",
                capsize=3,
                label=name,
            )
        teachers = {r.teacher for r in results if r.teacher is not None}
        for teacher in sorted(teachers):
            label = "teacher (few-shot CoT)"
            axes.axhline(teacher, color=GOLD, ls="--", lw=1.2, label=label)
        if axis == "size":
            axes.set_xscale("log")
            axes.minorticks_off()
        places = sorted({place(result) for result in results})
        axes.set_xticks(places, [f"{x:,.3g}" for x in places])
        axes.set_xlabel(_LABELS[axis])
        axes.set_ylabel("test accuracy, %")
        axes.set_title(title)
        axes.legend(frameon=False, fontsize=8)

    return panel


def _place(result: CellResult, axis: Axis, rows: int) -> float:
    """Returns where a result is on the x axis."""
    cell = result.cell
    if axis == "fraction":
        return 100 * cell.fraction
    if axis == "alpha":
        return cell.alpha
    return operations.parameter_count(sizes.size_of(cell.size), rows) / 1e6
