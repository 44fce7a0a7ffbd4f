"""Confusion matrix, and precision, recall and F1 of each class."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from dsbs_jax.reports.proportion import Proportion

# Column of the rows without an answer.
NO_ANSWER = "(no answer)"


@dataclasses.dataclass(frozen=True, slots=True)
class Confusion:
    """Number of rows by target and prediction.

    Attributes:
        rows: Classes of the targets.
        columns: Classes of the predictions: the same classes in the same order, then
            `NO_ANSWER` if a row has no answer.
        counts: One row of counts for each class of the targets.
    """

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]

    def mistakes(self) -> list[tuple[str, str, int]]:
        """Returns (target, prediction, rows) of wrong rows, the most frequent first."""
        wrong = [
            (row, column, count)
            for row, counts in zip(self.rows, self.counts, strict=True)
            for column, count in zip(self.columns, counts, strict=True)
            if row != column and count
        ]
        return sorted(wrong, key=lambda mistake: -mistake[2])


@dataclasses.dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is predicted.

    Attributes:
        label: The class.
        precision: Proportion of correct rows among those predicted as this class.
        recall: Proportion of correct rows among those of this class; its total is the
            support.
    """

    label: str
    precision: Proportion
    recall: Proportion

    @property
    def support(self) -> int:
        """Number of rows of this class."""
        return self.recall.total

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 to 1.

        It is 2 c / (p + s) for c correct rows, p predicted rows and s rows of the
        class, which is also defined when one of them is 0.
        """
        return 2 * self.recall.count / (self.precision.total + self.recall.total)

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        return {
            "label": self.label,
            "support": self.support,
            "precision": self.precision.to_json(),
            "recall": self.recall.to_json(),
            "f1": self.f1,
        }


def confusion(
    labels: Sequence[str],
    targets: Sequence[str],
    predictions: Sequence[str | None],
) -> Confusion:
    """Counts rows by target and prediction.

    targets a a b, predictions a b (none) -> rows a b; columns a b (no answer);
    counts (1 1 0), (0 0 1)

    Args:
        labels: The label set. Labels that occur in no row are left out.
            Other targets and predictions are classes too, in sorted order after the
            label set.
        targets: The right labels.
        predictions: The predicted labels; None is a row without an answer.
    """
    counts = collections.Counter(zip(targets, predictions, strict=True))
    used = {name for pair in counts for name in pair if name is not None}
    classes = [label for label in labels if label in used]
    classes += sorted(used.difference(labels))
    answers: list[str | None] = [*classes]
    if any(prediction is None for _, prediction in counts):
        answers.append(None)
    return Confusion(
        rows=classes,
        columns=[NO_ANSWER if answer is None else answer for answer in answers],
        counts=[[counts[target, answer] for answer in answers] for target in classes],
    )


def class_scores(table: Confusion) -> list[ClassScore]:
    """Scores each class of a confusion matrix, in its order."""
    scores = []
    for i, label in enumerate(table.rows):
        correct = table.counts[i][i]
        predicted = sum(row[i] for row in table.counts)
        support = sum(table.counts[i])
        precision, recall = Proportion(correct, predicted), Proportion(correct, support)
        scores.append(ClassScore(label, precision, recall))
    return scores
