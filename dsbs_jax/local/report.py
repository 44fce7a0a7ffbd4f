"""What a run tells a person: sizes before it, scores after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.local.datasets import TaskSize


def print_task_sizes(sizes: Sequence[TaskSize], lengths: Mapping[str, int]) -> None:
    """Prints each task's examples and how many of them are cut off."""
    for size in sizes:
        parts = [
            f"{feature} up to {size.longest[feature]} tokens, "
            f"{cut} cut off at {lengths[feature]}"
            for feature, cut in size.truncated.items()
        ]
        print(f"{size.name}: {size.rows:,} training examples; {'; '.join(parts)}")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligns text in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def results_table(results: Mapping[str, Any]) -> str:
    """The scores in `results.json`, student and teacher side by side."""

    def accuracy(scores: Mapping[str, Mapping[str, float]]) -> str:
        values = [f"{metrics['accuracy']:.2f}" for metrics in scores.values()]
        return " ".join(values) or "-"

    rows = [["accuracy, %", "validation", "test"]]
    for name in ("best", "last"):
        run = results[name]
        rows.append(
            [
                f"student, {name} checkpoint (step {run['step']})",
                accuracy(run["validation"]),
                accuracy(run["test"]),
            ]
        )
    for teacher, score in results["teacher_test"].items():
        what = (
            f"teacher {teacher} ({score['unparsable']} of {score['rows']} unparsable)"
        )
        rows.append([what, "-", f"{score['accuracy']:.2f}"])
    return table(rows)
