"""Rules that read the text after an answer phrase: one for each kind of dataset."""

import abc
import dataclasses
import re
from collections.abc import Mapping, Sequence

from dsbs_jax.data import completions
from dsbs_jax.data.completions import CompletionParser
from dsbs_jax.replies import arithmetic_text, choices, free_text, markup
from dsbs_jax.replies.label_matching import LabelMatcher
from dsbs_jax.replies.problems import AMBIGUOUS_CHOICE, TWO_ANSWERS, UNEQUAL

# Problems that another answer phrase does not repair: the answer itself is ambiguous.
_STOPS = (TWO_ANSWERS, AMBIGUOUS_CHOICE, UNEQUAL)
# The first words of a statement about the answer, such as "not obvious".
_STATEMENT = re.compile(
    r"(?:not|in|on|at|that|what|whether|how|why|when|if|clear|clearly|obvious|obviously"
    r"|unclear|based|determined|as|by|found|to|simple|straightforward|within|given|also"
    r"|already|still|often|known|unknown|wrong|important|about|likely to|going to|easy"
    r"|hard|difficult|hidden|expected|supposed|required|needed|correct|there|here|from"
    r"|below|above|something|one of|either|of|therefore|then|probably not|now|just)\b",
    re.IGNORECASE,
)
_MAX_STATEMENT_WORDS = 8
# Grammatical forms of the NLI classes, which always count as them.
_NLI_FORMS = {
    "entails": "entailment",
    "entailed": "entailment",
    "contradicts": "contradiction",
    "contradicted": "contradiction",
    "contradictory": "contradiction",
    "contradicting": "contradiction",
}
_EXPLANATION = re.compile(
    r"[\s.,;:*_`#>)-]{0,20}(?:(?:explanation|reason|reasoning|rationale|justification|why)"
    r"[*_ \t]{0,6}[:：\n][*_\s]{0,8}|(?:because|since)\s)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """The label after an answer phrase.

    Attributes:
        label: The label, or None.
        problem: Why there is no label, or None.
        rest: The text after the label, as far as it is known.
        is_exact: Whether the text states the label. False if a sentence only mentions
            it.
    """

    label: str | None
    problem: str | None
    rest: str = ""
    is_exact: bool = True

    @property
    def stops(self) -> bool:
        """Whether the answer itself is ambiguous."""
        return self.problem in _STOPS


class AnswerRule(abc.ABC):
    """Reads and compares the answers of one row."""

    @abc.abstractmethod
    def read(self, text: str, opened: str = "") -> Reading:
        """Reads the label at the start of a text.

        Args:
            text: The text after an answer phrase.
            opened: Markup that was opened before it.
        """

    @abc.abstractmethod
    def are_equal(self, label: str, other: str) -> bool:
        """Returns whether two labels are the same answer."""

    def is_statement(self, reading: Reading) -> bool:
        """Returns whether a text is a statement about the answer, and not an answer."""
        return not reading.is_exact

    def read_field(self, text: str) -> Reading:
        """Reads the label of a JSON field."""
        return self.read(text)

    def last_line(self, text: str) -> tuple[int, Reading] | None:
        """Reads a last line that is an answer and nothing else.

        Returns:
            Its position and the answer, or None.
        """
        stripped = text.rstrip()
        begin = stripped.rfind("\n") + 1
        line = stripped[begin:]
        if not line.strip() or len(line) > 200 or not self.is_answer(line):
            return None
        return begin, self.read(line)

    def is_answer(self, line: str) -> bool:
        """Returns whether a complete line is an answer."""
        return False


class FreeText(AnswerRule):
    """The rule for labels that are free text."""

    def read(self, text: str, opened: str = "") -> Reading:
        """Reads the first sentence."""
        label = free_text.read(text, opened)
        return Reading(label.text, label.problem, label.rest)

    def read_field(self, text: str) -> Reading:
        """Reads a field, whose sentences all belong to the label."""
        label = markup.strip_label(text)
        if not label:
            return Reading(None, completions.NO_LABEL_AFTER_MARKER)
        if "\n" in label:
            return Reading(None, completions.RUNS_ON)
        return Reading(label, None)

    def are_equal(self, label: str, other: str) -> bool:
        """Compares texts; letter case is ignored."""
        return label.casefold() == other.casefold()

    def is_statement(self, reading: Reading) -> bool:
        """Recognizes statements such as "not obvious"."""
        label = reading.label or ""
        return (
            _STATEMENT.match(label) is not None
            or len(label.split()) > _MAX_STATEMENT_WORDS
        )


class ClosedSet(AnswerRule):
    """The rule for labels of a closed set.

    Attributes:
        is_strict: Whether another text is rejected. Otherwise it is kept unchanged, so
            that it can be counted.
    """

    def __init__(self, matcher: LabelMatcher, is_strict: bool) -> None:
        """Makes the rule of a set of labels."""
        self._matcher = matcher
        self.is_strict = is_strict

    def read(self, text: str, opened: str = "") -> Reading:
        """Reads the label at the start, or the text as a label outside the set."""
        category, problem, rest = self._matcher.read(text)
        if category is not None or problem:
            return Reading(category, problem, rest)
        other = free_text.read(text, opened)
        if other.text is not None and (category := self._matcher.match(other.text)):
            return Reading(category, None, other.rest)
        if self.is_strict:
            problem = other.problem or completions.NOT_A_CLASS
            return Reading(None, problem, other.rest)
        return Reading(other.text, other.problem, other.rest)

    def are_equal(self, label: str, other: str) -> bool:
        """Compares exactly; both are labels of the set."""
        return label == other

    def is_statement(self, reading: Reading) -> bool:
        """A text that is not a label of the set is a statement."""
        return self._matcher.match(reading.label or "") is None

    def is_answer(self, line: str) -> bool:
        """A line that is a label."""
        return self._matcher.match(markup.strip_label(line)) is not None


class Choices(AnswerRule):
    """The rule for labels that are one of the row's choices."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Makes the rule of a row."""
        self._texts = texts

    def read(self, text: str, opened: str = "") -> Reading:
        """Reads letter, number or text of a choice."""
        label, problem = choices.read(text, self._texts)
        line, rest = free_text.first_line(text)
        sentences = line.rstrip(" *_`").rstrip(".").partition(". ")
        exact, _ = choices.read(text, self._texts, by_mention=False)
        return Reading(label, problem, sentences[2] + rest, is_exact=exact is not None)

    def are_equal(self, label: str, other: str) -> bool:
        """Compares texts; letter case is ignored."""
        return label.casefold() == other.casefold()

    def is_answer(self, line: str) -> bool:
        """A line that names a choice and nothing else."""
        if not self._texts:
            return False
        if choices.read(line, self._texts)[0] is None:
            return False
        words = [len(text.split()) for text in self._texts]
        return len(line.split()) <= 3 + max(words)


class Arithmetic(AnswerRule):
    """The rule for labels that are arithmetic expressions."""

    def read(self, text: str, opened: str = "") -> Reading:
        """Reads the expression with the value of the complete text."""
        expression, problem = arithmetic_text.read(text)
        line, rest = free_text.first_line(text)
        return Reading(expression, problem, _after_sentence(line) + rest)

    def are_equal(self, label: str, other: str) -> bool:
        """Compares the values."""
        return arithmetic_text.same_value(label, other)

    def is_answer(self, line: str) -> bool:
        """A line of digits and operators, without words."""
        text = line.strip(" *_`$.=\\[]")
        return not re.search(r"[^\W\d_]", text) and (
            arithmetic_text.expression(text) is not None
        )


def _after_sentence(line: str) -> str:
    match = re.search(r"\.[*_)\]]{0,3}\s+(?=\S)", line)
    return line[match.end() :] if match else ""


def rule_of(
    parser: CompletionParser,
    labels: Sequence[str],
    synonyms: Mapping[str, str],
    asked: str,
) -> AnswerRule | None:
    """Returns the tolerant rule that replaces a parser's `read_answer`.

    Args:
        parser: The dataset's parser.
        labels: The closed set of labels; empty for free text.
        synonyms: The label that each synonym means.
        asked: The input of the row.

    Returns:
        The rule, or None for a parser with a `read_answer` of its own.
    """
    if parser.read_answer is completions.read_text:
        if labels:
            return ClosedSet(LabelMatcher(labels, synonyms), is_strict=False)
        return FreeText()
    if parser.read_answer is completions.read_nli_class:
        names = {**_NLI_FORMS, **synonyms}
        return ClosedSet(LabelMatcher(completions.NLI_CLASSES, names), is_strict=True)
    if parser.read_answer is completions.read_choice:
        return Choices(choices.choices_of(asked))
    if parser.read_answer is completions.read_equation:
        return Arithmetic()
    return None


def explanation_after(rest: str) -> str:
    """Returns a rationale that follows the answer: "Explanation: It is hot."."""
    match = _EXPLANATION.match(rest)
    return markup.strip_rationale(rest[match.end() :]) if match else ""
