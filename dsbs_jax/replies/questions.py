r"""Finds where a reply continues with another question.

A question begins at the start of a line with a whole word: "\n\nQ: Next" does, "the
FAQ: dead" and "UserInput: none" do not.
"""

import functools
import itertools
import re
from collections.abc import Sequence

from dsbs_jax.data.records import SEGMENT_SEPARATOR

# Words of a next turn, in addition to the dataset's own.
_TURNS = ("Question", "User", "Human", "Customer question", "Instruction")
# Words that begin a next question only after an answer, because a rationale may have
# them too.
_AFTER_ANSWER = (
    *("Problem", "Example", "Exercise", "Task", "Hypothesis", "Premise", "Context"),
    *("Text", "Ticket", "Passage", "Input", "Q", "Query", "Prompt", "Sentence"),
    *("Assistant", "System", "Choices", "Answer choices"),
)
# What may be between a restated question and the answer to it.
_REPLY_BEGINS = re.compile(
    r"[*_\s#>]{0,12}(?:A|Answer|Reply|Response|Reasoning|Reason|Rationale|Explanation"
    r"|Solution|Assistant)[*_]{0,3}\s{0,3}[:：][*_]{0,3}",
    re.IGNORECASE,
)
_WORDS = re.compile(r"\w+")
# What may be before a segment of a restated question: nothing, or "**Hypothesis:** ".
_BEFORE = (
    re.compile(r"[\W_]{0,12}"),
    re.compile(
        r"[\s#>*_\"“]{0,12}[A-Za-z]{1,20}(?:[ ][A-Za-z]{1,20})?[ ]?\d{0,3}"
        r"[*_]{0,3}[:：][\W_]{0,12}"
    ),
)


@functools.cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(word) for word in words)
    return re.compile(
        rf"^[ \t#>*_-]{{0,12}}(?:next[ ])?(?:{names})[ ]?(?:\#?\d{{1,4}})?"
        r"[*_ \t]{0,6}(?:[:：]|\Z)",
        re.IGNORECASE | re.MULTILINE,
    )


@functools.cache
def _own_words(cut_at: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a parser's texts: ("Q:", "Premise") -> ("Q", "Premise")."""
    words = (text.strip().rstrip(":").strip() for text in cut_at)
    return tuple(word for word in words if word)


def cut(text: str, cut_at: Sequence[str]) -> str:
    """Removes the next question and everything after it."""
    match = _pattern((*_own_words(tuple(cut_at)), *_TURNS)).search(text)
    return text if match is None else text[: match.start()]


def next_question(text: str, begin: int) -> int:
    """Returns where a question begins after an answer; the text's length if none.

    Args:
        text: The reply.
        begin: The end of the answer.
    """
    match = _pattern((*_TURNS, *_AFTER_ANSWER)).search(text, begin)
    # The pattern's line start also matches at `begin`, in the middle of a line.
    while (
        match and match.start() == begin and text[begin - 1 : begin] not in ("", "\n")
    ):
        match = _pattern((*_TURNS, *_AFTER_ANSWER)).search(text, match.end())
    return len(text) if match is None else match.start()


def without_restated(text: str, asked: str) -> str:
    r"""Removes the input at the start of a reply that repeats it.

    "Q: 2 + 2?\nA: Count on.", "2 + 2?" -> "Count on."

    Args:
        text: The reply.
        asked: The input of the row.
    """
    position = 0
    for segment in asked.split(SEGMENT_SEPARATOR):
        end = _end_of(segment, text, position)
        if end is None:
            return text
        position = end
    if not asked.strip():
        return text
    rest = text[position:]
    if begins := _REPLY_BEGINS.match(rest):
        return rest[begins.end() :]
    # A sentence that only begins like the input does not repeat it.
    return rest if rest[:1] in ("", "\n") else text


def _end_of(segment: str, text: str, begin: int) -> int | None:
    """Returns the end of a segment's words in a text, if it begins with them."""
    words = _WORDS.findall(segment)
    starts = (match.end() for p in _BEFORE if (match := p.match(text, begin)))
    ends = (_end_of_words(words, text, start) for start in starts)
    end = next((end for end in ends if end is not None), None)
    if end is None:
        return None
    # Punctuation of the input's end.
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1
    return end


def _end_of_words(words: Sequence[str], text: str, begin: int) -> int | None:
    end = begin
    for word, match in itertools.zip_longest(words, _WORDS.finditer(text, begin)):
        if word is None:
            break
        if match is None or match[0] != word:
            return None
        end = match.end()
    return end
