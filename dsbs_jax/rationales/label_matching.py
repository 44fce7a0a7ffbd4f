"""Limits a teacher's labels to the categories of a task.

A teacher writes a category in other ways: "Billing", "**billing**", "'billing'.". Such
a label counts as the category. Any other label has no vote, and its rationale is not
used, because it supports an answer that the task does not have.
"""

import re
from collections.abc import Callable, Sequence

from dsbs_jax.data import completions
from dsbs_jax.data.completions import ParsedCompletion

_TAG = re.compile(r"</?\w+/?>")
# Punctuation, quotes and markup around a label; letters and digits are \w except "_".
_SURROUNDING = re.compile(r"^[\W_]+|[\W_]+$")


def _in_any_case(label: str) -> str:
    return label.strip().casefold()


def _stripped(label: str) -> str:
    return _SURROUNDING.sub("", _TAG.sub("", label)).casefold()


# From strict to light; a category that the text names exactly comes before others.
_FORMS: tuple[Callable[[str], str], ...] = (str.strip, _in_any_case, _stripped)


class LabelMatcher:
    """Finds the category that a label names.

    Attributes:
        labels: The categories.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepares the comparison with these categories."""
        self.labels = tuple(labels)
        self._categories = [_by_form(self.labels, form) for form in _FORMS]

    def match(self, label: str) -> str | None:
        """Returns the category that a label names, or None.

        Categories ("C", "C++"): "c++" -> "C++", "*C*" -> None, because without the
        punctuation both categories are equal.
        """
        for form, categories in zip(_FORMS, self._categories, strict=True):
            if category := categories.get(form(label)):
                return category
        return None

    def limit(self, parsed: ParsedCompletion) -> ParsedCompletion:
        """Replaces the label of a completion by its category.

        Returns:
            The completion with the category. If the label names no category, label and
            rationale are None and the problem is `NOT_IN_LABEL_SET`.
        """
        if parsed.label is None:
            return parsed
        category = self.match(parsed.label)
        if category is None:
            return ParsedCompletion(None, None, completions.NOT_IN_LABEL_SET)
        return ParsedCompletion(parsed.rationale, category, parsed.problem)


def _by_form(labels: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """Returns the categories by their form; without forms that several have."""
    forms = [form(label) for label in labels]
    pairs = zip(forms, labels, strict=True)
    return {key: label for key, label in pairs if key and forms.count(key) == 1}
