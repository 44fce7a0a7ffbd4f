"""Finds the category of a task that a teacher's answer names.

A teacher writes a category in other ways: "Billing", "**billing**", "'billing'.", or at
the start of a sentence: "billing, because it is about a fee". Such an answer counts as
the category. Any other answer has no vote, and its rationale is not used, because it
supports an answer that the task does not have.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from dsbs_jax.data import completions
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.replies import free_text, markup
from dsbs_jax.replies.problems import TWO_ANSWERS

_TAG = re.compile(r"</?\w+/?>")
# Punctuation, quotes and markup around a label; letters and digits are \w except "_".
_SURROUNDING = re.compile(r"^[\W_]+|[\W_]+$")
# Words before a category: "a contradiction", "clearly neutral", "category: billing".
_LEAD = re.compile(
    r"(?:(?:the|an?|that of|it is|it's|this is|is|most likely|likely|probably|clearly"
    r"|definitely|class|category|label|classified as|labell?ed as|as)[\s:]{1,5}){1,5}",
    re.IGNORECASE,
)
# What may follow a category that begins a longer answer.
_ENDS = re.compile(
    r"[*_`\"'”’»)\]}<>]{0,8}\s{0,3}(?:$|[.!?;:,(\[{—–\n|]|-{1,2}\s|[\"'”’*_`)\]]"
    r"|(?<=\s)(?:because|since|as|rather than|instead of|not|and not|based on|due to"
    r"|given|for|so)\b)"
)
_ALTERNATIVE = re.compile(
    r"[*_`\"'”’\s]{0,8}(?:/|\||&|\bor\b|\band\b(?!\s+not\b)|,\s?or\b|,\s?and\b(?!\s+not\b)"
    r"|\bversus\b|\bvs\b\.?)[*_`\"'“‘\s]{0,8}(?:the\s|an?\s|even\s|perhaps\s|maybe\s)?",
    re.IGNORECASE,
)
_EITHER = re.compile(r"(?:either|both|neither|between)\s", re.IGNORECASE)
# Longer answers are searched for a category at their start only.
_MAX_START = 400


def _in_any_case(label: str) -> str:
    return label.strip().casefold()


def _stripped(label: str) -> str:
    return _SURROUNDING.sub("", _TAG.sub("", label)).casefold()


def _bare(label: str) -> str:
    return markup.strip_label(label).casefold()


def _one_word(label: str) -> str:
    """Removes what separates words: "Log-in", "log_in" and "log in" become equal."""
    return re.sub(r"[\s_-]+", " ", _stripped(label))


# From strict to light; a category that the text names exactly comes before others.
_FORMS: tuple[Callable[[str], str], ...] = (
    str.strip,
    _in_any_case,
    _bare,
    _stripped,
    _one_word,
)


class LabelMatcher:
    """Finds the category that an answer names.

    Attributes:
        labels: The categories.
    """

    def __init__(
        self, labels: Sequence[str], synonyms: Mapping[str, str] | None = None
    ) -> None:
        """Prepares the comparison with these categories.

        Args:
            labels: The categories.
            synonyms: The category that each synonym means.
        """
        self.labels = tuple(labels)
        names = {label: label for label in self.labels}
        for name, label in (synonyms or {}).items():
            names.setdefault(name, label)
        self._categories = [_by_form(names, form) for form in _FORMS]
        self._starts = sorted(names, key=len, reverse=True)
        self._names = names

    def match(self, label: str) -> str | None:
        """Returns the category that a label names, or None.

        Categories ("C", "C++"): "c++" -> "C++", "+C+" -> None, because without the
        punctuation both categories are equal.
        """
        for form, categories in zip(_FORMS, self._categories, strict=True):
            if category := categories.get(form(label)):
                return category
        return None

    def read(self, text: str) -> tuple[str | None, str | None, str]:
        r"""Reads the category at the start of an answer.

        " **Billing**, because it is about a fee." -> ("billing", None, ", because …")

        Args:
            text: The text after an answer phrase.

        Returns:
            (category, problem, the text after the category). The category is None if
            the text begins with none, or with several of them; only the latter is a
            problem.
        """
        line, rest = free_text.first_line(text)
        if category := self.match(line):
            return category, None, rest
        start = re.sub(r"^[\s*_`\"'“‘«(\[{<>:=-]+", "", line[:_MAX_START])
        either = _EITHER.match(start)
        start = start[either.end() :] if either else start
        if lead := _LEAD.match(start):
            found = self._at_start(start) or self._at_start(
                re.sub(r"^[*_`\"'“‘(\[]+", "", start[lead.end() :])
            )
        else:
            found = self._at_start(start)
        if found is None:
            return None, None, rest
        category, after = found
        alternative = _ALTERNATIVE.match(after)
        other = self._at_start(after[alternative.end() :]) if alternative else None
        if either or (other and other[0] != category):
            return None, TWO_ANSWERS, rest
        if alternative or not _ENDS.match(after):
            return None, None, rest
        return category, None, after.lstrip("*_`\"'”’»)]}.") + line[_MAX_START:] + rest

    def _at_start(self, text: str) -> tuple[str, str] | None:
        """Returns the longest name at the start as (category, text after it)."""
        lower = text.casefold()
        for name in self._starts:
            begin = lower.startswith(name.casefold())
            if not (begin and name.strip()) or len(lower) != len(text):
                continue
            after = text[len(name) :]
            # "C++" does not begin with "C", and "open-ended" not with "open".
            if not re.match(r"[\w+#]|-\w|'\w", after):
                return self._names[name], after
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


def _by_form(names: Mapping[str, str], form: Callable[[str], str]) -> dict[str, str]:
    """Returns the categories by their form, without forms that several share."""
    pairs = [(form(name), label) for name, label in names.items()]
    labels: dict[str, set[str]] = {}
    for key, label in pairs:
        labels.setdefault(key, set()).add(label)
    return {key: label for key, label in pairs if key and len(labels[key]) == 1}
