r"""Removes the markup around a label and a rationale.

"**visit.**" -> "visit", "$\boxed{\text{visit}}$" -> "visit", "<b>visit</b>" -> "visit"
"""

import re
import unicodedata

# A label has at most this many layers of markup.
_MAX_LAYERS = 12
_PAIRS = (
    *(("```", "```"), ("**", "**"), ("__", "__"), ("~~", "~~"), ("==", "==")),
    *(("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("'", "'"), ("''", "''")),
    *(("“", "”"), ("”", "”"), ("„", "“"), ("„", "”"), ("‘", "’"), ("‚", "‘")),
    *(("«", "»"), ("»", "«"), ("‹", "›"), ("「", "」"), ("『", "』"), ("《", "》")),
    *(("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")),
    *(("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("（", "）"), ("【", "】")),
)
_SAME = frozenset(opening for opening, closing in _PAIRS if opening == closing)
_COMMAND = re.compile(
    r"\\(?:boxed|fbox|framebox|text|textbf|textit|texttt|textrm|textsf|mathrm|mathbf"
    r"|mathsf|mathtt|mathit|emph|underline|operatorname|mbox|bm|color\{[a-z]{1,20}\})"
    r"[ \t]{0,5}\{"
)
_ELEMENT = re.compile(r"<([A-Za-z][\w-]{0,30})(?:\s[^<>\n]{0,200})?>")
_BREAK = re.compile(r"<(?:br|hr|p)\s{0,5}/?>|</p>", re.IGNORECASE)
# Signs before a label: bullets, arrows, colons, quote marks of Markdown.
_BEFORE = re.compile(r"(?:[-–—•●▪◦>#:=→⇒➜➡|…]|\\(?:to|rightarrow|Rightarrow)\b)\s")
_ARROW = re.compile(r"(?:[:=→⇒➜➡|：]|->|=>)\s{0,20}")
_AFTER = ".!?,;:…。！？，；：|\\"
_FENCE = re.compile(r"```[ \t]{0,9}[\w+-]{0,20}[ \t]{0,9}\n([\s\S]*?)\n?[ \t]{0,9}```")
# "Washington D.C.": the last full stop belongs to the word.
_INITIALS = re.compile(r"(?:^|[\s(])(?:[^\W\d_]\.){2,10}$")
_HEADER = re.compile(
    r"[#>*_\s-]{0,12}(?:(?:the|my|your|step[- ]by[- ]step|detailed)\s)?"
    r"(?:rationale|reasonings?|reason|explanation|justification|thoughts?|analysis"
    r"|solution|step[- ]by[- ]step|response|output|A)"
    r"[*_\s]{0,6}[:：][*_]{0,3}(?=\s|$)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"[ \t]{0,9}#{1,6}[ \t]{1,9}[*_]{0,3}(?:rationale|reasoning|reason|explanation"
    r"|analysis|solution|response)[*_:]{0,4}[ \t]{0,9}\n",
    re.IGNORECASE,
)
# Markup that a rationale ends with, when it belonged to the answer after it.
_LEFT_OPEN = re.compile(
    r"(?:^|\s)(?:\*{1,3}|_{1,3}|`{1,3}|~~|[>#-]{1,6}|\\\(|\\\[|\$\$?)$"
)
_RULE = re.compile(r"(?:^|\n)[ \t]{0,9}(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]{0,9}$")
_WRAPPER = re.compile(
    r"<(rationale|reason|explanation|justification|response|output|solution|p|div)>"
    r"([\s\S]*)</\1>",
    re.IGNORECASE,
)


def strip_label(text: str, opened: str = "") -> str:
    """Removes everything around a label that does not belong to it.

    Args:
        text: The label with its markup.
        opened: Markup that was opened before the label, such as "**".
    """
    text = _without_opened(text.strip(), opened.strip())
    for _ in range(_MAX_LAYERS):
        before = text
        text = _BREAK.sub(" ", text).strip()
        text = strip_punctuation(text)
        text = _without_signs(text)
        text = _without_pair(_without_command(_without_element(text)))
        if text == before:
            break
    return text


def strip_punctuation(text: str) -> str:
    """Removes punctuation at the end: "visit.." -> "visit", "D.C.." -> "D.C."."""
    while text and text[-1] in _AFTER and not _INITIALS.search(text[-30:]):
        text = text[:-1].rstrip()
    return text


def strip_rationale(text: str) -> str:
    """Removes headers, fences and left-over markup around a rationale."""
    text = text.strip()
    for _ in range(_MAX_LAYERS):
        before = text
        if fence := _FENCE.fullmatch(text):
            text = fence[1]
        if wrapper := _WRAPPER.fullmatch(text):
            text = wrapper[2]
        if header := _HEADING.match(text) or _HEADER.match(text):
            text = text[header.end() :]
        tail = text[-80:]
        if rest := _LEFT_OPEN.search(tail) or _RULE.search(tail):
            text = text[: len(text) - len(tail) + rest.start()]
        text = _without_outer_emphasis(text.strip())
        if text == before:
            break
    return text


def _without_outer_emphasis(text: str) -> str:
    for sign in ("**", "__", '"', "*", "_", "`"):
        inner = text[len(sign) : -len(sign)]
        is_one = text == f"{sign}{inner}{sign}" and sign not in inner
        if is_one and inner.strip():
            return inner.strip()
    return text


def _without_opened(text: str, opened: str) -> str:
    r"""Removes the end of markup that began before: "visit.**", "**" -> "visit."."""
    signs = "".join(reversed(opened))
    bare = strip_punctuation(text)
    if signs and bare.endswith(signs):
        return bare[: -len(signs)].strip()
    for sign in ("**", "__", "~~"):
        if bare.endswith(sign) and bare.count(sign) == 1:
            return bare[: -len(sign)].strip()
    if bare[-1:] in ('"', "”", "`", "*", "_", "’") and bare.count(bare[-1]) == 1:
        inner = bare[:-1]
        if inner[-1:] in _AFTER and not (bare[-1] == "”" and "“" in inner):
            return inner.strip()
    return text


def _without_signs(text: str) -> str:
    while match := _BEFORE.match(text) or _ARROW.match(text):
        text = text[match.end() :].lstrip()
    begin, end = 0, len(text)
    while begin < end and _is_symbol(text[begin]):
        begin += 1
    while begin < end and _is_symbol(text[end - 1]):
        end -= 1
    # A label that consists of symbols is a label.
    return text[begin:end].strip() or text


def _is_symbol(character: str) -> bool:
    """Whether it is an emoji or part of one, or a blank next to it."""
    return (
        unicodedata.category(character) == "So"
        or character in "\ufe0f\u200d"
        or character.isspace()
    )


def _without_element(text: str) -> str:
    match = _ELEMENT.match(text)
    if match and text.endswith(f"</{match[1]}>"):
        return text[match.end() : -len(f"</{match[1]}>")].strip() or text
    return text


def _without_command(text: str) -> str:
    r"""Removes a LaTeX command around the complete text: "\text{a}" -> "a"."""
    match = _COMMAND.match(text)
    if match and closing_brace(text, match.end()) == len(text) - 1:
        return text[match.end() : -1].strip() or text
    return text


def _without_pair(text: str) -> str:
    if fence := _FENCE.fullmatch(text):
        return fence[1].strip() or text
    for opening, closing in _PAIRS:
        size = len(opening) + len(closing)
        if not (text.startswith(opening) and text.endswith(closing)):
            continue
        inner = text[len(opening) : len(text) - len(closing)]
        if len(text) > size and inner.strip() and _encloses(inner, opening, closing):
            return inner.strip()
    return text


def _encloses(inner: str, opening: str, closing: str) -> bool:
    """Whether the pair around the text is one pair: "a) or (b" -> False."""
    if opening in _SAME:
        return opening not in inner
    depth, position = 0, 0
    while position < len(inner):
        if inner.startswith(closing, position):
            depth -= 1
            position += len(closing)
        elif inner.startswith(opening, position):
            depth += 1
            position += len(opening)
        else:
            position += 1
        if depth < 0:
            return False
    return depth == 0


def closing_brace(text: str, begin: int) -> int:
    """Returns the position of the brace that closes one before `begin`, or -1."""
    depth = 1
    for position in range(begin, min(len(text), begin + 2000)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    return -1
