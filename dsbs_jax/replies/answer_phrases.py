r"""Finds the phrases of a reply that introduce an answer.

    "The line is dead, so the **answer** is: visit."
    -> one phrase from ", so" to "is: "; the text after it begins with "visit."

Phrases have ranks. A phrase of a lower rank counts only if no phrase of a higher rank
is followed by an answer. A reply with "whether the answer is yes" and "So the answer is
no." has the answer "no".
"""

import dataclasses
import re
from collections.abc import Iterable

from dsbs_jax.replies import markup

# Ranks, from strong to weak.
OWN = 0  # exactly a marker of the dataset
CLEAR = 1  # an answer phrase that begins a sentence or a clause
WEAK = 2  # the same within a clause, with "must be", or with a word such as "result"
# Phrases of a reply that are read at most.
_MAX_PHRASES = 200

# Between the words of a phrase: blanks and markup.
_GAP = r"[\s*_`~]{1,12}"
_ADJECTIVE = (
    r"(?:final|correct|best|right|most"
    + _GAP
    + r"(?:likely|appropriate|suitable)|likely"
    r"|appropriate|predicted|chosen|overall|short|proper|expected|single|only|true)"
)
_VERB = r"(?:is|was|are|equals|remains)"
# "The answer must be a place" is rather a step of the reasoning than the answer.
_MODAL = (
    rf"(?:(?:would|will|should|must|could|may|might|can{_GAP}only|has{_GAP}to|seems{_GAP}to"
    rf"|appears{_GAP}to){_GAP}be|becomes)"
)
_NOUN = (
    r"(?:label|class|category|choice|option|solution|result|classification|verdict"
    r"|decision|prediction|conclusion|output|total|relationship|relation)"
)
# Markup that closes here; markup that opens belongs to the answer.
_CLOSES = r"(?:[*_`~]{1,3}(?=[\s:=：]))?"
_AFTER_VERB = rf"{_CLOSES}[ \t]{{0,6}}[:=：]?{_CLOSES}"
_CORE = (
    rf"(?:\b(?:the|my|our|your|its){_GAP})?(?:\b{_ADJECTIVE}{_GAP}){{0,2}}"
    r"\b{noun}\b"
    rf"(?:{_GAP}(?:to|for|here|in|of)(?:{_GAP}[\w'’-]{{1,20}}){{0,6}}?)?"
    rf"{_GAP}{{verb}}\b{_AFTER_VERB}"
)
_OTHER_LANGUAGES = (
    r"\b(?:die (?:richtige )?antwort (?:ist|lautet)"
    r"|la respuesta(?: correcta| final)? es"
    r"|la réponse(?: finale| correcte)? est|a resposta(?: correta| final)? é"
    r"|la risposta(?: corretta| finale)? è|het (?:juiste )?antwoord is"
    r"|odpowiedź to|cevap|ответ[ :—-])[ \t]{0,6}[:：]?"
    r"|(?:最终|正确)?答案(?:是|为|應該是|应该是)?[ \t]{0,6}[:：]?"
    r"|答え(?:は|：)|정답은|답은"
)
_HEADER_WORDS = (
    r"(?:(?:so|thus|(?:hen|then)ce|therefore)[,]?"
    + _GAP
    + r")?(?:(?:the|my|your|final|correct"
    r"|short|predicted|best)" + _GAP + r"){0,3}"
)
_HEADER_NOUN = (
    r"(?:answer|ans\.?|antwort|respuesta|réponse|resposta|risposta|antwoord|odpowiedź"
    r"|ответ|答案|答え|정답)"
)
# "Answer: visit" at the start of a line or of a sentence.
_HEADER = (
    rf"(?:^[ \t#>*_`|-]{{0,12}}|(?<=[.!?;:])[ \t*_]{{1,8}})(?:\d{{1,2}}[.)][ \t])?"
    rf"{_HEADER_WORDS}(?:{{noun}})(?:{_GAP}(?:choice|option|label|letter))?"
    r"[*_`~ \t]{0,6}(?:[:：=]|->|=>|→)(?:[*_`~]{1,3}(?=\s))?[ \t]{0,6}"
)
# "### Final answer" as a heading, with the answer below it.
_HEADING = (
    r"^[ \t]{0,3}(?:#{1,6}[ \t]{1,3}|\*\*|__)[*_]{0,3}(?:the[ ])?(?:final[ ])?answer"
    r"[*_:]{0,4}[ \t]{0,3}\n"
)
_CLEAR = re.compile(
    "|".join(
        [
            _CORE.replace("{noun}", "answer").replace("{verb}", _VERB),
            _OTHER_LANGUAGES,
            _HEADER.replace("{noun}", _HEADER_NOUN),
            _HEADING,
        ]
    ),
    re.IGNORECASE | re.MULTILINE,
)
_WEAK = re.compile(
    "|".join(
        [
            _CORE.replace("{noun}", "answer").replace("{verb}", _MODAL),
            _CORE.replace("{noun}", _NOUN).replace("{verb}", f"(?:{_VERB}|{_MODAL})"),
            _HEADER.replace("{noun}", _NOUN),
        ]
    ),
    re.IGNORECASE | re.MULTILINE,
)
# Words that lead to a phrase and do not belong to the rationale.
_LEAD_IN = re.compile(
    r"(?:(?:^|(?<=[\s*_.,;:!?)—–-]))"
    r"(?:so|thus|therefore|(?:hen|then)ce|consequently|accordingly|ultimately|finally|overall"
    r"|in conclusion|in summary|in short|to conclude|as a result|that(?: i|['’])s why"
    r"|this means(?: that)?|which means(?: that)?|meaning(?: that)?|and|then|but"
    r"|it follows(?: that)?|for this reason|based on (?:this|that)|given this"
    r"|(?:i|we)(?: would| can|['’]d)? (?:think|believe|say|conclude|know|get|see)"
    r"(?: that)?|(?:i am|i['’]m) (?:confident|sure|certain)(?: that)?|daher|also"
    r"|por lo tanto|donc|因此|所以)[,:]?[\s*_`~]{1,8}){1,4}\Z",
    re.IGNORECASE,
)
# What may be before a phrase that begins a sentence or a clause.
_CLAUSE_ENDS = ".!?;:,\n—–-)]}>\"”'|。，：；"
_MARKUP = "*_`~#> \t"
# What may be between two phrases of the same answer.
_BETWEEN = " \t\n*_`~$:\\([="
# A boxed answer, tagged answers, and GSM8K's last line.
_BOXED = re.compile(r"\\(?:boxed|fbox)[ \t]{0,3}\{")
_TAGGED = re.compile(
    r"<(answer|final_answer|final|label|choice|prediction|class|category)>",
    re.IGNORECASE,
)
_HASHES = re.compile(r"^[ \t]{0,3}####[ \t]{0,3}(?=\S)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that introduces an answer.

    Attributes:
        begin: Where the phrase begins, words that lead to it included.
        end: Where the text of the answer begins.
        stop: Position after which no text belongs to the answer.
        rank: `OWN`, `CLEAR` or `WEAK`.
        opened: Markup that was opened before the phrase, such as "**".
        closed: Whether the answer is enclosed, and therefore complete.
    """

    begin: int
    end: int
    stop: int
    rank: int
    opened: str = ""
    closed: bool = False


def find(text: str, markers: Iterable[str] = ()) -> list[Phrase]:
    """Finds the answer phrases of a reply, in their order.

    Args:
        text: The visible reply.
        markers: The markers of the dataset.
    """
    spans = [*_enclosed(text), *_literal(text, markers), *_phrases(text)]
    spans.sort(key=lambda phrase: (phrase.begin, phrase.rank, -phrase.end))
    kept: list[Phrase] = []
    for phrase in spans[:_MAX_PHRASES]:
        # A phrase inside of another one is the same phrase.
        if kept and phrase.begin < kept[-1].end:
            rank = min(phrase.rank, kept[-1].rank)
            end = max(phrase.end, kept[-1].end)
            kept[-1] = dataclasses.replace(kept[-1], rank=rank, end=end)
            continue
        if kept and not text[kept[-1].end : phrase.begin].strip(_BETWEEN):
            # "So the answer is \\boxed{visit}": one answer with two phrases.
            phrase = dataclasses.replace(
                phrase, begin=kept[-1].begin, rank=min(phrase.rank, kept[-1].rank)
            )
            kept.pop()
        kept.append(phrase)
    begins = [phrase.begin for phrase in kept[1:]]
    return [
        dataclasses.replace(phrase, stop=min(phrase.stop, following))
        for phrase, following in zip(kept, [*begins, len(text)], strict=False)
    ]


def _phrases(text: str) -> list[Phrase]:
    found = []
    for pattern, rank in ((_CLEAR, CLEAR), (_WEAK, WEAK)):
        for count, match in enumerate(pattern.finditer(text)):
            if count == _MAX_PHRASES:
                break
            found.append(_phrase(text, match.start(), match.end(), rank))
    return found


def _literal(text: str, markers: Iterable[str]) -> list[Phrase]:
    found: list[Phrase] = []
    for marker in markers:
        position = text.find(marker)
        while position >= 0 and len(found) < _MAX_PHRASES:
            end = position + len(marker)
            phrase = _phrase(text, position, end, OWN)
            found.append(dataclasses.replace(phrase, rank=OWN))
            position = text.find(marker, end)
    return found


def _phrase(text: str, begin: int, end: int, rank: int) -> Phrase:
    """Makes a phrase from a match and the words that lead to it."""
    window = text[max(0, begin - 120) : begin]
    lead_in = _LEAD_IN.search(window)
    if lead_in:
        begin -= len(window) - lead_in.start()
    before = text[max(0, begin - 60) : begin]
    bare = before.rstrip(_MARKUP)
    if not lead_in and bare and bare[-1] not in _CLAUSE_ENDS:
        rank = max(rank, WEAK)
    opened = before[len(bare) :].strip(" \t#>") + _leading_markup(text[begin:end])
    return Phrase(begin, end, len(text), rank, _unclosed(opened, text[begin:end]))


def _leading_markup(phrase: str) -> str:
    start = len(phrase) - len(phrase.lstrip("*_`~ \t#>-|"))
    return "".join(c for c in phrase[:start] if c in "*_`~")


def _unclosed(opened: str, phrase: str) -> str:
    """Returns the markup that is not closed within the phrase itself."""
    inner = phrase.lstrip(_MARKUP)
    return "" if opened and opened in inner else opened


def _enclosed(text: str) -> list[Phrase]:
    r"""Finds "\boxed{visit}", "<answer>visit</answer>" and a last line "#### visit"."""
    found = []
    for count, match in enumerate(_BOXED.finditer(text)):
        end = markup.closing_brace(text, match.end())
        if count == _MAX_PHRASES or end < 0:
            break
        found.append(Phrase(match.start(), match.end(), end, CLEAR, closed=True))
    for match in list(_TAGGED.finditer(text))[-_MAX_PHRASES:]:
        closing = text.find(f"</{match[1]}>", match.end())
        end = closing if closing >= 0 else len(text)
        inner = text[match.end() : end]
        # The tag around a complete reply is not an answer phrase.
        if not _CLEAR.search(inner) and not _BOXED.search(inner):
            found.append(
                Phrase(match.start(), match.end(), end, CLEAR, closed=closing >= 0)
            )
    last = list(_HASHES.finditer(text))[-1:]
    found += [
        Phrase(m.start(), m.end(), len(text), CLEAR)
        for m in last
        if not text[m.end() :].partition("\n")[2].strip()
    ]
    return found
