"""Text that a run prints: the sizes of its tasks, and its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import tabulate

from dsbs_jax.data.dataset_spec import USER_TEACHER
from dsbs_jax.local.datasets import TaskSize


def print_task_sizes(sizes: Sequence[TaskSize], lengths: Mapping[str, int]) -> None:
    """Prints the number of each task's examples, and how many are truncated.

    Args:
        sizes: The tasks.
        lengths: Tokens to which each feature is truncated.
    """
    for size in sizes:
        parts = [
            f"{feature} up to {size.longest[feature]} tokens, "
            f"{count} truncated to {lengths[feature]}"
            for feature, count in size.truncated.items()
        ]
        print(f"{size.name}: {size.rows:,} training examples; {'; '.join(parts)}")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns text in columns: the first to the left, the others to the right."""
    alignment = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate.tabulate(
        rows, tablefmt="plain", disable_numparse=True, colalign=alignment
    )


def results_table(results: Mapping[str, Any]) -> str:
    """Returns the scores of `results.json` as a table of student and teacher."""

    def accuracy(scores: Mapping[str, Mapping[str, float]]) -> str:
        values = [f"{metrics['accuracy']:.2f}" for metrics in scores.values()]
        return " ".join(values) or "-"

    rows = [["accuracy, %", "validation", "test"]]
    for name in ("best", "last"):
        scored = results[name]
        title = f"student, {name} checkpoint (step {scored['step']})"
        rows.append([title, accuracy(scored["validation"]), accuracy(scored["test"])])
    for teacher, score in results["teacher_test"].items():
        title = "teacher" if teacher == USER_TEACHER else f"teacher {teacher}"
        missing = f"{score['unparsable']} of {score['rows']} rows without a label"
        rows.append([f"{title} ({missing})", "-", f"{score['accuracy']:.2f}"])
    return table(rows)
