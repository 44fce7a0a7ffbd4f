r"""Repairs the characters of a reply, before anything is read from it.

"Dead\ud83d line.\r\n" -> "Dead line.\n"
"""

import html
import re

# Characters without a shape: zero-width space, byte order mark, word joiner, soft
# hyphen and marks of the writing direction. Joiners (U+200C, U+200D) belong to words.
_INVISIBLE = re.compile(
    "[\u200b\u2060\ufeff\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    "|[\x00-\x08\x0b\x0e-\x1f\x7f]"
)
_LINE_ENDS = re.compile("\r\n|[\r\x0c\u2028\u2029\x85]")
_ENTITY = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
)


def repair(text: str) -> str:
    """Joins surrogate pairs and removes lone surrogates and invisible characters.

    HTML entities become their characters, and every line end becomes a line feed.
    """
    text = _without_lone_surrogates(text)
    text = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
    text = _without_lone_surrogates(text)
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")
        return pairs.decode("utf-16-le", "ignore")
    return text
