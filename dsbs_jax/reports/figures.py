"""Plots of a page: panels of matplotlib in one PNG image."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dsbs_jax.reports import page

if TYPE_CHECKING:  # slow to import, so only imported where something is drawn
    from matplotlib.axes import Axes

BLUE, GREY, RED, GOLD, BLACK = (
    "#1f6feb",
    "#c9d1d9",
    "#cf222e",
    "#bf8700",
    "#24292f",
)
# Draws one panel.
Panel = Callable[["Axes"], None]
_MAX_NAME = 22  # characters of a label on an axis
# With more columns than this, the counts of a confusion matrix are not readable.
_MAX_COUNTED = 15


def render(
    panels: Sequence[Panel],
    height: float = 3.4,
    kind: Literal["png", "svg"] = "png",
) -> bytes:
    """Draws panels, two in a row.

    Args:
        panels: The panels. With an odd number, the first one takes a complete row.
        height: Height of a row, in inches.
        kind: Format of the file.

    Returns:
        The content of the file. The same panels give the same bytes.
    """
    # Not pyplot: it would choose a window system and keep the figure in memory.
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = math.ceil(len(panels) / 2)
    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
    figure = Figure(figsize=(11, height * rows), dpi=110, layout=layout)
    grid = figure.add_gridspec(rows, 2)
    cells = [grid[row, column] for row in range(rows) for column in range(2)]
    if len(panels) % 2:
        cells = [grid[0, :], *cells[2:]]
    for cell, panel in zip(cells, panels, strict=True):
        axes = figure.add_subplot(cell)
        axes.spines[["top", "right"]].set_visible(False)
        panel(axes)
    buffer = io.BytesIO()
    # Without the date and the version of matplotlib, so that the file does not depend
    # on them. The ids in an SVG file are hashes with this salt.
    metadata = {"Software": None} if kind == "png" else {"Creator": None, "Date": None}
    with (
        warnings.catch_warnings(),
        matplotlib.rc_context({"svg.hashsalt": "dsbs_jax"}),
    ):
        # A label may be in a script that the font does not have; it shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def axis_name(text: str) -> str:
    r"""Shortens a label to one line; "$" is escaped because it begins a formula."""
    text = " ".join(page.visible(text).split()).replace("$", r"\$")
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"


def bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], colors: Sequence[str]
) -> None:
    """Draws horizontal bars, the first one at the top."""
    places = range(len(names))
    axes.barh(places, values, color=colors, height=0.66)
    axes.set_yticks(places, names)
    axes.invert_yaxis()


def confusion(
    axes: Axes,
    counts: Sequence[Sequence[int]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Draws counts; the color is the share of the row, so rare classes are visible.

    Args:
        axes: The panel.
        counts: One row of counts for each of `rows`.
        rows: Classes of the right labels.
        columns: Classes of the given labels.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    small = len(columns) > _MAX_COUNTED
    for y, row in enumerate(counts if not small else []):
        for x, count in enumerate(row):
            color = "white" if shares[y][x] > 0.55 else BLACK
            axes.text(x, y, f"{count:,}", ha="center", va="center", color=color, size=9)
    names = [axis_name(column) for column in columns]
    style: dict[str, Any] = {"size": 6} if small else {}
    slant: dict[str, Any] = {}
    if small:
        slant = {"rotation": 90}
    elif max(map(len, names)) > 8:
        slant = {"rotation": 30, "ha": "right"}
    axes.set_xticks(range(len(names)), names, **style, **slant)
    axes.set_yticks(range(len(counts)), [axis_name(row) for row in rows], **style)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Confusion of labels")
