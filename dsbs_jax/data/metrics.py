"""Scores of predictions against targets: SeqIO metric functions, in percent.

One (target, prediction) pair is judged by a dataset's `correct` function; the metric
functions only average it, so the teacher, a baseline and a student are all scored by
the same rule.
"""

from collections.abc import Callable, Sequence

from dsbs_jax.data import arithmetic

Metric = Callable[[Sequence[str], Sequence[str]], dict[str, float]]


def same_text(target: str, prediction: str) -> bool:
    """Whether both are the same text, letter case and all."""
    return target == prediction


def same_value(target: str, prediction: str) -> bool:
    """Whether both are arithmetic with the same value ("( 8.0 / 2.0 )" and "4")."""
    return arithmetic.same_value(target, prediction)


def _percent_correct(
    correct: Callable[[str, str], bool],
    targets: Sequence[str],
    predictions: Sequence[str],
) -> dict[str, float]:
    if len(targets) != len(predictions):
        raise ValueError(
            f"{len(targets)} targets but {len(predictions)} predictions to score"
        )
    if not targets:
        raise ValueError("there is nothing to score")
    right = sum(map(correct, targets, predictions))
    return {"accuracy": 100.0 * right / len(targets)}


def exact_match(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Percentage of predictions that are the target's text.

    Returns:
        {"accuracy": percent, 0 to 100}.

    Raises:
        ValueError: No rows, or not one prediction a target.
    """
    return _percent_correct(same_text, targets, predictions)


def equation_accuracy(
    targets: Sequence[str], predictions: Sequence[str]
) -> dict[str, float]:
    """Percentage of predictions with the target's arithmetic value.

    A prediction that is no arithmetic is wrong, and so is every prediction for a target
    that is none.

    Returns:
        {"accuracy": percent, 0 to 100}.

    Raises:
        ValueError: No rows, or not one prediction a target.
    """
    return _percent_correct(same_value, targets, predictions)


CORRECT: dict[str, Callable[[str, str], bool]] = {
    "cqa": same_text,
    "svamp": same_value,
    "asdiv": same_value,
    "anli1": same_text,
    "esnli": same_text,
}
METRICS: dict[str, Metric] = {
    name: equation_accuracy if rule is same_value else exact_match
    for name, rule in CORRECT.items()
}


def correct_fn(dataset: str) -> Callable[[str, str], bool]:
    """Returns a dataset's correct(target, prediction); `same_text` for unknown ones."""
    return CORRECT.get(dataset, same_text)
