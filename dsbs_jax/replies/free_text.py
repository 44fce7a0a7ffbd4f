r"""Reads a label that is free text.

" visit. Let me look again." -> "visit"

A label ends with its sentence, or at the end of its line. If its sentence fills the
line and another line of text follows directly, the problem is `RUNS_ON`.
"""

import dataclasses
import re

from dsbs_jax.data.completions import NO_LABEL_AFTER_MARKER, RUNS_ON
from dsbs_jax.replies import markup

# A longer line is not a label.
MAX_LINE = 4_000
_ABBREVIATIONS = (
    r"st|dr|mr|mrs|ms|prof|vs|jr|sr|inc|ltd|corp|mt|approx|etc|e\.g|i\.e|a\.m|p\.m"
    # Initials; a single letter up to H at the start is rather the letter of a choice.
    r"|(?<=[\s.])[a-z]|[i-z]"
)
# The end of a sentence, with closing quotes or markup, before another sentence.
_SENTENCE_END = re.compile(r"[.!?…][*_`\"'”’)\]]{0,4}(?=\s+[^\s\d])|[。！？]")
_SHORTENED = re.compile(rf"(?:^|[\s(\"'.])(?:{_ABBREVIATIONS})\.$", re.IGNORECASE)
_REASON = re.compile(
    r",?\s(?:because|since|as it|as the|as there|due to|given that|for the reason)\b",
    re.IGNORECASE,
)
# A line that follows a label and does not belong to it.
_NO_PART = re.compile(
    r"[\s#>*_`~=|-]*$"
    r"|[\s#>*_-]{0,12}(?:explanation|reason|reasoning|rationale|justification|note"
    r"|confidence|question|input|q|user|human|next|p\.?s|why|source|sources)\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A label that was read.

    Attributes:
        text: The label, or None.
        problem: Why there is no label, or None.
        rest: The text after the label.
    """

    text: str | None
    problem: str | None
    rest: str


def read(text: str, opened: str = "") -> Label:
    """Reads the label at the start of a text.

    Args:
        text: The text after an answer phrase.
        opened: Markup that was opened before it.
    """
    line, rest = first_line(text)
    if len(line) == MAX_LINE:
        return Label(None, RUNS_ON, rest)
    sentence, more = _first_sentence(line)
    label = markup.strip_label(sentence, opened)
    if reason := _REASON.search(label):
        more = label[reason.start() :] + more
        label = markup.strip_label(label[: reason.start()])
    if not any(map(str.isprintable, label.replace(" ", ""))):
        return Label(None, NO_LABEL_AFTER_MARKER, rest)
    after = rest.removeprefix("\n")
    below = after.partition("\n")[0]
    if not more and below.strip() and not _NO_PART.match(below):
        return Label(None, RUNS_ON, rest)
    return Label(label, None, more + rest)


def first_line(text: str) -> tuple[str, str]:
    """Returns the first line with more than markup, and what follows it."""
    position = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if line.strip(" \t*_`#>$~:=-\\[](){}.") and not _is_fence(line):
            return line, text[end:]
        position = end + 1
    return "", ""


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```") and not line.strip().endswith("```")


def _first_sentence(line: str) -> tuple[str, str]:
    """Splits a line after its first sentence: "St. Ives. It is." -> "St. Ives."."""
    for match in _SENTENCE_END.finditer(line):
        before = line[: match.start() + 1]
        if not _SHORTENED.search(before[-12:]):
            return line[: match.end()], line[match.end() :]
    return line, ""
