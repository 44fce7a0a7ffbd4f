r"""Reads which of a row's choices an answer names.

Choices (a) pond, (b) stove: "B", "(b) Stove.", "option b", "2", "the stove" -> "stove";
"(a) or (b)" is ambiguous.
"""

import re
from collections.abc import Sequence

from dsbs_jax.data.completions import NO_LABEL_AFTER_MARKER, Answer
from dsbs_jax.replies import free_text, markup
from dsbs_jax.replies.problems import AMBIGUOUS_CHOICE, NO_CHOICES, NOT_A_CHOICE

_MAX_CHOICES = 26
# "(a) pond", "b. stove", "C: sea", "4) lake" on a line of its own, or within a line.
_LINE = re.compile(
    r"^[ \t*_-]{0,8}[(\[]?([A-Za-z]|\d{1,2})[)\].:][*_]{0,2}[ \t]{1,9}(\S.*)$",
    re.MULTILINE,
)
_INLINE = re.compile(r"[(\[]([A-Za-z]|\d{1,2})[)\]][ \t]{0,5}([^()\[\]\n]+)")
_LEAD = re.compile(
    r"(?:(?:the|most likely|probably|likely|clearly|answer|correct|best|choice"
    r"|option|letter|number|no\.|alternative|it is|it's|is)[\s:]{1,5}){1,5}(?=\S)",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"[(\[{<（【]?\s{0,2}([A-Za-z]|\d{1,2})\s{0,2}"
    r"(?:[)\]}>）】]\s{0,2}[.:,;\-–—=]?|[.:,;\-–—/=]|(?=\s)|$)\s{0,5}",
)
_OTHER_LETTER = re.compile(
    r"(?P<before>\b(?:not|than|of|unlike|over)\s{1,3}(?:option\s|choice\s)?)?"
    r"[(\[（]\s?([A-Za-z]|\d{1,2})\s?[)\]）]"
)
_JOINED = re.compile(
    r"\s{0,3}(?:,|/|&|\+|\bor\b|\band\b|\band/or\b){1,3}\s{0,3}(?:option\s|choice\s)?"
    r"[(\[]?([A-Za-z]|\d{1,2})(?:[)\].,:]|\s|$)"
)
_EITHER = re.compile(r"(?:either|both|neither|not|none but)\b", re.IGNORECASE)
_NEGATED = re.compile(
    r"\b(?:not|neither|n(?:or|ever|o)|isn't|than|unlike)\b", re.IGNORECASE
)
_ARTICLE = re.compile(r"^(?:the|an?|to|in|on|at|in the|in an?|at the|on the)\s+")
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_CLAUSE = re.compile(r"[,;.(\[–—]|\s(?:because|since|as|which|where|so)\s")
# Words of an explanation, rather than of a choice.
_EXPLANATION_WORDS = 4


def choices_of(asked: str) -> tuple[str, ...]:
    r"""Returns the choices that an input lists: "Where?\n(a) pond\n(b) sea" -> both.

    Returns:
        The choices in their order; empty without a list that begins with a or 1.
    """
    best: list[str] = []
    for pattern in (_LINE, _INLINE):
        run: list[str] = []
        for match in pattern.finditer(asked):
            position = _position(match[1])
            if position == 0:
                run = []
            if position == len(run) and len(run) < _MAX_CHOICES:
                run.append(match[2].strip())
                best = run if len(run) >= max(2, len(best)) else best
        if best:
            return tuple(text.rstrip(" ;,") for text in best)
    return ()


def read(text: str, choices: Sequence[str], by_mention: bool = True) -> Answer:
    """Reads the choice at the start of an answer.

    Args:
        text: The text after an answer phrase.
        choices: The row's choices; empty if they are not known.
        by_mention: Whether a short sentence that mentions one choice names it.

    Returns:
        (the choice as the row spells it, None), or (None, the problem).
    """
    line, _ = free_text.first_line(text)
    answer = markup.strip_label(line)
    if not answer:
        return None, NO_LABEL_AFTER_MARKER
    if not choices:
        return _without_choices(answer, line)
    forms = [_form(choice) for choice in choices]
    if whole := _named(answer, line, forms):
        return _one(whole, choices)
    lead = _LEAD.match(answer)
    answer = answer[lead.end() :] if lead else answer
    if _EITHER.match(answer):
        return None, AMBIGUOUS_CHOICE
    letter = _LETTER.match(answer)
    position = _position(letter[1]) if letter else -1
    if letter and 0 <= position < len(choices):
        return _lettered(answer[letter.end() :], answer, letter, position, choices)
    return _one(_mentioned(answer, forms) if by_mention else set(), choices)


