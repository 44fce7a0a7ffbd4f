r"""Parsers that read a rationale and a label from a teacher's completion.

A completion is untrusted text. It holds a rationale, then an answer marker, then the
answer. It often continues with a question that the teacher made up:

    "Ten seeds in 45 beds is 10 * 45. The answer is (10 * 45).\n\nQ: There are"
    -> rationale "Ten seeds in 45 beds is 10 * 45.", label "(10 * 45)"

A `CompletionParser` holds the rules of one dataset. Where the released parsers raise an
error or keep blank text as a training target, `CompletionParser.parse` returns a
problem in place of rationale and label. Exactly one answer marker is allowed before the
cut, because with two it is unknown which answer is meant.
"""

import dataclasses
import re
from collections.abc import Callable

from dsbs_jax.data import records

# Increased whenever a parser reads any completion differently.
PARSER_VERSION = 1

# Problems, as written to files and reports.
NO_MARKER = "no answer marker"
SEVERAL_MARKERS = "more than one answer marker"
NO_LABEL_AFTER_MARKER = "no label after the marker"
RUNS_ON = "label runs on"
NOT_A_CLASS = "label is none of the classes"
NOT_IN_LABEL_SET = "label not in the label set"
BLANK_RATIONALE = "blank rationale"
NOT_TEXT = "not encodable as UTF-8"

NLI_CLASSES = ("entailment", "neutral", "contradiction")

# (label, problem); exactly one of them is None.
Answer = tuple[str | None, str | None]


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """The rationale and the label of a completion.

    Attributes:
        rationale: The reasoning without surrounding whitespace, or None.
        label: The teacher's answer, or None.
        problem: None, or one of this module's problems. Only `BLANK_RATIONALE` comes
            with a label.
    """

    rationale: str | None
    label: str | None
    problem: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionParser:
    """The rules that read one kind of completion.

    Attributes:
        cut_at: Texts that begin the next question. The completion is cut at the first
            occurrence of each.
        answer_markers: Texts that introduce the answer. The first of them that occurs
            in the completion is used.
        read_answer: Takes the text after the marker and returns (label, problem).
    """

    cut_at: tuple[str, ...]
    answer_markers: tuple[str, ...]
    read_answer: Callable[[str], Answer]

    def parse(self, completion: str) -> ParsedCompletion:
        """Reads the rationale and the label of a completion."""
        if not records.is_encodable(completion):
            return ParsedCompletion(None, None, NOT_TEXT)
        for cut in self.cut_at:
            completion = completion.partition(cut)[0]
        marker = next((m for m in self.answer_markers if m in completion), None)
        if marker is None:
            return ParsedCompletion(None, None, NO_MARKER)
        rationale, *answers = completion.split(marker)
        if len(answers) > 1:
            return ParsedCompletion(None, None, SEVERAL_MARKERS)
        return self.parse_parts(rationale, answers[0])

    def parse_parts(self, rationale: str, answer: str) -> ParsedCompletion:
        """Reads the label of an answer that is already separated from the rationale."""
        label, problem = self.read_answer(answer)
        if problem:
            return ParsedCompletion(None, None, problem)
        rationale = rationale.strip()
        if not rationale:
            return ParsedCompletion(None, label, BLANK_RATIONALE)
        return ParsedCompletion(rationale, label, None)


def read_text(text: str) -> Answer:
    """Reads the complete text without one trailing full stop: " approve." -> "approve".

    A text of several lines is a label that runs on.
    """
    label = text.strip().removesuffix(".").rstrip()
    if not label:
        return None, NO_LABEL_AFTER_MARKER
    return (None, RUNS_ON) if "\n" in label else (label, None)


def read_choice(text: str) -> Answer:
    """Reads the text from the first "(x)" to the next: " (d) math." -> "math".

    The letter is ignored. " either (a) pond or (e) sea." gives "pond or", which is a
    label although it is none of the choices.
    """
    pieces = re.split(r"\(.\)", text)
    return read_text(pieces[1]) if len(pieces) > 1 else (None, NO_LABEL_AFTER_MARKER)


def read_equation(text: str) -> Answer:
    """Reads from the first "(" to the last ")" of a line: " (84 / 2)." -> "(84 / 2)".

    " (2 + 14) * 3." gives "(2 + 14)", and " (some bags + 4)." gives "(some bags + 4)".
    Both are labels, although wrong ones.
    """
    for line in text.split("\n"):
        # A regular expression takes quadratic time on a long row of open brackets.
        begin, end = line.find("("), line.rfind(")")
        if 0 <= begin < end:
            return line[begin : end + 1], None
    return None, NO_LABEL_AFTER_MARKER


def read_nli_class(text: str) -> Answer:
    r"""Reads one of the three NLI classes: " neutral." -> "neutral".

    If more text follows the class ("neutral\n\nPre"), returns no label and the reason
    `RUNS_ON`.
    """
    label = text.strip().removesuffix(".")
    if label in NLI_CLASSES:
        return label, None
    if not label:
        return None, NO_LABEL_AFTER_MARKER
    return None, RUNS_ON if label.startswith(NLI_CLASSES) else NOT_A_CLASS
