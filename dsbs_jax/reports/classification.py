"""The report on a student that chooses among a closed set of labels."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.reports import class_scores, classification_plots, report, tables
from dsbs_jax.reports.calibration import Calibration, calibration
from dsbs_jax.reports.class_scores import ClassScore, Confusion
from dsbs_jax.reports.page import Block, Paragraph, Picture, Row, Table
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.reports.report import Report, Texts

# Labels that a sentence lists.
_LISTED = 10


@dataclasses.dataclass(frozen=True)
class ClassificationReport(Report):
    """Metrics of a student's labels on a set of rows.

    Attributes:
        accuracy: Proportion of correct rows; a row without an answer is wrong.
        majority_label: The most frequent target.
        majority: Proportion of rows with `majority_label`: the accuracy of a constant
            prediction.
        macro_f1: Mean F1 of the classes that occur in targets or predictions, 0 to 1.
        classes: Scores of each class, in the order of the label set.
        confusion: Rows by target and prediction.
        answered: Proportion of rows with an answer (coverage).
        selective_accuracy: Proportion of correct rows among those with an answer.
        calibration: Calibration of the best label's probability, also in rows without
            an answer; None without probabilities.
        examples: Named texts of a few rows, by title.
        label_count: Number of labels in the label set; None in a report of an earlier
            version.
        outside: Rows of each label that is not in the label set. They are wrong.
    """

    accuracy: Proportion
    majority_label: str
    majority: Proportion
    macro_f1: float
    classes: list[ClassScore]
    confusion: Confusion
    answered: Proportion
    selective_accuracy: Proportion
    calibration: Calibration | None = None
    examples: dict[str, list[Texts]] = dataclasses.field(default_factory=dict)
    label_count: int | None = None
    outside: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def beats_majority(self) -> bool:
        """Whether the accuracy's 95 % interval is above the majority class's share."""
        return self.accuracy.interval[0] > self.majority.value

    @property
    def abstained(self) -> int:
        """Number of rows without an answer."""
        return self.answered.total - self.answered.count

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values; proportions and probabilities are 0 to 1."""
        return {
            "accuracy": self.accuracy.to_json(),
            "majority_label": self.majority_label,
            "majority": self.majority.to_json(),
            "beats_majority": self.beats_majority,
            "macro_f1": self.macro_f1,
            "classes": [score.to_json() for score in self.classes],
            "confusion": dataclasses.asdict(self.confusion),
            "answered": self.answered.to_json(),
            "abstained": self.abstained,
            "selective_accuracy": self.selective_accuracy.to_json(),
            "calibration": self.calibration and self.calibration.to_json(),
            "examples": {
                title: [dict(row) for row in rows]
                for title, rows in self.examples.items()
            },
            "label_count": self.label_count,
            "outside": self.outside,
        }

    def blocks(self) -> list[Block]:
        """Returns the contents of the page."""
        picture = classification_plots.draw(self.confusion, self.calibration)
        description = "Confusion of labels, and accuracy by confidence"
        return [
            Paragraph(self.headline()),
            _summary(self),
            Picture("report.png", picture, description),
            *tables.classes(self.classes),
            *tables.confusion(self.confusion),
            *tables.calibration(self.calibration),
            *report.example_blocks(self.examples),
        ]

    def headline(self) -> str:
        """Returns the most important figures in two or three sentences."""
        choice = "" if self.label_count is None else f", one of {self.label_count},"
        text = (
            f"The predicted label{choice} is right on {self.accuracy.percent} of "
            f"{self.accuracy.total:,} rows (95 % interval "
            f"{self.accuracy.percent_interval}). The interval {self._relation()} "
            f"{self.majority.percent}, the accuracy of always predicting "
            f"{self.majority_label!r}, the most frequent label."
        )
        if not self.outside:
            return text
        shown = [f"{x!r:.40} {n:,}" for x, n in list(self.outside.items())[:_LISTED]]
        more = len(self.outside) - len(shown)
        listed = ", ".join(shown) + (f" and {more:,} more" if more else "")
        return (
            f"{text} {sum(self.outside.values()):,} of the rows are wrong because "
            f"their label is not in the label set: {listed}."
        )

    def _relation(self) -> str:
        """Compares the accuracy's interval with the majority class's share."""
        if self.beats_majority:
            return "excludes"
        below = self.accuracy.interval[1] < self.majority.value
        return "is below" if below else "does not exclude"


