r"""Reads the value of arithmetic that people or models have typed.

    "\$1,234 × 2 = \$2,468" -> "1234 * 2"; "(14 postcards − 6 postcards)" -> "(14 - 6)"

The result is an expression of `dsbs_jax.data.arithmetic`: the value of the complete
text, never of a part of it. A text has no expression if an operand is not a number, if
two numbers have no operator between them, or if the sides of an equation differ.
Nothing is executed, and lengths, depths, powers and numbers are bounded.
"""

import dataclasses
import fractions
import math
import re

from dsbs_jax.data import arithmetic
from dsbs_jax.data.completions import NO_LABEL_AFTER_MARKER, Answer
from dsbs_jax.replies import arithmetic_typography, free_text, markup
from dsbs_jax.replies.problems import NOT_ARITHMETIC, UNEQUAL

MAX_LENGTH = 500  # characters of a text
_MAX_POWER = 64
_MAX_DEPTH = 40
_SIDES = 8
_ROOT = "sqrt"
_UNIT = r"[^\W\d_]+(?:['’.-][^\W\d_]+)*(?:\^\(?-?\d\)?)?"
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3}(?![\w.]))?|\.\d+)"
    rf"|(?P<word>{_UNIT}(?:\s*/\s*{_UNIT})?)"
    r"|(?P<sign>[-+*/^()=%&°]))"
)
_WORD_OPERATORS = (
    (re.compile(r"\bmultiplied by\b|\btimes\b", re.IGNORECASE), "*"),
    (re.compile(r"\bdivided by\b|\bover\b(?=\s*[\d(])", re.IGNORECASE), "/"),
    (re.compile(r"\bplus\b", re.IGNORECASE), "+"),
    (re.compile(r"\bminus\b", re.IGNORECASE), "-"),
    (re.compile(r"\b(?:equals|is equal to|gives)\b", re.IGNORECASE), "="),
    (re.compile(r"\bpercent\b|\bper cent\b", re.IGNORECASE), "%"),
    (re.compile(r"\bsquared\b", re.IGNORECASE), "^2"),
    (re.compile(r"\bcubed\b", re.IGNORECASE), "^3"),
    (re.compile(r"(?<=%)\s*\bof\b|(?<=\d/\d)\s*\bof\b|(?<=\d/\d\))\s*\bof\b"), "*"),
)
_NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
_NUMBER_WORDS |= {
    word: 10 * number
    for number, word in enumerate(
        ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"],
        start=3,
    )
}
_CENTS = re.compile(r"\bcents?\b|¢", re.IGNORECASE)
_VARIABLE = re.compile(r"[xyznabc]", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?;]\s+(?=[^\W\d_])|[.!?]?\s+(?:because|since|so that)\b|。")
# A bullet of Markdown, which on the line of the phrase is a minus.
_BULLET = re.compile(r"^\s*[-*•]\s")
_MIXED = re.compile(r"(?<![\d./)])(\d{1,6}) (\d{1,3})/(\d{1,3})(?![\d./])")
_NUMBER = re.compile(r"\(?-?[\d.]+\)?")
_APPROXIMATE = re.compile(r"\d+\.(\d+)")