def _named(answer: str, line: str, forms: list[str]) -> set[int]:
    """Returns the choices whose text, or position, is the complete answer."""
    named = set()
    for text in (answer, line.strip().rstrip("."), _CLAUSE.split(answer)[0]):
        named = {i for i, form in enumerate(forms) if form and form == _form(text)}
        if named:
            break
    # "2" may be the second choice or the choice "2".
    if named and answer.isdecimal() and len(answer) < 3:
        position = _position(answer)
        if 0 <= position < len(forms) and position not in named:
            named.add(position)
    return named


def _lettered(
    rest: str, answer: str, letter: re.Match[str], position: int, choices: Sequence[str]
) -> Answer:
    """Checks that the text after a letter does not name another choice."""
    forms = [_form(choice) for choice in choices]
    if _names_other_letter(answer[letter.end(1) :], position, len(choices)):
        return None, AMBIGUOUS_CHOICE
    rest = markup.strip_label(rest)
    clause = _form(_CLAUSE.split(rest)[0])
    own = forms[position]
    if any(clause == form != own for form in forms):
        return None, AMBIGUOUS_CHOICE
    if not rest or _is_form_of(clause, own) or _contains(_form(rest), own):
        return choices[position], None
    others = {i for i in _mentioned(rest, forms) if forms[i] != own}
    if others and not _NEGATED.search(rest):
        return None, AMBIGUOUS_CHOICE
    is_text = len(_WORD.findall(rest)) < _EXPLANATION_WORDS and not re.match(
        r"(?:because|since|as|it|this|so|for|not|and|rather|instead|unlike)\b",
        rest,
        re.IGNORECASE,
    )
    return (None, NOT_A_CHOICE) if is_text else (choices[position], None)


def _names_other_letter(rest: str, position: int, count: int) -> bool:
    """Whether another letter follows: "(a) or (b)", "a, c"."""
    if joined := _JOINED.match(rest.lstrip(" )]）】.:")):
        other = _position(joined[1])
        # "a, b" names two choices; "a: I think" does not.
        if 0 <= other < count and other != position and joined[1] not in ("I",):
            return True
    for match in _OTHER_LETTER.finditer(rest[:400]):
        other = _position(match[2])
        if not match["before"] and 0 <= other < count and other != position:
            return not _NEGATED.search(rest[: match.start()])
    return False


def _mentioned(text: str, forms: Sequence[str]) -> set[int]:
    """Returns the choices whose words are in a short text.

    Of "letter" and "letter box", a text with "letter box" mentions the longer one only.
    """
    words = _form(text)
    if len(words.split()) > 12 or _NEGATED.search(text):
        return set()
    found = {i for i, form in enumerate(forms) if form and _contains(words, form)}
    return {
        i
        for i in found
        if not any(
            forms[i] != forms[j] and _contains(forms[j], forms[i]) for j in found
        )
    }


def _one(found: set[int], choices: Sequence[str]) -> Answer:
    if not found:
        return None, NOT_A_CHOICE
    first = min(found)
    if len({_form(choices[i]) for i in found}) > 1:
        return None, AMBIGUOUS_CHOICE
    return choices[first], None


def _without_choices(answer: str, line: str) -> Answer:
    """Reads an answer as the paper's parser does, without knowing the choices."""
    lead = _LEAD.match(answer)
    rest = answer[lead.end() :] if lead else answer
    if _EITHER.match(rest) or _OTHER_LETTER.search(rest[3:]):
        return None, AMBIGUOUS_CHOICE
    letter = _LETTER.match(rest)
    if letter and not answer[letter.end() :].strip():
        return None, NO_CHOICES
    if letter and letter[0][:1] in "([{（【":
        rest = rest[letter.end() :]
        if not markup.strip_label(rest):
            return None, NO_CHOICES
        return free_text.read(rest).text, None
    return free_text.read(line).text, None


def _position(letter: str) -> int:
    """Returns the position of a choice: "a", "A" or "1" -> 0."""
    if letter.isdecimal():
        return int(letter) - 1
    return ord(letter.lower()) - ord("a")


def _form(text: str) -> str:
    """Returns the words in lower case, without an article: "The Stove." -> "stove"."""
    text = _ARTICLE.sub("", markup.strip_label(text).casefold())
    return " ".join(_WORD.findall(text)) or text


def _contains(words: str, form: str) -> bool:
    return bool(form) and f" {form} " in f" {words} "


def _is_form_of(text: str, form: str) -> bool:
    """Whether one text is the other with another ending or with more words."""
    return bool(text and form) and (
        text == form
        or text.startswith(f"{form} ")
        or _contains(form, text)
        or form in (f"{text}s", f"{text}es")
        or text in (f"{form}s", f"{form}es")
    )