def classification_report(
    labels: Sequence[str],
    targets: Sequence[str],
    predictions: Sequence[str | None],
    probabilities: Sequence[Sequence[float]] | np.ndarray | None = None,
    texts: Sequence[Texts] | None = None,
) -> ClassificationReport:
    """Computes the report on a student's labels.

    Args:
        labels: The label set, A labels. Targets may have other labels, whose rows are
            wrong.
        targets: The right label of each of N rows.
        predictions: The predicted labels; None is a row without an answer ("unknown").
        probabilities: Probabilities of the labels, [N, A], each 0 to 1.
        texts: Named texts of each row for the examples, such as "input" and
            "rationale". None shows no examples.

    Raises:
        UserError: There are no rows.
        ValueError: The lengths differ.
    """
    rows = len(targets)
    if not rows:
        raise UserError("there are no rows to report on, expected at least one")
    correct = [t == p for t, p in zip(targets, predictions, strict=True)]
    table = class_scores.confusion(labels, targets, predictions)
    scores = class_scores.class_scores(table)
    majority_label, majority = _majority(targets)
    answered = sum(prediction is not None for prediction in predictions)
    confidences, calibrated = None, None
    if probabilities is not None:
        values = np.asarray(probabilities, np.float64)
        if values.shape != (rows, len(labels)):
            raise ValueError(
                f"probabilities have shape {values.shape}, expected "
                f"({rows}, {len(labels)})"
            )
        confidences = values.max(axis=1).tolist()
        best = [labels[place] for place in values.argmax(axis=1)]
        hits = [t == b for t, b in zip(targets, best, strict=True)]
        calibrated = calibration(confidences, hits)
    return ClassificationReport(
        accuracy=Proportion(sum(correct), rows),
        majority_label=majority_label,
        majority=Proportion(majority, rows),
        macro_f1=sum(score.f1 for score in scores) / len(scores),
        classes=scores,
        confusion=table,
        answered=Proportion(answered, rows),
        selective_accuracy=Proportion(sum(correct), answered),
        calibration=calibrated,
        examples=_examples(targets, predictions, correct, confidences, texts),
        label_count=len(labels),
        outside=_outside(labels, targets),
    )


def _outside(labels: Sequence[str], targets: Sequence[str]) -> dict[str, int]:
    """Counts the rows of labels that are not in the label set."""
    counts = collections.Counter(target for target in targets if target not in labels)
    return dict(counts.most_common())


def _majority(targets: Sequence[str]) -> tuple[str, int]:
    """Returns the most frequent label (the first by name in a tie) and its count.

    The scored rows are counted, not the training rows. So no other constant prediction
    has a higher accuracy on them.
    """
    counts = collections.Counter(targets)
    return min(counts.items(), key=lambda item: (-item[1], item[0]))


def _examples(
    targets: Sequence[str],
    predictions: Sequence[str | None],
    correct: Sequence[bool],
    confidences: Sequence[float] | None,
    texts: Sequence[Texts] | None,
) -> dict[str, list[Texts]]:
    if texts is None:
        return {}
    if len(texts) != len(targets):
        raise ValueError(f"found {len(texts)} texts for {len(targets)} rows")

    def fields(row: int) -> Texts:
        predicted = predictions[row]
        answer = class_scores.NO_ANSWER if predicted is None else predicted
        chance = (
            {} if confidences is None else {"confidence": f"{confidences[row]:.3f}"}
        )
        return {
            **texts[row],
            "label": targets[row],
            "predicted label": answer,
            **chance,
        }

    wrong = [row for row, right in enumerate(correct) if not right]
    right = [row for row, right in enumerate(correct) if right]
    order = "drawn at random" if confidences is None else "highest confidence first"
    chosen = {
        f"Wrong labels, {order}": report.choose(wrong, confidences, "wrong"),
        "Right labels, drawn at random": report.choose(right, None, "right"),
    }
    return {title: [fields(row) for row in rows] for title, rows in chosen.items()}


def _summary(figures: ClassificationReport) -> Table:
    shares = {
        "accuracy": figures.accuracy,
        f"always {figures.majority_label!r}": figures.majority,
    }
    if figures.abstained:
        shares["rows with an answer (coverage)"] = figures.answered
        shares["accuracy of rows with an answer"] = figures.selective_accuracy
    values = {"macro-F1": figures.macro_f1}
    if figures.calibration is not None:
        values["expected calibration error"] = figures.calibration.expected_error
    rows: list[Row] = [
        [name, share.count, share.total, share.percent, share.percent_interval]
        for name, share in shares.items()
    ]
    rows += [[name, "", "", f"{value:.4f}", ""] for name, value in values.items()]
    return Table(tables.SHARE_COLUMNS, rows)
