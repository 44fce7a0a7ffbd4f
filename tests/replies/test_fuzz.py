"""No text raises an error, takes long, or gives a blank label."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import arithmetic, dataset_spec
from dsbs_jax.replies import arithmetic_text, choices, json_objects, reasoning
from dsbs_jax.replies.problems import TOO_LONG
from dsbs_jax.replies.reader import MAX_LENGTH, ReplyReader

DATASETS = ("default", "cqa", "svamp", "anli1", "esnli")
ASKED = "Where?\n(a) pond\n(b) sea"
READERS = {name: ReplyReader.of_spec(dataset_spec.get(name)) for name in DATASETS}
READERS["labels"] = ReplyReader.of_spec(
    dataset_spec.DEFAULT, ("visit", "remote"), {"man": "visit"}
)
PIECES = [
    *("So the answer is ", "The answer is", "\n\nAnswer:", "Final answer: ", "#### "),
    *("<think>", "</think>", "<|channel|>analysis<|message|>", "assistantfinal", "```"),
    *(
        "\n\nQ: ",
        "\nPremise:",
        "Input:",
        "**",
        "*",
        "`",
        '"',
        "'",
        "$",
        "\\boxed{",
        "}",
    ),
    *("{", "[", "]", "(", ")", "(a)", "(b) sea", "pond", "visit", "remote", "neutral"),
    *(
        '{"rationale": "',
        '", "label": "',
        '"}',
        ":",
        ",",
        ".",
        "!",
        " or ",
        " not ",
        "=",
    ),
    *("14", "1,234", " - ", "×", "^", "%", "\\frac{", "½", "²", "√", "postcards"),
    *(
        " ",
        "\n",
        "\r\n",
        "\ud83d",
        "\ude00",
        "\u200b",
        "&amp;",
        "&#xD800;",
        "\x00",
        "é",
    ),
    *("<answer>", "</answer>", "</s>", "<|im_end|>", "Explanation: ", "because", "is"),
]
TEXTS = st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cs", "Sm", "So", "Nd", "No", "Ps", "Pe", "Lu"])),
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
)


def check(parsed):
    for text in (parsed.rationale, parsed.label):
        assert text is None or text.strip()
        (text or "").encode()
    if parsed.label is None:
        assert parsed.rationale is None and parsed.problem
    assert (parsed.problem is None) == (parsed.rationale is not None)


@given(TEXTS, st.sampled_from(sorted(READERS)), st.booleans(), st.booleans())
@settings(max_examples=600, deadline=None)
def test_no_reply_raises_an_error(text, name, cut_off, is_structured):
    reader = READERS[name]
    read = reader.read_structured if is_structured else reader.read
    check(read(text, ASKED, cut_off))


@given(TEXTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_choice_is_one_of_the_choices(text, cut_off):
    parsed = READERS["cqa"].read(f"It floats. So the answer is {text}", ASKED, cut_off)
    assert parsed.label in (None, "pond", "sea")


@given(TEXTS, TEXTS)
@settings(max_examples=500, deadline=None)
def test_a_block_has_no_influence_on_the_answer(inside, after):
    tags = ("think", "channel", "assistantfinal", "Here", "```", "details", "[")
    if any(tag in inside + after for tag in tags):
        return
    reader = READERS["default"]
    expected = reader.read(after)
    parsed = reader.read(f"<think>{inside}</think>{after}")
    assert (parsed.label, parsed.rationale) == (expected.label, expected.rationale)


# Pairs of a typeset expression and a plain one.
_TYPED = st.sampled_from(
    [("×", "*"), ("−", "-"), ("÷", "/"), ("\\times", "*"), ("+", "+")]
)
_NUMBERS = st.integers(1, 99_999).map(lambda n: (f"{n:,}", str(n)))
_TREES = st.recursive(
    _NUMBERS,
    lambda inner: st.tuples(inner, _TYPED, inner).map(
        lambda t: (
            f"[{t[0][0]} {t[1][0]} {t[2][0]}]",
            f"({t[0][1]} {t[1][1]} {t[2][1]})",
        )
    ),
    max_leaves=5,
)


@given(_TREES)
@settings(deadline=None)
def test_typeset_expressions_keep_their_value(tree):
    typed, plain = tree
    found = arithmetic_text.expression(typed)
    expected = arithmetic.value(plain)
    assert (found is None) == (expected is None)
    assert found is None or arithmetic.value(found) == expected


@given(st.text("0123456789.,+-*/()^%=xX ×÷½²√$€abc\\{}[]'", max_size=40))
@settings(max_examples=500, deadline=None)
def test_every_expression_that_is_read_has_a_value(text):
    found = arithmetic_text.expression(text)
    assert found is None or arithmetic.value(found) is not None, (text, found)
    if arithmetic.value(text) is not None:
        assert arithmetic.value(found) == arithmetic.value(text)


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        ),
        min_size=1,
    )
)
def test_every_json_object_is_found(value):
    found = json_objects.find(f"Sure:\n{json.dumps(value)}\nDone.")
    assert [one.keys() for one in found] == [value.keys()]


LONG = [
    *(
        "<think>",
        "</think>",
        "<",
        "<details ",
        "<answer>",
        "[THINK]",
        "```\n",
        "<|a|> ",
    ),
    *(
        " ",
        "\n",
        " \n",
        "*",
        "**",
        "`",
        '"',
        "(",
        "(a) ",
        "{",
        '{"a": ',
        "[",
        "\\boxed{",
    ),
    *("the answer ", "the answer is ", "So the answer is a. ", "final ", "Answer: "),
    *("#### ", "the answer to the a of the ", "so ", "\\frac{", "1,", "1 ", "((", "9^"),
    *("a. ", "A.", "a or ", "\\", "&amp;", "&#", "\ud83d", "x" * 50 + " ", "because "),
    *("- ", "> ", "# ", "Q", "\nQ", "\nQ1", "'", "label", '"a" ', "}", "<b>", "$"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "labels", "cqa", "svamp"])
def test_long_replies_are_read_in_time(name):
    for piece in LONG:
        text = (piece * 4_000)[:4_000]
        began = time.process_time()
        for reply in (text, f"It is hot. The answer is {text}", f'{{"label": "{text}'):
            check(READERS[name].read(reply, ASKED))
            check(READERS[name].read_structured(reply, ASKED))
        choices.choices_of(text)
        reasoning.split(text)
        assert time.process_time() - began < 2, piece


def test_longer_replies_are_refused():
    assert READERS["default"].read("x" * (MAX_LENGTH + 1)).problem == TOO_LONG
