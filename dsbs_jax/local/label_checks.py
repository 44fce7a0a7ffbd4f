"""Checks before training that a student can give the labels that it is trained on."""

from collections.abc import Iterator, Sequence

from dsbs_jax.counts import counted
from dsbs_jax.data import label_spelling
from dsbs_jax.data.mixtures import MethodData
from dsbs_jax.errors import UserError
from dsbs_jax.local.datasets import TaskSize


def check(
    data: MethodData,
    closed: Sequence[str] | None,
    sizes: Sequence[TaskSize],
    max_decode_length: int,
) -> list[str]:
    """Checks the labels of the training rows.

    Args:
        data: The examples and the vocabulary.
        closed: The closed label set, from which a trained student chooses its answers;
            None where answers are free text.
        sizes: The tasks with their targets.
        max_decode_length: Longest prediction in tokens, with the end token.

    Returns:
        For each task with rows whose answer cannot be predicted, a warning with their
        number.

    Raises:
        UserError: A label of the closed set cannot be predicted, or a task has no label
            that can be predicted.
    """
    warnings: list[str] = []
    for size in sizes:
        if size.name in data.tasks and data.tasks[size.name].single_task:
            warnings += _long_answers(size, max_decode_length)
            continue
        faults = label_spelling.faults(
            size.targets, data.vocabulary, max_decode_length, distinct=False
        )
        found = {
            label: fault
            for label, fault in faults.items()
            if not _counts_as_correct(label, data, size, max_decode_length)
        }
        if found:
            warning = _describe(size, found, max_decode_length)
            if sum(size.targets[x] for x in found) == size.rows:
                raise UserError(warning)
            if closed is not None and set(closed) & found.keys():
                raise UserError(warning)
            warnings.append(warning)
    if closed is not None:
        # Finds labels that no training row has too, and labels with the same tokens.
        label_spelling.spell(closed, data.vocabulary, max_decode_length)
    return warnings


def _counts_as_correct(
    label: str, data: MethodData, size: TaskSize, max_decode_length: int
) -> bool:
    """Returns whether the metric accepts what the student can predict for a label."""
    ids = data.vocabulary.encode(label)
    if size.name not in data.tasks or len(ids) >= max_decode_length:
        return False
    return data.tasks[size.name].metric.accepts(label, data.vocabulary.decode(ids))


def _describe(size: TaskSize, found: dict[str, str], max_decode_length: int) -> str:
    frequent = sorted(found, key=lambda label: -size.targets[label])
    text = label_spelling.describe(
        f"{found[label]} ({counted(size.targets[label], 'row')})" for label in frequent
    )
    rows = sum(size.targets[label] for label in found)
    return (
        f"{size.name}: {rows:,} of {size.rows:,} training rows have a label that the "
        f"student cannot predict with this vocabulary and MAX_DECODE_LENGTH = "
        f"{max_decode_length}: {text}"
    )


def _long_answers(size: TaskSize, max_decode_length: int) -> Iterator[str]:
    """Yields a warning if predictions are cut before the label."""
    lengths = size.target_lengths
    rows = sum(n for length, n in lengths.items() if length > max_decode_length)
    if rows:
        yield (
            f"{size.name}: {rows:,} of {size.rows:,} training rows have a rationale "
            f"and label of more than {max_decode_length} tokens, so predictions of "
            f"this length lack the label; set MAX_DECODE_LENGTH to {max(lengths)}"
        )
