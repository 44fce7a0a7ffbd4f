"""Tables and figures of a grid's scores."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from dsbs_jax.local.report import table

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend has to be chosen first)

TITLES = {"finetune": "standard finetuning", "step_by_step": "step-by-step"}
_COLORS = {"finetune": "#8a8f98", "step_by_step": "#1f6feb"}


def cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], list[float]]:
    """Accuracies by (method, size), in the order of the runs."""
    grouped: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        grouped.setdefault((row["method"], row["size"]), []).append(row["accuracy"])
    return grouped


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table: each seed's accuracy, their mean and its standard error."""
    lines = [["method", "examples", "test accuracy of each seed, %", "mean", "s.e."]]
    for (method, size), values in cells(rows).items():
        error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
        lines.append(
            [
                TITLES.get(method, method),
                f"{size:,}",
                " ".join(f"{v:.1f}" for v in values),
                f"{np.mean(values):.1f}",
                "-" if error is None else f"{error:.1f}",
            ]
        )
    return table(lines)


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each size, which of the two methods was better, as measured."""
    grouped, lines = cells(rows), []
    for size in sorted({row["size"] for row in rows}):
        plain = float(np.mean(grouped["finetune", size]))
        steps = float(np.mean(grouped["step_by_step", size]))
        if steps > plain:
            said = f"step-by-step is {steps - plain:.1f} points better"
        else:
            said = f"step-by-step does not win ({plain - steps:.1f} points behind)"
        lines.append(f"With {size:,} examples {said}.")
    return lines


def figure(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Draws every run as a dot, the means as lines, and the teacher's accuracy."""
    grouped = cells(rows)
    sizes = sorted({row["size"] for row in rows})
    fig, axes = plt.subplots(figsize=(6.4, 3.6), dpi=150)
    apart = 0.06 if len(sizes) > 1 else 0.25
    for shift, method in ((-apart, "finetune"), (apart, "step_by_step")):
        color = _COLORS[method]
        means = []
        for place, size in enumerate(sizes):
            values = grouped[method, size]
            means.append(float(np.mean(values)))
            axes.scatter(
                [place + shift] * len(values), values, color=color, s=22, alpha=0.7
            )
        if len(sizes) > 1:
            axes.plot(np.arange(len(sizes)) + shift, means, color=color, lw=2)
        else:
            axes.bar([shift], means, width=0.4, color=color, alpha=0.25)
        axes.plot([], [], color=color, marker="o", label=TITLES[method])
    teacher = float(np.mean([row["teacher"] for row in rows]))
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