class _NoValueError(Exception):
    """The text is not an expression."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Term:
    """An expression with its value; `text` needs brackets if `level` is 0."""

    text: str
    value: fractions.Fraction
    level: int  # 0 sum, 1 product, 2 number or bracket
    percent: bool = False


def expression(text: str) -> str | None:
    """Returns a plain expression with the value of the complete text, or None."""
    return read_expression(text)[0]


def same_value(target: str, prediction: str) -> bool:
    """Returns whether two texts have the same value: "$1,234" and "1234" do."""
    left, right = expression(target), expression(prediction)
    return left is not None and right is not None and arithmetic.same_value(left, right)


def read(text: str) -> Answer:
    """Reads the expression at the start of an answer: " (14 − 6). It is" -> "(14 - 6)".

    Returns:
        (the expression, None), or (None, the problem).
    """
    line, _ = free_text.first_line(text)
    if not line.strip():
        return None, NO_LABEL_AFTER_MARKER
    if text.lstrip(" *_").startswith("\n"):
        line = _BULLET.sub("", line)
    problem: str | None = NOT_ARITHMETIC
    sentences = [line[: m.start()] for m in _SENTENCE.finditer(line[: 4 * MAX_LENGTH])]
    for part in [line, *reversed(sentences[:4])]:
        found, problem = read_expression(part)
        if found is not None or problem == UNEQUAL:
            return found, problem
    return None, problem


def read_expression(text: str) -> Answer:
    """Returns the expression of a text, or why it has none."""
    text = _bare(text)
    if not text:
        return None, NO_LABEL_AFTER_MARKER
    if len(text) > MAX_LENGTH:
        return None, NOT_ARITHMETIC
    if arithmetic.value(text) is not None:
        return text, None
    if (number := _NUMBER_WORDS.get(text.casefold())) is not None:
        return str(number), None
    if arithmetic_typography.has_currency(text) and _CENTS.search(text):
        return None, NOT_ARITHMETIC
    plain = arithmetic_typography.plain(text)
    for pattern, operator in _WORD_OPERATORS:
        plain = pattern.sub(operator, plain)
    plain = _MIXED.sub(_mixed, plain)
    try:
        return _sides(plain)
    except _NoValueError:
        return None, NOT_ARITHMETIC


def _bare(text: str) -> str:
    """Removes markup around an expression, but not its brackets."""
    text = text.strip()
    for _ in range(6):
        before = text
        text = markup.strip_punctuation(text).lstrip(":=→> \t")
        for sign in ("**", "__", "`", '"', "“", "”", "*", "_", "$$", "\\[", "\\]"):
            if text.startswith(sign) and (sign != "*" or not text[1:2].isspace()):
                text = text[len(sign) :].strip()
            if text.endswith(sign):
                text = text[: -len(sign)].strip()
        if text.startswith("$") and text.endswith("$") and len(text) > 1:
            text = text[1:-1].strip()
        match = re.match(r"\\(?:boxed|fbox|text|mathbf|textbf|mathrm)\s?\{", text)
        if match and markup.closing_brace(text, match.end()) == len(text) - 1:
            text = text[match.end() : -1].strip()
        if text == before:
            break
    # A bracket that was opened before the answer phrase.
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip()
    return text


def _mixed(match: re.Match[str]) -> str:
    """Joins "2 1/2" to one number."""
    whole, numerator, denominator = match.groups()
    if not 0 < int(numerator) < int(denominator):
        return match[0]
    return f"{whole}&({numerator}/{denominator})"


def _sides(text: str) -> Answer:
    """Reads an equation: all sides with numbers have the same value."""
    sides = _outer(text).split("=")
    if len(sides) > _SIDES:
        raise _NoValueError
    if len(sides) > 1 and not re.search(r"\d", sides[0]):
        sides = sides[1:]  # "Total = 14 - 6"
    terms = [_Parser(side).result() for side in sides]
    first = terms[0]
    for other, side in zip(terms[1:], sides[1:], strict=True):
        if not _equal(first.value, other.value, side):
            return None, UNEQUAL
    # "8 = 14 - 6": the side that calculates is the label.
    calculating = (term for term in terms if not _NUMBER.fullmatch(term.text))
    return next(calculating, first).text, None


def _outer(text: str) -> str:
    """Removes brackets around a complete equation: "(14 - 6 = 8)" -> "14 - 6 = 8"."""
    text = text.strip()
    for _ in range(4):
        if "=" in text and _is_bracketed(text):
            text = text[1:-1].strip()
    return text


def _is_bracketed(text: str) -> bool:
    if not (text.startswith("(") and text.endswith(")")):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position == len(text) - 1
    return False


def _equal(left: fractions.Fraction, right: fractions.Fraction, side: str) -> bool:
    """Whether two sides are equal; a decimal number may be rounded."""
    if left == right:
        return True
    match = _APPROXIMATE.search(side)
    if match is None:
        return False
    places = min(len(match[1]), 10)
    return abs(left - right) * 2 <= fractions.Fraction(1, 10**places)


class _Parser:
    """Reads one side by recursive descent; words after numbers are units."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0

    def result(self) -> _Term:
        self._skip_words_before()
        total = self._sum(0)
        if self._next < len(self._tokens):
            raise _NoValueError
        return total

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._next += 1
        return token

    def _skip_words_before(self) -> None:
        """Skips "Ines has" before the first number."""
        skipped = False
        while self._peek()[0] == "word" and self._peek()[1] != _ROOT:
            if _VARIABLE.fullmatch(self._take()[1]):
                raise _NoValueError
            skipped = True
        if (
            skipped
            and self._peek()[1] not in ("(", _ROOT, "")
            and self._peek()[0] != "number"
        ):
            raise _NoValueError

    def _skip_unit(self) -> None:
        """Skips words after a number, if an operator or the end follows."""
        begin = self._next
        while self._peek()[0] == "word":
            if _VARIABLE.fullmatch(self._take()[1]):
                raise _NoValueError
        if self._next > begin and self._peek()[1] not in ("", "+", "-", "*", "/", ")"):
            raise _NoValueError

    def _sum(self, depth: int) -> _Term:
        terms, signs = [self._product(depth)], ["+"]
        while self._peek()[1] in ("+", "-"):
            signs.append(self._take()[1])
            terms.append(self._product(depth))
        if len(terms) == 1:
            return terms[0]
        # "50% + 30%" is 80 %, and "200 - 10%" has no meaning.
        if len({term.percent for term in terms}) > 1:
            raise _NoValueError
        total = sum(
            (t.value if s == "+" else -t.value)
            for s, t in zip(signs, terms, strict=True)
        )
        text = terms[0].text
        for sign, term in zip(signs[1:], terms[1:], strict=True):
            text += f" {sign} {term.text}"
        percent = all(term.percent for term in terms)
        return _Term(text, _bounded(fractions.Fraction(total)), 0, percent)

    def _product(self, depth: int) -> _Term:
        product = self._power(depth)
        while True:
            kind, sign = self._peek()
            if sign in ("*", "/"):
                self._take()
                right = self._power(depth)
            elif kind == "joined":  # 2(3 + 4)
                sign, right = "*", self._power(depth)
            else:
                break
            product = _fraction_of_percent(product)
            right = _fraction_of_percent(right)
            if sign == "/" and not right.value:
                raise _NoValueError
            value = (
                product.value * right.value
                if sign == "*"
                else product.value / right.value
            )
            text = f"{_in_product(product, False)} {sign} {_in_product(right, True)}"
            product = _Term(text, _bounded(value), 1)
        return product

    def _power(self, depth: int) -> _Term:
        if self._peek()[1] in ("-", "+"):
            sign = self._take()[1]
            if depth > _MAX_DEPTH:
                raise _NoValueError
            inner = self._power(depth + 1)
            if sign == "+":
                return inner
            text = f"-{_in_product(inner, True)}"
            return _Term(text, -inner.value, 2, inner.percent)
        base = self._factor(depth)
        if self._peek()[1] != "^":
            return base
        self._take()
        exponent = self._power(depth + 1)
        self._skip_unit()
        return _power(base, exponent)

    def _factor(self, depth: int) -> _Term:
        if depth > _MAX_DEPTH:
            raise _NoValueError
        kind, token = self._take()
        if token == _ROOT and self._peek()[1] == "(":
            return _root(self._factor(depth + 1))
        if token == "(":
            self._skip_words_before()
            inner = self._sum(depth + 1)
            if self._take()[1] != ")":
                raise _NoValueError
            term = dataclasses.replace(inner, text=f"({inner.text})", level=2)
            if re.fullmatch(r"\(\d+(\.\d+)?\)", term.text):
                term = dataclasses.replace(term, text=inner.text)
        elif kind in ("number", "joined"):
            term = _number(token)
        else:
            raise _NoValueError
        if self._peek()[1] == "&":
            self._take()
            part = self._factor(depth + 1)
            value = _bounded(term.value + part.value)
            term = _Term(f"({term.text} + {part.text})", value, 2)
        if self._peek()[1] == "%":
            self._take()
            term = dataclasses.replace(term, percent=True)
        if self._peek()[1] == "°":
            self._take()
        self._skip_unit()
        return term


