"""The label set of an extraction: which labels of the teacher count, and why."""

import dataclasses
from collections.abc import Sequence

from dsbs_jax.data import dataset_spec, label_sets
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.teacher.config import ExtractionConfig
from dsbs_jax.teacher.prompts import Prompt


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """The labels that count.

    Attributes:
        labels: The labels, in the order of their source.
        source: Name of the source, for messages.
        detected: Whether they were detected in the data, not given by the user.
        odd_labels: Human labels outside the detected set, and their rows.
    """

    labels: tuple[str, ...]
    source: str
    detected: bool = False
    odd_labels: tuple[tuple[str, int], ...] = ()

    def describe(self) -> str:
        """Returns the line that an extraction prints."""
        line = f"labels (from {self.source}): {', '.join(self.labels)}"
        if self.odd_labels:
            odd = [f"{label!r:.40} ({count:,})" for label, count in self.odd_labels]
            line += f"; human labels outside this set: {', '.join(odd)}"
        return line


def choose(
    config: ExtractionConfig, prompt: Prompt, rows: Sequence[Record]
) -> LabelSet | None:
    """Chooses the label set: LABELS, the prompt file's labels, or the data's labels.

    Args:
        config: Has the setting LABELS.
        prompt: The prompt.
        rows: The rows of the input file.

    Returns:
        The label set, or None if every label counts.

    Raises:
        UserError: A human label or an exemplar's label is not in the set.
    """
    labels, source = config.labels, "LABELS"
    if labels is None:
        labels, source = prompt.labels, prompt.name
        if not labels:
            return _detect(prompt, rows)
    if not labels:
        return None
    _check_exemplars(prompt, labels)
    _check_human_labels(config.input_file, rows, labels)
    return LabelSet(labels, source)


def _detect(prompt: Prompt, rows: Sequence[Record]) -> LabelSet | None:
    """Detects a label set in the human labels.

    Exemplars may have a label that is too rare in the data to be detected. The paper's
    datasets have their own rules for the labels that they read.
    """
    if prompt.spec != dataset_spec.DEFAULT:
        return None
    found = label_sets.detect_label_set(rows)
    if found is None:
        return None
    exemplars = [e.label for e in prompt.exemplars]
    labels = tuple(dict.fromkeys([*found.labels, *exemplars]))
    odd = tuple(pair for pair in found.odd_labels if pair[0] not in labels)
    return LabelSet(labels, "the human labels", detected=True, odd_labels=odd)


def _check_exemplars(prompt: Prompt, labels: Sequence[str]) -> None:
    for number, exemplar in enumerate(prompt.exemplars, 1):
        if exemplar.label not in labels:
            raise UserError(
                f"{prompt.name}: exemplar {number} has the label "
                f"{exemplar.label!r:.40}, expected one of {', '.join(labels)}"
            )


def _check_human_labels(
    path: str, rows: Sequence[Record], labels: Sequence[str]
) -> None:
    other = [row for row in rows if row.label is not None and row.label not in labels]
    if other:
        raise UserError(
            f"{path}: {len(other):,} of {len(rows):,} rows have a label outside the "
            f"label set, the first is row {other[0].id!r} with "
            f"{other[0].label!r:.40}, expected one of {', '.join(labels)}"
        )
