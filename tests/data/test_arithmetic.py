"""Tests of the evaluation of arithmetic."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data.arithmetic import MAX_DEPTH, MAX_LENGTH, same_value, value


@pytest.mark.parametrize(
    "text,expected",
    [
        ("( 84.0 / 2.0 )", 42),
        ("( ( 17.0 + 15.0 ) + 2.0 )", 34),
        ("36.0", 36),
        ("2 + 3 * 4", 14),
        ("2 - 3 - 4", -5),
        ("24 / 4 / 2", 3),
        ("-(2 + 3) * -4", 20),
        ("2*-3", -6),
        (" 5.\n", 5),
        (".5 + 0.1", Fraction(3, 5)),
        ("1/3", Fraction(1, 3)),
    ],
)
def test_values_of_expressions(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "(some bags + 4 bags)",
        "((28 - 13) and (28 - 15))",
        "(7x = 14)",
        "(175, 5)",
        "(95 * 118) + (11,210 / 84)",
        "((415 - 309)",
        "2 + 3)",
        "1 / 0",
        "1 / (2 - 2)",
        "2 ** 3",
        "7 // 2",
        "3 4",
        "(3)(4)",
        "+3",
        "1e3",
        "1_000",
        "0x10",
        "٣ + ٤",
        ".",
        "inf",
        "__import__('os')",
    ],
)
def test_other_texts_have_no_value(text):
    assert value(text) is None
    assert not same_value(text, text)


def test_limits():
    assert value("9" * 30) is not None
    assert value("9" * 31) is None
    assert value("*".join(["99999999"] * 5)) is None
    assert value("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH) == 1
    assert value("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1)) is None
    assert value("-" * 400 + "1") is None
    assert value("1" + " " * MAX_LENGTH + "+ 1") is None


def test_equal_values():
    assert same_value("( 8.0 / 2.0 )", "(2 + 2)")
    assert same_value("0.1 + 0.2", "0.3")
    assert not same_value("( 8.0 / 2.0 )", "5")
    assert not same_value("4", "four")


def _apply(left, operator, right):
    """Returns the text and the exact value of an expression; None divides by zero."""
    (left_text, a), (right_text, b) = left, right
    text = f"({left_text} {operator} {right_text})"
    if a is None or b is None or (operator == "/" and b == 0):
        return text, None
    results = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b}
    return text, results.get(operator, lambda: a / b)()


NUMBERS = st.decimals(0, 99, places=1).map(lambda d: (str(d), Fraction(d)))
TREES = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.builds(_apply, inner, st.sampled_from("+-*/"), inner),
        inner.map(lambda x: (f"-{x[0]}", None if x[1] is None else -x[1])),
    ),
    max_leaves=8,
)


@given(TREES)
def test_values_agree_with_fractions(tree):
    text, expected = tree
    assert value(text) == expected


@given(NUMBERS, st.lists(st.tuples(st.sampled_from("+-*"), NUMBERS), max_size=6))
def test_products_come_before_sums(first, rest):
    text, product = first
    total = Fraction(0)
    for operator, (number_text, number) in rest:
        text += operator + number_text
        if operator == "*":
            product *= number
        else:
            total, product = total + product, number if operator == "+" else -number
    assert value(text) == total + product


@given(st.one_of(st.text(), st.text("0123456789.+-*/() ", max_size=60)))
def test_no_text_raises_an_error(text):
    result = value(text)
    assert result is None or isinstance(result, Fraction)