def _tokens(text: str) -> list[tuple[str, str]]:
    """Splits a side: "2(3 m)" -> number 2, joined (, number 3, word m, sign )."""
    text = text.strip()
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _NoValueError
        kind = match.lastgroup or ""
        token = match[kind]
        adjoins = position > 0 and not match[0][0].isspace()
        before = text[position - 1 : position]
        if token == "(" and adjoins and (before.isdigit() or before == ")"):
            kind = "joined"
        tokens.append((kind, token))
        position = match.end()
    return tokens


def _number(token: str) -> _Term:
    value = fractions.Fraction(token)
    text = token
    if "e" in token.casefold():
        text = _decimal(value)
    return _Term(text, _bounded(value), 2)


def _decimal(value: fractions.Fraction) -> str:
    """Writes a value as a number or a quotient."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"({value.numerator} / {value.denominator})"


def _power(base: _Term, exponent: _Term) -> _Term:
    power = exponent.value
    if power.denominator != 1 or abs(power) > _MAX_POWER:
        raise _NoValueError
    count = abs(power.numerator)
    if base.value and count * (1 + abs(math.log10(abs(float(base.value))))) > 200:
        raise _NoValueError
    if not base.value and power <= 0:
        raise _NoValueError
    value = _bounded(base.value**power.numerator)
    if 2 <= power <= 4:
        text = " * ".join([_in_product(base, True)] * count)
        return _Term(f"({text})", value, 2)
    return _Term(_decimal(value), value, 2)


def _root(inner: _Term) -> _Term:
    value = inner.value
    if value < 0:
        raise _NoValueError
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    root = fractions.Fraction(top, bottom)
    if root * root != value:
        raise _NoValueError
    return _Term(_decimal(root), root, 2)


def _in_product(term: _Term, is_right: bool) -> str:
    brackets = term.level == 0 or (
        is_right and (term.level == 1 or term.text[0] == "-")
    )
    return f"({term.text})" if brackets else term.text


def _fraction_of_percent(term: _Term) -> _Term:
    """Reads the percent of a product: 15% -> (15 / 100)."""
    if not term.percent:
        return term
    return _Term(f"({term.text} / 100)", term.value / 100, 2)


def _bounded(value: fractions.Fraction) -> fractions.Fraction:
    limit = arithmetic.MAX_MAGNITUDE
    if abs(value) > limit or value.denominator > limit:
        raise _NoValueError
    return value
