"""Tests of the reading of replies, by the tables of what is tolerated."""

import re

import pytest
from tolerance import (
    Refused,
    answer_phrases,
    choice_forms,
    class_names,
    markup,
    next_questions,
    reasoning_blocks,
    structured_output,
    typed_arithmetic,
)

from dsbs_jax.data import arithmetic, dataset_spec
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.replies.problems import NOT_A_CHOICE
from dsbs_jax.replies.reader import ReplyReader

DEAD = "The line is dead."
READERS = {
    name: ReplyReader.of_spec(dataset_spec.get(name)) for name in dataset_spec.names()
}


def rows_of(module):
    return pytest.mark.parametrize(("text", "expected"), module.SECTION.rows)


def check(parsed, expected, rationale):
    """Checks the label and, if one is given, the rationale."""
    if isinstance(expected, Refused):
        assert parsed.problem == str(expected)
        return
    assert (parsed.label, parsed.problem) == (expected, None)
    if rationale is not None:
        assert parsed.rationale == rationale


@rows_of(reasoning_blocks)
def test_reasoning_blocks(text, expected):
    parsed = READERS["default"].read(reasoning_blocks.reply(text))
    check(parsed, expected, DEAD)


@rows_of(markup)
def test_markup_around_labels(text, expected):
    parsed = READERS["default"].read(f"{DEAD} So the answer is {text}")
    check(parsed, expected, DEAD)


@rows_of(choice_forms)
def test_choices(text, expected):
    reply = f"It is hot. So the answer is {text}"
    check(READERS["cqa"].read(reply, choice_forms.ASKED), expected, "It is hot.")


@rows_of(typed_arithmetic)
def test_arithmetic(text, expected):
    parsed = READERS["svamp"].read(f"Take 6 away. The answer is {text}")
    if isinstance(expected, Refused):
        assert parsed.problem == str(expected)
        return
    assert parsed.problem is None and parsed.rationale == "Take 6 away."
    assert arithmetic.same_value(parsed.label, expected), parsed.label


@rows_of(answer_phrases)
def test_answer_phrases(text, expected):
    parsed = READERS["default"].read(text)
    rationale = DEAD if not re.search("must|obvious|whether", text) else None
    check(parsed, expected, rationale)


def test_the_rationale_ends_before_the_datasets_own_phrase():
    reply = (
        "The answer must be a hot place. Of these, the best answer is the stove, which "
        "is hot. So the answer is (b) stove."
    )
    parsed = READERS["cqa"].read(reply, choice_forms.ASKED)
    assert parsed.label == "stove"
    assert parsed.rationale == reply.removesuffix(" So the answer is (b) stove.")


def test_a_label_outside_the_choices_is_not_replaced_by_another_phrase():
    reply = "The answer must be a stove or so. So the answer is (c) clinic."
    parsed = READERS["cqa"].read(reply, choice_forms.ASKED)
    assert parsed == ParsedCompletion(None, None, NOT_A_CHOICE)


@pytest.mark.parametrize("dataset", ["anli1", "esnli"])
def test_a_restated_premise_and_hypothesis_is_no_next_question(dataset):
    asked = "A man sleeps.</s>A man is awake."
    phrase = {"anli1": " So the answer is", "esnli": "\nAnswer:"}[dataset]
    answer = f"He sleeps.{phrase} contradiction."
    restated = f"Premise: A man sleeps.\nHypothesis: A man is awake.\nReason: {answer}"
    expected = ParsedCompletion("He sleeps.", "contradiction", None)
    for reply in (answer, restated, f"{answer}\n\n{restated.replace('He', 'It')}"):
        assert READERS[dataset].read(reply, asked) == expected


@rows_of(next_questions)
def test_text_after_the_answer(text, expected):
    parsed = READERS["default"].read(text, "Lena: no tone")
    rationale = "Dead." if "Dead. So" in text else None
    check(parsed, expected, rationale)


@rows_of(class_names)
@pytest.mark.parametrize("dataset", ["anli1", "esnli"])
def test_class_names(dataset, text, expected):
    phrase = {"anli1": " So the answer is", "esnli": "\nAnswer:"}[dataset]
    parsed = READERS[dataset].read(f"It was closed.{phrase} {text}")
    check(parsed, expected, "It was closed.")


@rows_of(structured_output)
def test_structured_output(text, expected):
    parsed = READERS["default"].read_structured(structured_output.reply(text))
    check(parsed, expected, DEAD if "line is dead" in text else None)
