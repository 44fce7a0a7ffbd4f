"""Metrics: how a predicted label is compared with the target.

A `Metric` holds one rule for one (target, prediction) pair. The teacher, a baseline and
a student are all scored by the metric of their dataset.
"""

import dataclasses
from collections.abc import Callable, Sequence

from dsbs_jax.data import arithmetic

# A right label, or several, any of which is right.
Target = str | tuple[str, ...]


def same_text(target: str, prediction: str) -> bool:
    """Returns whether both texts are equal; letter case counts."""
    return target == prediction


def same_value(target: str, prediction: str) -> bool:
    """Returns whether target and prediction have the same numeric value.

    "( 8.0 / 2.0 )", "4" -> True. If one of the texts has no value, returns False.
    """
    return arithmetic.same_value(target, prediction)


@dataclasses.dataclass(frozen=True)
class Metric:
    """The accuracy of predictions under one rule; usable as a SeqIO metric function.

    Attributes:
        name: Name of the metric, as written to reports.
        is_correct: Takes a target and a prediction and returns whether the prediction
            is right.
    """

    name: str
    is_correct: Callable[[str, str], bool]

    def accepts(self, target: Target, prediction: str) -> bool:
        """Returns whether a prediction is right; ("4", "four") accepts "four"."""
        targets = (target,) if isinstance(target, str) else target
        return any(self.is_correct(one, prediction) for one in targets)

    def __call__(
        self, targets: Sequence[Target], predictions: Sequence[str]
    ) -> dict[str, float]:
        """Computes the accuracy over rows.

        Args:
            targets: The right labels.
            predictions: One prediction for each target.

        Returns:
            {"accuracy": percent, 0 to 100}.

        Raises:
            ValueError: There are no rows, or the two lengths differ.
        """
        if len(targets) != len(predictions):
            raise ValueError(
                f"found {len(targets)} targets but {len(predictions)} predictions, "
                "expected one prediction for each target"
            )
        if not targets:
            raise ValueError("there is nothing to score, expected at least one row")
        correct = sum(map(self.accepts, targets, predictions))
        return {"accuracy": 100.0 * correct / len(targets)}


EXACT_MATCH = Metric("exact_match", same_text)
EQUATION_ACCURACY = Metric("equation_accuracy", same_value)
