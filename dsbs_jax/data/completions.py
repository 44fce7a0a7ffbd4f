r"""From a teacher's raw completion to a rationale and a label.

A completion is untrusted text. It gives its reasoning, then an answer marker, then the
answer, and often runs on into a next question of its own invention:

    "Ten seeds in 45 beds is 10 * 45. The answer is (10 * 45).\n\nQ: There are"
    -> rationale "Ten seeds in 45 beds is 10 * 45.", label "(10 * 45)"

How each dataset's completions are cut and read is one `Rule`. Where the released
parsers raise an error or leave a blank behind, the completion gets a `problem` and
neither label nor rationale. Exactly one answer marker is allowed before the cut: with
two there is no telling which answer is meant.
"""

import dataclasses
import re
from collections.abc import Callable

from dsbs_jax.data import records

# Goes up whenever a parser reads any completion differently.
PARSER_VERSION = 1

NO_MARKER = "no answer marker"
SEVERAL_MARKERS = "more than one answer marker"
NO_LABEL = "no label after the marker"
RUNS_ON = "label runs on"
NOT_A_CLASS = "label is none of the classes"
BLANK_RATIONALE = "blank rationale"
NOT_TEXT = "not encodable as UTF-8"

NLI_CLASSES = ("entailment", "neutral", "contradiction")


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """What a completion says.

    Attributes:
        rationale: The reasoning without surrounding whitespace, or None.
        label: The teacher's answer, or None.
        problem: None, or one of this module's reasons. Only with `BLANK_RATIONALE` is
            there a label nevertheless.
    """

    rationale: str | None
    label: str | None
    problem: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """How to read one kind of completion.

    Attributes:
        cuts: Everything from the first of these on is dropped.
        markers: What introduces the answer. The first of these that occurs counts.
        extract: Takes the text after the marker; returns (label, problem), one of
            which is None.
    """

    cuts: tuple[str, ...]
    markers: tuple[str, ...]
    extract: Callable[[str], tuple[str | None, str | None]]


def _rest(text: str) -> tuple[str | None, str | None]:
    """All of the text less one trailing full stop: " approve." -> "approve"."""
    label = text.strip().removesuffix(".").rstrip()
    if not label:
        return None, NO_LABEL
    return (None, RUNS_ON) if "\n" in label else (label, None)


def _choice(text: str) -> tuple[str | None, str | None]:
    """What stands after the first "(x)", up to the next: " (d) math." -> "math".

    The letter is ignored. "either (a) pond or (e) sea." gives "pond or": a label,
    though none of the choices.
    """
    pieces = re.split(r"\(.\)", text)
    return _rest(pieces[1]) if len(pieces) > 1 else (None, NO_LABEL)


def _equation(text: str) -> tuple[str | None, str | None]:
    """From the first "(" to the last ")" of that line: " (84 / 2)." -> "(84 / 2)".

    " (2 + 14) * 3." gives "(2 + 14)", and " (some bags + 4)." gives "(some bags + 4)":
    labels both, if wrong ones.
    """
    for line in text.split("\n"):
        # Not by a pattern, which takes for ever where there are brackets without end.
        begin, end = line.find("("), line.rfind(")")
        if 0 <= begin < end:
            return line[begin : end + 1], None
    return None, NO_LABEL


def _nli_class(text: str) -> tuple[str | None, str | None]:
    r"""One of the three classes: " neutral." -> "neutral".

    A class with more text behind it ("neutral\n\nPre") runs on.
    """
    label = text.strip().removesuffix(".")
    if label in NLI_CLASSES:
        return label, None
    if not label:
        return None, NO_LABEL
    return None, RUNS_ON if label.startswith(NLI_CLASSES) else NOT_A_CLASS


_SVAMP = Rule(("Q:",), ("The answer is",), _equation)
_ANLI1 = Rule(("Premise:",), ("So the answer is",), _nli_class)

RULES: dict[str, Rule] = {
    "cqa": Rule(("Q:",), ("So the answer is",), _choice),
    "svamp": _SVAMP,
    "asdiv": _SVAMP,
    "anli1": _ANLI1,
    # Without the colon, since a completion may have been cut off just before it.
    "esnli": Rule(("Premise",), ("Answer:",), _nli_class),
    "default": Rule(("Q:", "Input:"), ("So the answer is",), _rest),
}
# Where one teacher's completions differ from the others'.
_TEACHER_RULES: dict[tuple[str, str], Rule] = {
    ("anli1", "gpt_neox"): dataclasses.replace(
        _ANLI1, markers=("So the answer is", "The answer is")
    ),
}


def parse(dataset: str, completion: str, teacher: str = "palm") -> Parsed:
    """Reads one completion.

    Args:
        dataset: A key of `RULES`; "default" reads "… So the answer is yes."
        completion: The teacher's raw text.
        teacher: The teacher's short name.

    Raises:
        KeyError: `dataset` has no rule.
    """
    rule = _TEACHER_RULES.get((dataset, teacher)) or RULES[dataset]
    return parse_with(rule, completion)


def parse_with(rule: Rule, completion: str) -> Parsed:
    """Reads one completion by a rule of one's own."""
    if not records.is_encodable(completion):
        return Parsed(None, None, NOT_TEXT)
    for cut in rule.cuts:
        completion = completion.partition(cut)[0]
    marker = next((m for m in rule.markers if m in completion), None)
    if marker is None:
        return Parsed(None, None, NO_MARKER)
    rationale, *answers = completion.split(marker)
    if len(answers) > 1:
        return Parsed(None, None, SEVERAL_MARKERS)
    label, problem = rule.extract(answers[0])
    if problem:
        return Parsed(None, None, problem)
    rationale = rationale.strip() or None
    return Parsed(rationale, label, None if rationale else BLANK_RATIONALE)
