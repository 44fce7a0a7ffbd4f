"""The plots of a classification report, as one PNG image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsbs_jax.reports import figures
from dsbs_jax.reports.calibration import Calibration
from dsbs_jax.reports.class_scores import Confusion
from dsbs_jax.reports.figures import BLACK, BLUE, GOLD, GREY

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes

# Inches.
_HEIGHT, _CLASS_HEIGHT, _MAX_HEIGHT = 3.8, 0.13, 14.0


def draw(confusion: Confusion, calibration: Calibration | None) -> bytes:
    """Draws the confusion matrix and, with probabilities, the reliability plot.

    Returns:
        The content of a PNG file. The same figures give the same bytes.
    """

    def matrix(axes: Axes) -> None:
        figures.confusion(axes, confusion.counts, confusion.rows, confusion.columns)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("label")

    panels: list[figures.Panel] = [matrix]
    if calibration is not None:
        panels.append(lambda axes: _reliability(axes, calibration))
    needed = 1.5 + _CLASS_HEIGHT * len(confusion.rows)
    return figures.render(panels, min(_MAX_HEIGHT, max(_HEIGHT, needed)))


def _reliability(axes: Axes, calibration: Calibration) -> None:
    """Draws the accuracy of each bin at its mean confidence, over its rows."""
    used = [one for one in calibration.bins if one.correct.total]
    most = max(one.correct.total for one in used)
    width = 1 / len(calibration.bins)
    axes.bar(
        [one.low + width / 2 for one in used],
        [0.3 * one.correct.total / most for one in used],
        0.92 * width,
        color=GREY,
        label=f"rows (at most {most:,})",
    )
    axes.plot([0, 1], [0, 1], color=GOLD, ls="--", lw=1.2, label="calibrated")
    values = [one.correct.value for one in used]
    intervals = [one.correct.interval for one in used]
    # Lengths of the error bars. Rounding can put a value just outside its interval.
    below = [max(0, v - low) for v, (low, _) in zip(values, intervals, strict=True)]
    above = [max(0, high - v) for v, (_, high) in zip(values, intervals, strict=True)]
    axes.errorbar(
        [one.confidence for one in used],
        values,
        yerr=[below, above],
        fmt="o",
        color=BLUE,
        ecolor=BLACK,
        elinewidth=1,
        capsize=2,
        label="accuracy, 95 % interval",
    )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    error = calibration.expected_error
    axes.set_title(f"Reliability (expected calibration error {error:.3f})")
    axes.legend(
        frameon=False,
        fontsize=9,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=3,
    )
