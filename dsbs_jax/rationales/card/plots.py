"""The plots of a quality card, as one PNG image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dsbs_jax.rationales.quality import Quality
from dsbs_jax.reports import figures
from dsbs_jax.reports.figures import BLACK, BLUE, GOLD, GREY, RED

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes


def draw(quality: Quality) -> bytes:
    """Draws one panel for each kind of figure that exists, two panels in a row.

    Returns:
        The content of a PNG file. The same figures give the same bytes.
    """
    return figures.render([_bind(panel, quality) for panel in _panels(quality)])


def _bind(panel: Callable[[Axes, Quality], None], quality: Quality) -> figures.Panel:
    return lambda axes: panel(axes, quality)


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


def _stages(axes: Axes, quality: Quality) -> None:
    names = [name for name, _ in quality.stages]
    counts = [count for _, count in quality.stages]
    colors = [GREY] * (len(counts) - 1) + [BLUE]
    figures.bars(axes, names, counts, colors)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count:,}", va="center", fontsize=9)
    axes.set_xlim(0, max(1, *counts) * 1.18)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Rows at each stage")


def _accuracy(axes: Axes, quality: Quality) -> None:
    scores = quality.classes.scores
    names = [f"{figures.axis_name(s.name)}  ({s.correct.total:,})" for s in scores]
    values = [100 * s.correct.value for s in scores]
    figures.bars(axes, names, values, [BLUE] * len(scores))
    intervals = [s.correct.interval for s in scores]
    # Lengths of the error bars. Rounding can put a value just outside its interval.
    below = [max(0, v - 100 * i[0]) for v, i in zip(values, intervals, strict=True)]
    above = [max(0, 100 * i[1] - v) for v, i in zip(values, intervals, strict=True)]
    axes.errorbar(
        values,
        range(len(scores)),
        xerr=[below, above],
        fmt="none",
        ecolor=BLACK,
        elinewidth=1,
        capsize=3,
    )
    overall = 100 * quality.accuracy.value
    axes.axvline(overall, color=GOLD, ls="--", lw=1.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("%, with 95 % intervals")
    axes.set_title(f"Teacher accuracy (dashed line: all rows, {overall:.2f} %)")


def _confusion(axes: Axes, quality: Quality) -> None:
    scores, columns = quality.classes.scores, quality.classes.columns
    counts = [[score.answers.get(column, 0) for column in columns] for score in scores]
    figures.confusion(axes, counts, [score.name for score in scores], columns)
    axes.set_xlabel("teacher label")
    axes.set_ylabel("human label")


def _rationale_lengths(axes: Axes, quality: Quality) -> None:
    texts = quality.lengths["rationale"]
    longest = texts.lengths[-1]
    width = max(1, math.ceil(longest / 40))
    edges = [width * n for n in range(longest // width + 2)]
    axes.hist(texts.lengths, bins=edges, color=BLUE)
    median = texts.quantile(0.5)
    axes.axvline(median, color=GOLD, ls="--", lw=1.2, label=f"median {median}")
    limit = f"student's limit: {texts.limit} tokens"
    # A limit far to the right would squeeze the histogram, so only the legend names it.
    if texts.limit <= 1.6 * longest:
        axes.axvline(texts.limit, color=RED, lw=1.4, label=limit)
    else:
        axes.plot([], [], color=RED, lw=1.4, label=f"{limit} (further right)")
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
    bars = axes.bar(names, values, color=[BLUE] * (len(names) - 1) + [GREY])
    axes.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    axes.set_ylim(0, max(5.0, 1.15 * max(values)))
    axes.set_xlabel("number of first words of the rationale")
    axes.set_ylabel("kept rows, %")
    axes.set_title("Rationales that state the teacher label")


def _margins(axes: Axes, quality: Quality) -> None:
    middles = [one.low + 0.05 for one in quality.margins]
    axes.bar(middles, [one.inputs for one in quality.margins], 0.09, color=GREY)
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
    right_axes.plot(*zip(*points, strict=True), color=BLUE, marker="o")
    right_axes.set_ylim(0, 105)
    right_axes.set_ylabel("teacher accuracy, %", color=BLUE)
