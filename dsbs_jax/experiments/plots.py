"""Tables and figures of a grid's scores."""

import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np

from dsbs_jax.data import methods
from dsbs_jax.data.methods import Method
from dsbs_jax.experiments.grid import RunScore
from dsbs_jax.local import report

# The backend without a window has to be chosen before pyplot is imported.
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

_COLORS: dict[Method, str] = {"finetune": "#8a8f98", "step_by_step": "#1f6feb"}

# Accuracies by (method, size), in the order of the runs.
Cells = dict[tuple[Method, int], list[float]]


def accuracies(scores: Sequence[RunScore]) -> Cells:
    """Groups accuracies by method and size."""
    cells: Cells = {}
    for score in scores:
        cells.setdefault((score.method, score.size), []).append(score.accuracy)
    return cells


def summary(scores: Sequence[RunScore]) -> str:
    """Returns a table: the accuracy of each seed, their mean and its standard error."""
    rows = [["method", "examples", "test accuracy of each seed, %", "mean", "s.e."]]
    for (method, size), values in accuracies(scores).items():
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
        rows.append(
            [
                methods.info_of(method).title,
                f"{size:,}",
                " ".join(f"{value:.1f}" for value in values),
                f"{np.mean(values):.1f}",
                "-" if error is None else f"{error:.1f}",
            ]
        )
    return report.table(rows)


def verdict(scores: Sequence[RunScore]) -> list[str]:
    """Returns a sentence for each size that compares the means of the two methods."""
    cells, lines = accuracies(scores), []
    for size in sorted({score.size for score in scores}):
        finetuning = float(np.mean(cells["finetune", size]))
        step_by_step = float(np.mean(cells["step_by_step", size]))
        difference = step_by_step - finetuning
        if difference > 0:
            result = f"step-by-step is {difference:.1f} points better"
        else:
            result = f"step-by-step does not win ({abs(difference):.1f} points behind)"
        lines.append(f"With {size:,} examples {result}.")
    return lines


def figure(scores: Sequence[RunScore], path: pathlib.Path) -> None:
    """Draws each run as a dot, the means of each method, and the teacher's accuracy.

    Args:
        scores: The scores of the runs.
        path: The image to write.
    """
    cells = accuracies(scores)
    sizes = sorted({score.size for score in scores})
    fig, axes = plt.subplots(figsize=(6.4, 3.6), dpi=150)
    # The dots of the two methods are next to each other.
    shift = 0.06 if len(sizes) > 1 else 0.25
    _draw_method(axes, cells, sizes, "finetune", -shift)
    _draw_method(axes, cells, sizes, "step_by_step", shift)
    teacher = float(np.mean([score.teacher for score in scores]))
    axes.axhline(teacher, color="#d29922", ls="--", lw=1.2, label="teacher")
    axes.axhline(50, color="#cccccc", lw=0.8, label="chance")
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlim(-0.6, len(sizes) - 0.4)
    axes.set_ylim(40, 102)
    axes.set_xlabel("training examples")
    axes.set_ylabel("test accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    fig.tight_layout()
    fig.savefig(path)
    plt.close(fig)


def _draw_method(
    axes: Axes, cells: Cells, sizes: Sequence[int], method: Method, shift: float
) -> None:
    """Draws the runs of a method: a line of means over sizes, or a bar for one size."""
    color = _COLORS[method]
    means = [float(np.mean(cells[method, size])) for size in sizes]
    for place, size in enumerate(sizes):
        values = cells[method, size]
        axes.scatter(
            [place + shift] * len(values), values, color=color, s=22, alpha=0.7
        )
    if len(sizes) > 1:
        axes.plot(np.arange(len(sizes)) + shift, means, color=color, lw=2)
    else:
        axes.bar([shift], means, width=0.4, color=color, alpha=0.25)
    axes.plot([], [], color=color, marker="o", label=methods.info_of(method).title)
