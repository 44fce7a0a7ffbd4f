"""Tests of the completion parsers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.data.completions import CompletionParser, ParsedCompletion


def parse(dataset, completion, teacher="palm"):
    return dataset_spec.get(dataset).parse(completion, teacher)


READABLE = {
    "cqa": [
        ("Socks. So the answer is (d) sock drawer.\n\nQ: And", "Socks.", "sock drawer"),
        # The letter is ignored, the case is kept, one full stop is removed.
        ("A. So the answer is (z) Washington D.C..", "A.", "Washington D.C."),
        # Two choices: the first one with the text after it, which is not a choice.
        ("B. So the answer is either (a) pond or (e) sea.", "B.", "pond or"),
    ],
    "svamp": [
        ("9 x 5. The answer is (9 * 5).\n\nQ: T", "9 x 5.", "(9 * 5)"),
        # Up to the last parenthesis of the line.
        ("So. The answer is (1 + 2) * (3 - 1) + 4.", "So.", "(1 + 2) * (3 - 1)"),
        ("So. The answer is (some + 4).", "So.", "(some + 4)"),
    ],
    "anli1": [
        ("Why. So the answer is neutral.\n\nPremise: X", "Why.", "neutral"),
        ("Why. So the answer is contradiction", "Why.", "contradiction"),
    ],
    "esnli": [
        ("Why.\nAnswer: entailment\n\nPremise: X", "Why.", "entailment"),
        ("Why.\nAnswer: neutral\n\nPremise", "Why.", "neutral"),
    ],
    "asdiv": [("3 and 4. The answer is (3 + 4).", "3 and 4.", "(3 + 4)")],
    "default": [
        ("Debt. So the answer is refuse.\nInput: no debt", "Debt.", "refuse"),
        ("Debt. So the answer is refuse.\n\nQ: no debt", "Debt.", "refuse"),
    ],
}
MARKED = {
    "cqa": "Socks. So the answer is",
    "svamp": "9 x 5. The answer is",
    "asdiv": "9 x 5. The answer is",
    "anli1": "Why. So the answer is",
    "esnli": "Why.\nAnswer:",
    "default": "Debt. So the answer is",
}


@pytest.mark.parametrize(
    "dataset,completion,rationale,label",
    [(name, *case) for name, cases in READABLE.items() for case in cases],
)
@pytest.mark.parametrize("teacher", ["palm", "gpt_neox"])
def test_completions_with_a_label_and_a_rationale(
    dataset, completion, rationale, label, teacher
):
    expected = ParsedCompletion(rationale, label, None)
    assert parse(dataset, completion, teacher) == expected
    assert parse(dataset, f"\n  {completion}", teacher) == expected


@pytest.mark.parametrize("dataset", MARKED)
def test_completions_without_a_label(dataset):
    marked = MARKED[dataset]
    unparsed = {
        "It continues without an answer.": completions.NO_MARKER,
        "": completions.NO_MARKER,
        marked: completions.NO_LABEL_AFTER_MARKER,
        f"{marked} .": completions.NO_LABEL_AFTER_MARKER,
        f"{marked} x. {marked} y.": completions.SEVERAL_MARKERS,
        f"\ud800 {marked} (a) x.": completions.NOT_TEXT,
    }
    for completion, problem in unparsed.items():
        assert parse(dataset, completion) == ParsedCompletion(None, None, problem), (
            completion
        )


@pytest.mark.parametrize(
    "dataset,completion",
    [
        ("esnli", "Why.\nAnswer: entailment\n\nPre"),
        ("anli1", "Why. So the answer is neutral. They"),
        ("default", "Why. So the answer is yes.\nAnd more"),
        ("cqa", "Why. So the answer is (a) pond.\n\nQ"),
    ],
)
def test_label_that_runs_on_is_not_a_target(dataset, completion):
    assert parse(dataset, completion) == ParsedCompletion(
        None, None, completions.RUNS_ON
    )


@pytest.mark.parametrize("dataset", ["anli1", "esnli"])
def test_nli_label_must_be_a_class(dataset):
    parsed = parse(dataset, f"{MARKED[dataset]} perhaps.")
    assert parsed == ParsedCompletion(None, None, completions.NOT_A_CLASS)


def test_blank_rationale_keeps_its_label():
    parsed = parse("svamp", "\n The answer is (1 + 1).")
    assert parsed == ParsedCompletion(None, "(1 + 1)", completions.BLANK_RATIONALE)


def test_only_gpt_neox_has_a_second_marker_for_anli1():
    completion = "Why. The answer is neutral."
    assert parse("anli1", completion, "gpt_neox").label == "neutral"
    assert parse("anli1", completion, "palm").problem == completions.NO_MARKER


def test_a_users_parser():
    parser = CompletionParser(("###",), ("=>",), lambda text: (text.strip(), None))
    parsed = parser.parse("one two => three ### four => five")
    assert parsed == ParsedCompletion("one two", "three", None)


@given(
    st.sampled_from(sorted(["cqa", "svamp", "asdiv", "anli1", "esnli", "default"])),
    st.lists(
        st.sampled_from(
            ["So the answer is", "The answer is", "Answer:", "Q:", "Premise:", "\n"]
            + [" ", ".", "(a)", "(1 + 2)", "neutral", "pond", "\ud800", "é"]
        ),
        max_size=12,
    ),
)
def test_no_text_raises_an_error_or_gives_blank_texts(dataset, pieces):
    parsed = parse(dataset, "".join(pieces))
    for text in (parsed.rationale, parsed.label):
        assert text is None or text.strip()
    if parsed.label is None:
        assert parsed.rationale is None and parsed.problem
    assert (parsed.problem is None) == (parsed.rationale is not None)


def test_a_million_brackets_are_read_in_time():
    began = time.monotonic()
    parsed = parse("svamp", "So. The answer is " + "(" * 1_000_000)
    assert parsed.problem == completions.NO_LABEL_AFTER_MARKER
    assert parse("svamp", "So. The answer is )(\n(1 + 2) )").label == "(1 + 2) )"
    assert time.monotonic() - began < 3
