"""Exact evaluation of arithmetic expressions in untrusted text.

Grammar: numbers ("84", "84.0", ".5"), + - * /, parentheses, unary minus, spaces. A
comma is not part of a number: "11,210" has no value, as in the published scores.
"""

import fractions
import re

MAX_LENGTH = 500  # characters
MAX_DEPTH = 50  # nested parentheses and unary minuses
MAX_MAGNITUDE = 10**30  # of every number and intermediate result

_TOKEN = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+|[-+*/()])", re.ASCII)


class _NoValue(Exception):
    """The text is not an expression, or exceeds a limit."""


def value(expression: str) -> fractions.Fraction | None:
    """Evaluates an expression: "( 84.0 / 2.0 )" -> Fraction(42).

    Returns:
        The exact value; None for a text that is not arithmetic, divides by zero or
        exceeds a limit of this module. No text raises an error.
    """
    try:
        return _Evaluator(_tokens(expression)).result()
    except _NoValue:
        return None


def same_value(a: str, b: str) -> bool:
    """Returns whether both expressions have a value and the values are equal."""
    left = value(a)
    return left is not None and left == value(b)


def _tokens(text: str) -> list[str]:
    """Splits an expression: "(8 - 2.5)" -> ["(", "8", "-", "2.5", ")"]."""
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise _NoValue
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _NoValue
        tokens.append(match.group(1))
        position = match.end()
    return tokens


class _Evaluator:
    """Evaluates tokens by recursive descent: sum -> product -> factor.

    `depth` counts nested parentheses and unary minuses, which bounds the recursion.
    """

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0

    def result(self) -> fractions.Fraction:
        total = self._sum(0)
        if self._next < len(self._tokens):
            raise _NoValue
        return total

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise _NoValue
        self._next += 1
        return token

    def _sum(self, depth: int) -> fractions.Fraction:
        total = self._product(depth)
        while self._peek() in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            total = _bounded(total + sign * self._product(depth))
        return total

    def _product(self, depth: int) -> fractions.Fraction:
        total = self._factor(depth)
        while self._peek() in ("*", "/"):
            operator, operand = self._take(), self._factor(depth)
            if operator == "/" and not operand:
                raise _NoValue
            total = _bounded(total * operand if operator == "*" else total / operand)
        return total

    def _factor(self, depth: int) -> fractions.Fraction:
        if depth > MAX_DEPTH:
            raise _NoValue
        token = self._take()
        if token == "-":
            return -self._factor(depth + 1)
        if token == "(":
            inner = self._sum(depth + 1)
            if self._take() != ")":
                raise _NoValue
            return inner
        if token in "+*/)":
            raise _NoValue
        return _bounded(fractions.Fraction(token))


def _bounded(number: fractions.Fraction) -> fractions.Fraction:
    if abs(number) > MAX_MAGNITUDE:
        raise _NoValue
    return number
