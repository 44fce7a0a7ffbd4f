"""The report on a student that answers with free text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from dsbs_jax.data.metrics import EXACT_MATCH, Metric
from dsbs_jax.errors import UserError
from dsbs_jax.reports import report
from dsbs_jax.reports.page import Block, Paragraph, Row, Table
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.reports.report import Report, Texts
from dsbs_jax.reports.tables import SHARE_COLUMNS


@dataclasses.dataclass(frozen=True)
class OpenReport(Report):
    """The accuracy of free answers on a set of rows.

    Attributes:
        metric: Name of the metric that compares answers.
        accuracy: Proportion of correct rows.
        examples: Named texts of a few rows, by title.
    """

    metric: str
    accuracy: Proportion
    examples: dict[str, list[Texts]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; proportions are 0 to 1."""
        examples = {t: [dict(row) for row in rows] for t, rows in self.examples.items()}
        return {
            "metric": self.metric,
            "accuracy": self.accuracy.to_json(),
            "examples": examples,
        }

    def blocks(self) -> list[Block]:
        """Returns the contents of the page."""
        right = self.accuracy
        row: Row = [
            f"accuracy ({self.metric})",
            right.count,
            right.total,
            right.percent,
            right.percent_interval,
        ]
        return [
            Paragraph(self.headline()),
            Table(SHARE_COLUMNS, [row]),
            *report.example_blocks(self.examples),
        ]

    def headline(self) -> str:
        """Returns the most important figure in a sentence."""
        return (
            f"The answer is right on {self.accuracy.percent} of "
            f"{self.accuracy.total:,} rows (95 % interval "
            f"{self.accuracy.percent_interval})."
        )


def open_report(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    metric: Metric = EXACT_MATCH,
    texts: Sequence[Texts] | None = None,
) -> OpenReport:
    """Computes the report on a student's free answers.

    Args:
        targets: The acceptable answers of each of N rows, one or more.
        predictions: The predicted answers.
        metric: Compares a target with a prediction.
        texts: Named texts of each row for the examples, such as "input" and
            "rationale". None shows no examples.

    Raises:
        UserError: There are no rows.
        ValueError: The lengths differ.
    """
    if not targets:
        raise UserError("there are no rows to report on, expected at least one")
    correct = [
        any(metric.is_correct(target, prediction) for target in acceptable)
        for acceptable, prediction in zip(targets, predictions, strict=True)
    ]
    examples: dict[str, list[Texts]] = {}
    if texts is not None:
        for word, value in (("Wrong", False), ("Right", True)):
            rows = [row for row, right in enumerate(correct) if right == value]
            examples[f"{word} answers, drawn at random"] = [
                {
                    **texts[row],
                    "label": " | ".join(targets[row]),
                    "predicted label": predictions[row],
                }
                for row in report.choose(rows, None, word)
            ]
    return OpenReport(metric.name, Proportion(sum(correct), len(correct)), examples)
