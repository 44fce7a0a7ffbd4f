"""The plot of a run's curves, as one PNG image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dsbs_jax.reports import figures
from dsbs_jax.reports.figures import BLACK, BLUE, GOLD, GREY, RED

if TYPE_CHECKING:  # slow to import
    from matplotlib.axes import Axes

# Steps and values.
Series = Sequence[tuple[int, float]]
_COLORS = (BLUE, GOLD, RED, BLACK)


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves of a run; each may be empty.

    Attributes:
        losses: Losses in nats per token, by name.
        validation: Scores on validation in percent, by name.
    """

    losses: Mapping[str, Series] = dataclasses.field(default_factory=dict)
    validation: Mapping[str, Series] = dataclasses.field(default_factory=dict)


def draw(curves: Curves, best_step: int | None = None) -> bytes | None:
    """Draws the losses, and next to them the scores on validation.

    Args:
        curves: The curves.
        best_step: The step of the best checkpoint, which is marked.

    Returns:
        The content of a PNG file; the same curves give the same bytes. None without
        curves.
    """
    panels: list[figures.Panel] = []
    for title, lines, in_percent in (
        ("Training loss, nats per token", curves.losses, False),
        ("Validation, %", curves.validation, True),
    ):
        lines = {name: line for name, line in lines.items() if line}
        if lines:
            panels.append(_panel(title, lines, in_percent, best_step))
    return figures.render(panels) if panels else None


def _panel(
    title: str, lines: Mapping[str, Series], in_percent: bool, best_step: int | None
) -> figures.Panel:
    def panel(axes: Axes) -> None:
        if best_step is not None:
            label = f"best checkpoint (step {best_step:,})"
            axes.axvline(best_step, color=GREY, lw=1.2, ls="--", label=label)
        for number, (name, line) in enumerate(lines.items()):
            axes.plot(
                [step for step, _ in line],
                [value for _, value in line],
                color=_COLORS[number % len(_COLORS)],
                # A curve of one point would be invisible.
                marker="o" if in_percent or len(line) == 1 else "",
                markersize=4,
                lw=1.5,
                # A space, because matplotlib hides names that begin with "_".
                label=f" {figures.axis_name(name)}",
            )
        if in_percent:
            axes.set_ylim(0, 102)
        axes.set_xlabel("step")
        axes.set_title(title)
        axes.legend(frameon=False, fontsize=9)

    return panel
