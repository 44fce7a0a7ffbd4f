r"""Reads a judge's reply: yes or no, and a reason.

    "It names the dead line. **Verdict:** Yes" -> "yes", "It names the dead line."

The verdict follows the word "Verdict". Without this word, it is the first word of the
reply or the last line. Without these, it is a field of a JSON object: "verdict" if the
object has it. The words "yes" and "no" in other places are part of the reason, which
may discuss an answer "no" or quote an object of the question.
"""

import re
from collections.abc import Iterator

from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.replies import (
    characters,
    json_objects,
    markup,
    reasoning,
    special_tokens,
    structured_answers,
)
from dsbs_jax.replies.problems import (
    INCOMPLETE,
    NO_LABEL_FIELD,
    NO_VERDICT,
    TOO_LONG,
    TWO_ANSWERS,
    UNFINISHED_REASONING,
)
from dsbs_jax.replies.reader import MAX_LENGTH, READER_VERSION

# Names of the verdict's field in an object, the expected one first.
_FIELDS = ("verdict", *structured_answers.LABEL_FIELDS)
MAX_REASON = 300  # characters of a reason
# "Yes." and "yes, because"; "no" in "no error" and in "yes or no" is not a verdict.
_WORD = (
    r"\b(?P<verdict>yes|no)\b[*_`\"'”’)\]]{0,6}"
    r"(?=[.,;:!?}<\n]|\s{1,9}[—–(\[<-]|\s{1,9}(?:because|since|as)\b|\s*\Z)"
)
_MARKED = re.compile(
    rf"(?:\b(?:my|the|final)\s{{1,9}}){{0,3}}\bverdict\b[\s*_`#\"'“‘(\[:：=>-]{{0,20}}(?:is\b[\s*_`\"'“‘:]{{0,9}})?{_WORD}",
    re.IGNORECASE,
)
_FIRST = re.compile(rf"\A[\s*_`#\"'“‘(\[>-]{{0,20}}{_WORD}", re.IGNORECASE)
_LAST = re.compile(
    rf"(?:\A|\n)[ \t*_`#\"'“‘(\[>-]{{0,20}}{_WORD}[\W_]*\Z", re.IGNORECASE
)


class VerdictReader:
    """Reads verdicts; a `reader.Reader`."""

    keep_reasoning = False
    version = READER_VERSION

    def read(
        self, reply: str, asked: str = "", cut_off: bool = False
    ) -> ParsedCompletion:
        """Reads a reply.

        Args:
            reply: The raw reply, any text.
            asked: The question to the judge, which is not needed.
            cut_off: Whether the reply may be incomplete. Then a verdict counts only if
                more text follows it.

        Returns:
            The reason as the rationale, and "yes" or "no" as the label. Without a
            verdict, both are None, and there is a problem.
        """
        if len(reply) > MAX_LENGTH:
            return ParsedCompletion(None, None, TOO_LONG)
        split = reasoning.split(characters.repair(reply))
        text = special_tokens.without(split.visible).strip()
        if split.unfinished and not text:
            return ParsedCompletion(None, None, UNFINISHED_REASONING)
        return _read_object(text) or _read_text(text, cut_off)

    # A judge's reply is not structured output, but may be a JSON object.
    read_structured = read


def _read_text(text: str, cut_off: bool) -> ParsedCompletion:
    found = list(_verdicts(text))
    if cut_off:
        found = [match for match in found if text[match.end() :].strip(".*_`\"'")]
    verdicts = {match["verdict"].casefold() for match in found}
    if len(verdicts) > 1:
        return ParsedCompletion(None, None, TWO_ANSWERS)
    if not found:
        return ParsedCompletion(None, None, INCOMPLETE if cut_off else NO_VERDICT)
    reason = text[: found[0].start()].strip(" \t\n*_`#\"'“-")
    reason = reason or text[found[-1].end() :].lstrip(" \t\n*_`\"'.,;:!—–-")
    return ParsedCompletion(_short(reason), verdicts.pop(), None)


def _verdicts(text: str) -> Iterator[re.Match[str]]:
    """Yields the places of a text that state a verdict."""
    marked = list(_MARKED.finditer(text))
    if marked:
        yield from marked
        return
    for pattern in (_FIRST, _LAST):
        if match := pattern.search(text):
            yield match


def _read_object(text: str) -> ParsedCompletion | None:
    """Reads a JSON object, {"reason": "It is.", "verdict": "yes"}.

    Returns:
        The verdict or a problem; None if the text outside the objects states a
        verdict, or if the objects have no field for it.
    """
    if "{" not in text or any(_verdicts(json_objects.without(text))):
        return None
    fields = structured_answers.read(text, _FIELDS[:1])
    if fields is None or fields.problem == NO_LABEL_FIELD:
        fields = structured_answers.read(text, _FIELDS)
    if fields is None:
        return None
    matches = [_FIRST.search(label) for label in fields.labels]
    verdicts = {match["verdict"].casefold() if match else None for match in matches}
    if len(verdicts) > 1 or fields.problem == TWO_ANSWERS:
        return ParsedCompletion(None, None, TWO_ANSWERS)
    if not verdicts:
        return None
    verdict = verdicts.pop()
    if verdict is None:
        return ParsedCompletion(None, None, NO_VERDICT)
    return ParsedCompletion(_short(fields.rationale or ""), verdict, None)


def _short(reason: str) -> str | None:
    """Returns a reason as one line of limited length, or None for a blank one."""
    line = " ".join(markup.strip_rationale(reason).split())
    return line[:MAX_REASON] or None
