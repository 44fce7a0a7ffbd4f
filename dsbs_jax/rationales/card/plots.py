"""The plots of a quality card, as one PNG image."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dsbs_jax.rationales.card import page
from dsbs_jax.rationales.quality import Quality

if TYPE_CHECKING:  # slow to import, so only imported where something is drawn
    from matplotlib.axes import Axes

_BLUE, _GREY, _RED, _GOLD, _BLACK = (
    "#1f6feb",
    "#c9d1d9",
    "#cf222e",
    "#bf8700",
    "#24292f",
)
_MAX_NAME = 22  # characters of a label on an axis


def draw(quality: Quality) -> bytes:
    """Draws one panel for each kind of figure that exists, two panels in a row.

    Returns:
        The content of a PNG file. The same figures give the same bytes.
    """
    # Not pyplot: it would choose a window system and keep the figure in memory.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = _panels(quality)
    rows = math.ceil(len(panels) / 2)
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(11, 3.4 * rows), dpi=110, layout=layout)
    grid = figure.add_gridspec(rows, 2)
    # With an odd number of panels, the first one takes a complete row.
    cells = [grid[row, column] for row in range(rows) for column in range(2)]
    if len(panels) % 2:
        cells = [grid[0, :], *cells[2:]]
    for cell, panel in zip(cells, panels, strict=True):
        axes = figure.add_subplot(cell)
        axes.spines[["top", "right"]].set_visible(False)
        panel(axes, quality)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label may be in a script that the font does not have; it shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        # Without the version of matplotlib, so that the file does not depend on it.
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panels(quality: Quality) -> list[Callable[[Axes, Quality], None]]:
    panels: list[Callable[[Axes, Quality], None]] = [_stages]
    if quality.accuracy.total:
        panels.append(_accuracy)
    if quality.classes.columns:
        panels.append(_confusion)
    if "rationale" in quality.lengths:
        panels.append(_rationale_lengths)
    if quality.leakage[math.inf].total:
        panels.append(_leakage)
    if quality.margins:
        panels.append(_margins)
    return panels


def _axis_name(text: str) -> str:
    r"""Shortens a label to one line; "$" is escaped because it begins a formula."""
    text = " ".join(page.visible(text).split()).replace("$", r"\$")
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"


def _bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], colors: Sequence[str]
) -> None:
    places = range(len(names))
    axes.barh(places, values, color=colors, height=0.66)
    axes.set_yticks(places, names)
    axes.invert_yaxis()


def _stages(axes: Axes, quality: Quality) -> None:
    names = [name for name, _ in quality.stages]
    counts = [count for _, count in quality.stages]
    colors = [_GREY] * (len(counts) - 1) + [_BLUE]
    _bars(axes, names, counts, colors)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count:,}", va="center", fontsize=9)
    axes.set_xlim(0, max(1, *counts) * 1.18)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Rows at each stage")


def _accuracy(axes: Axes, quality: Quality) -> None:
    scores = quality.classes.scores
    names = [f"{_axis_name(s.name)}  ({s.correct.total:,})" for s in scores]
    values = [100 * s.correct.value for s in scores]
    _bars(axes, names, values, [_BLUE] * len(scores))
    intervals = [s.correct.interval for s in scores]
    # Lengths of the error bars. Rounding can put a value just outside its interval.
    below = [max(0, v - 100 * i[0]) for v, i in zip(values, intervals, strict=True)]
    above = [max(0, 100 * i[1] - v) for v, i in zip(values, intervals, strict=True)]
    axes.errorbar(
        values,
        range(len(scores)),
        xerr=[below, above],
        fmt="none",
        ecolor=_BLACK,
        elinewidth=1,
        capsize=3,
    )
    overall = 100 * quality.accuracy.value
    axes.axvline(overall, color=_GOLD, ls="--", lw=1.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%, with 95 % intervals")
    axes.set_title(f"Teacher accuracy (dashed line: all rows, {overall:.2f} %)")


def _confusion(axes: Axes, quality: Quality) -> None:
    """Draws counts; the color is the share of the row, so rare classes are visible."""
    scores, columns = quality.classes.scores, quality.classes.columns
    counts = [[score.answers.get(column, 0) for column in columns] for score in scores]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            color = "white" if shares[y][x] > 0.55 else _BLACK
            axes.text(x, y, f"{count:,}", ha="center", va="center", color=color, size=9)
    names = [_axis_name(column) for column in columns]
    slant: dict[str, Any] = {}
    if max(map(len, names)) > 8:
        slant = {"rotation": 30, "ha": "right"}
    axes.set_xticks(range(len(names)), names, **slant)
    axes.set_yticks(range(len(counts)), [_axis_name(score.name) for score in scores])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("teacher label")
    axes.set_ylabel("human label")
    axes.set_title("Confusion of labels")


def _rationale_lengths(axes: Axes, quality: Quality) -> None:
    texts = quality.lengths["rationale"]
    longest = texts.lengths[-1]
    width = max(1, math.ceil(longest / 40))
    edges = [width * n for n in range(longest // width + 2)]
    axes.hist(texts.lengths, bins=edges, color=_BLUE)
    median = texts.quantile(0.5)
    axes.axvline(median, color=_GOLD, ls="--", lw=1.2, label=f"median {median}")
    limit = f"student's limit: {texts.limit} tokens"
    # A limit far to the right would squeeze the histogram, so only the legend names it.
    if texts.limit <= 1.6 * longest:
        axes.axvline(texts.limit, color=_RED, lw=1.4, label=limit)
    else:
        axes.plot([], [], color=_RED, lw=1.4, label=f"{limit} (further right)")
    axes.set_xlabel(f"{quality.unit} of a rationale")
    axes.set_ylabel("rows")
    axes.set_title("Lengths of kept rationales")
    axes.legend(
        frameon=False,
        fontsize=9,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=2,
    )


def _leakage(axes: Axes, quality: Quality) -> None:
    names = ["anywhere" if n == math.inf else f"{n}" for n in quality.leakage]
    values = [100 * share.value for share in quality.leakage.values()]
    bars = axes.bar(names, values, color=[_BLUE] * (len(names) - 1) + [_GREY])
    axes.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    axes.set_ylim(0, max(5.0, 1.15 * max(values)))
    axes.set_xlabel("number of first words of the rationale")
    axes.set_ylabel("kept rows, %")
    axes.set_title("Rationales that state the teacher label")


def _margins(axes: Axes, quality: Quality) -> None:
    middles = [one.low + 0.05 for one in quality.margins]
    axes.bar(middles, [one.inputs for one in quality.margins], 0.09, color=_GREY)
    axes.set_xlabel("vote margin")
    axes.set_ylabel("inputs")
    axes.set_xlim(0, 1)
    axes.set_title("Vote margins")
    points = [
        (middle, 100 * one.correct.value)
        for middle, one in zip(middles, quality.margins, strict=True)
        if one.correct.total
    ]
    if not points:
        return
    right_axes = axes.twinx()
    right_axes.spines["top"].set_visible(False)
    right_axes.plot(*zip(*points, strict=True), color=_BLUE, marker="o")
    right_axes.set_ylim(0, 105)
    right_axes.set_ylabel("teacher accuracy, %", color=_BLUE)
