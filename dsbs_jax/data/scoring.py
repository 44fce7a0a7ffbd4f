"""The accuracy of a teacher, computed in one place."""

import dataclasses
import math
from collections.abc import Iterable

from dsbs_jax.data.metrics import Metric, Target


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherScore:
    """How many of a teacher's labels are right.

    Attributes:
        rows: Rows with a human label. A row without a teacher label counts as wrong.
        correct: Rows whose teacher label is right.
        without_label: Rows without a teacher label.
    """

    rows: int
    correct: int
    without_label: int

    @property
    def accuracy(self) -> float:
        """The proportion of correct rows, 0 to 1; NaN without rows."""
        return self.correct / self.rows if self.rows else math.nan


def score_teacher(
    pairs: Iterable[tuple[Target, str | None]], metric: Metric
) -> TeacherScore:
    """Scores a teacher's labels against human labels.

    Args:
        pairs: The human label and the teacher's label (or None) of each row.
        metric: The metric of the dataset.
    """
    rows = correct = without_label = 0
    for label, teacher_label in pairs:
        rows += 1
        if teacher_label is None:
            without_label += 1
        else:
            correct += metric.accepts(label, teacher_label)
    return TeacherScore(rows, correct, without_label)
