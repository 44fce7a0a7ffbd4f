"""The plots of a quality card, as one PNG."""

import io
import math
import warnings
from collections.abc import Callable
from typing import Any

from dsbs_jax.rationales.card import documents
from dsbs_jax.rationales.quality import Quality

_BLUE, _GREY, _RED, _GOLD = "#1f6feb", "#c9d1d9", "#cf222e", "#bf8700"
_NAME_LENGTH = 22  # characters of a label shown

Axes = Any  # matplotlib is only imported when something is drawn


def draw(quality: Quality) -> bytes:
    """Draws the panels that there are numbers for, two in a row; returns a PNG.

    It goes round pyplot, which would choose a window system and keep what was drawn.
    """
    from matplotlib.figure import Figure

    panels: list[Callable[[Axes, Quality], None]] = [_stages]
    if quality.agreement.total:
        panels.append(_accuracy)
    if quality.columns:
        panels.append(_confusion)
    if "rationale" in quality.lengths:
        panels.append(_rationales)
    if quality.leakage[math.inf].total:
        panels.append(_leakage)
    if quality.margins:
        panels.append(_margins)
    rows = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(11, 3.4 * rows), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    grid = figure.add_gridspec(rows, 2)
    # With an odd number the first has a row to itself.
    odd = len(panels) % 2
    places = [grid[0, :]] * odd + [
        grid[n // 2, n % 2] for n in range(2 * odd, 2 * rows)
    ]
    for place, panel in zip(places, panels, strict=True):
        axes = figure.add_subplot(place)
        axes.spines[["top", "right"]].set_visible(False)
        panel(axes, quality)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label may be in a script that the font lacks; it shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _name(text: str) -> str:
    r"""A label as an axis shows it: short, on one line, "$" no mathematics."""
    text = " ".join(documents.visible(text).split()).replace("$", r"\$")
    return text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 1]}…"


def _bars(axes: Axes, names: list[str], values: list[float], colors: list[str]) -> None:
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
    axes.set_title("What is left at each stage")


def _accuracy(axes: Axes, quality: Quality) -> None:
    classes = quality.classes
    names = [f"{_name(one.name)}  ({one.right.total:,})" for one in classes]
    values = [100 * one.right.value for one in classes]
    _bars(axes, names, values, [_BLUE] * len(classes))
    ends = [one.right.interval for one in classes]
    axes.errorbar(
        values,
        range(len(classes)),
        # The interval holds the value but for rounding.
        xerr=[
            [max(0, v - 100 * low) for v, (low, _) in zip(values, ends, strict=True)],
            [max(0, 100 * high - v) for v, (_, high) in zip(values, ends, strict=True)],
        ],
        fmt="none",
        ecolor="#24292f",
        elinewidth=1,
        capsize=3,
    )
    overall = 100 * quality.agreement.value
    axes.axvline(overall, color=_GOLD, ls="--", lw=1.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%, with 95 % intervals")
    axes.set_title(f"Teacher accuracy (all rows, dashed: {overall:.2f} %)")


def _confusion(axes: Axes, quality: Quality) -> None:
    """Counts, coloured by their share of a row, so that a rare class shows as well."""
    counts = [
        [one.answers.get(column, 0) for column in quality.columns]
        for one in quality.classes
    ]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            color = "white" if shares[y][x] > 0.55 else "#24292f"
            axes.text(x, y, f"{count:,}", ha="center", va="center", color=color, size=9)
    columns = [_name(column) for column in quality.columns]
    slant = {"rotation": 30, "ha": "right"} if max(map(len, columns)) > 8 else {}
    axes.set_xticks(range(len(columns)), columns, **slant)
    axes.set_yticks(range(len(counts)), [_name(one.name) for one in quality.classes])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("teacher")
    axes.set_ylabel("human")
    axes.set_title("Confusion, human labels in rows")


def _rationales(axes: Axes, quality: Quality) -> None:
    measured = quality.lengths["rationale"]
    longest = measured.sizes[-1]
    width = max(1, math.ceil(longest / 40))
    edges = [width * n for n in range(longest // width + 2)]
    axes.hist(measured.sizes, bins=edges, color=_BLUE)
    median = measured.quantile(0.5)
    axes.axvline(median, color=_GOLD, ls="--", lw=1.2, label=f"median {median}")
    limit = f"student's targets: {measured.limit} tokens"
    if measured.limit <= 1.6 * longest:
        axes.axvline(measured.limit, color=_RED, lw=1.4, label=limit)
    else:
        axes.plot([], [], color=_RED, lw=1.4, label=f"{limit}, further right")
    axes.set_xlabel(f"{quality.unit} of a rationale")
    axes.set_ylabel("rows")
    axes.set_title("Length of the kept rationales")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 2}
    axes.legend(frameon=False, fontsize=9, **below)


def _leakage(axes: Axes, quality: Quality) -> None:
    names = ["anywhere" if n == math.inf else f"{n}" for n in quality.leakage]
    values = [100 * share.value for share in quality.leakage.values()]
    bars = axes.bar(names, values, color=[_BLUE] * (len(names) - 1) + [_GREY])
    axes.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    axes.set_ylim(0, max(5.0, 1.15 * max(values)))
    axes.set_xlabel("within the rationale's first words")
    axes.set_ylabel("kept rows, %")
    axes.set_title("Rationales that state the teacher's label")


def _margins(axes: Axes, quality: Quality) -> None:
    middles = [one.low + 0.05 for one in quality.margins]
    axes.bar(middles, [one.rows for one in quality.margins], 0.09, color=_GREY)
    axes.set_xlabel("vote margin")
    axes.set_ylabel("inputs")
    axes.set_xlim(0, 1)
    axes.set_title("Vote margins")
    judged = [(m, b.right) for m, b in zip(middles, quality.margins, strict=True)]
    judged = [(middle, right) for middle, right in judged if right.total]
    if not judged:
        return
    other = axes.twinx()
    other.spines["top"].set_visible(False)
    other.plot(
        [middle for middle, _ in judged],
        [100 * right.value for _, right in judged],
        color=_BLUE,
        marker="o",
    )
    other.set_ylim(0, 105)
    other.set_ylabel("teacher accuracy, %", color=_BLUE)
