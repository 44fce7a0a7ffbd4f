import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.teacher import prompts, structured

BUILT_IN = ("cqa", "svamp", "asdiv", "anli1", "esnli", "template")


@pytest.mark.parametrize("name", BUILT_IN)
def test_structured_exemplars_parse_like_plain_ones(name):
    prompt = prompts.load(name)
    parser = prompt.spec.parser
    for exemplar in prompt.exemplars:
        text = structured.exemplar_json(exemplar.answer, parser)
        assert structured.parse(text, parser) == parser.parse(exemplar.answer)


@pytest.mark.parametrize(
    "text",
    [
        "So the answer is yes.",
        '{"rationale": "x", "label": "yes"',
        '{"rationale": "x"}',
        '{"rationale": "x", "label": "yes", "more": 1}',
        '{"rationale": "x", "label": 1}',
        '["rationale", "label"]',
        "null",
        "[" * 100_000,
    ],
)
def test_invalid_structured_output_is_none(text):
    assert structured.parse(text, dataset_spec.DEFAULT.parser) is None


def test_marker_inside_a_structured_rationale_gives_no_label():
    text = '{"rationale": "So the answer is no.", "label": "yes"}'
    parsed = structured.parse(text, dataset_spec.DEFAULT.parser)
    assert parsed.problem == completions.SEVERAL_MARKERS


@pytest.mark.parametrize(
    ("dataset", "label", "expected"),
    [
        ("cqa", "(b) river.", "river"),
        ("cqa", "river", None),
        ("svamp", " (3 + 4) ", "(3 + 4)"),
        ("svamp", "3 + 4", None),
        ("anli1", "neutral.", "neutral"),
        ("anli1", "Neutral", None),
        ("default", "visit.", "visit"),
        ("default", "visit\nremote", None),
        ("default", " ", None),
    ],
)
def test_structured_label_gets_the_normalization_of_the_dataset(
    dataset, label, expected
):
    text = json.dumps({"rationale": "It is clear.", "label": label})
    parsed = structured.parse(text, dataset_spec.get(dataset).parser)
    assert parsed.label == expected
    assert (parsed.problem is None) == (expected is not None)


def parse_as_version_0_1(rationale, label, parser):
    """Version 0.1 rendered a structured reply as a completion and parsed that."""
    label = label.strip().removesuffix(".")
    return parser.parse(f"{rationale} {parser.answer_markers[0]} {label}.")


PIECES = st.lists(
    st.sampled_from(
        [
            *("So the answer is", "The answer is", "Answer:", "Q:", "Premise:"),
            *("Input:", "Premise", "neutral", "(a) pond", "(3 + 4)", "yes", "."),
            *(" ", "\n", "", "\ud800", "It is hot", "So the answer", "(", ")"),
        ]
    ),
    max_size=5,
).map("".join)


@given(PIECES, PIECES, st.sampled_from(dataset_spec.names()))
@settings(max_examples=1000)
def test_structured_replies_parse_as_in_version_0_1(rationale, label, dataset):
    parser = dataset_spec.get(dataset).parser
    text = json.dumps({"rationale": rationale, "label": label})
    expected = parse_as_version_0_1(rationale, label, parser)
    assert structured.parse(text, parser) == expected
