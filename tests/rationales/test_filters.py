import dataclasses
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions, jsonl
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, voting
from dsbs_jax.rationales.filters import FilterConfig

OFF = FilterConfig(unparsable=False, duplicate_rows=False)


def outcome(rationale="It is so.", label="a", human=None, samples=1, **fields):
    texts = [f"{rationale} So the answer is {label}."] * samples
    found = voting.vote("1", "x", human, texts)
    return dataclasses.replace(found, **fields)


def reasons(found, **settings):
    result = filters.apply(found, dataclasses.replace(OFF, **settings))
    assert len(result.kept) + len(result.dropped) == len(found)
    return [reason for _, reason in result.dropped]


UNPARSABLE = voting.vote("2", "y", "a", ["no answer"])


@pytest.mark.parametrize(
    ("setting", "value", "bad", "good", "reason"),
    [
        ("unparsable", True, UNPARSABLE, outcome(), "unparsable: no answer marker"),
        ("disagreement", True, outcome(human="b"), outcome(human="a"), None),
        ("min_margin", 0.5, outcome(margin=0.49), outcome(margin=0.5), None),
        ("min_words", 3, outcome("Too few."), outcome("Just long enough."), None),
        ("max_words", 3, outcome("One word too many."), outcome("Just fits so."), None),
        ("leak_words", 2, outcome("The A is so."), outcome("So is the A."), None),
        ("duplicate_rows", True, outcome(), outcome("Another."), None),
        ("duplicate_inputs", True, outcome("Other."), outcome(input="y"), None),
    ],
)
def test_each_filter_alone(setting, value, bad, good, reason):
    expected = {
        "unparsable": filters.UNPARSABLE,
        "disagreement": filters.DISAGREES,
        "min_margin": filters.NARROW,
        "min_words": filters.SHORT,
        "max_words": filters.LONG,
        "leak_words": filters.LEAKS,
        "duplicate_rows": filters.SAME_ROW,
        "duplicate_inputs": filters.SAME_INPUT,
    }[setting]
    # An outcome before them, for the duplicates to repeat.
    found = [outcome(margin=1.0, human=None), good, bad]
    if "duplicate" not in setting:
        found = found[1:]
    assert reasons(found) == []
    (given_reason,) = reasons(found, **{setting: value})
    assert given_reason == (reason or expected)
    assert given_reason.partition(":")[0] == expected


def test_defaults_drop_what_trains_nothing_or_twice():
    blank = voting.vote("3", "z", "a", ["So the answer is a."])
    wrong = outcome("Wrong but said.", human="b")
    result = filters.apply(
        [outcome(), UNPARSABLE, blank, wrong, outcome()], FilterConfig()
    )
    assert result.kept == [outcome(), wrong]
    assert result.counts == {filters.UNPARSABLE: 2, filters.SAME_ROW: 1}


def test_rows_that_say_nothing_are_dropped_in_any_case():
    nothing = voting.vote("2", "y", None, ["no answer"])
    assert reasons([nothing, UNPARSABLE]) == ["unparsable: no answer marker"]


def test_what_no_teacher_voted_on_has_no_margin():
    own = {"id": "1", "input": "x", "label": "a", "rationale": "R."}
    assert reasons([voting.from_row(own)], min_margin=1.0, unparsable=True) == []


def test_a_dropped_row_displaces_no_other():
    found = [outcome("First.", margin=0.1), outcome("Second.", margin=0.9)]
    result = filters.apply(found, FilterConfig(min_margin=0.5, duplicate_inputs=True))
    assert result.kept == found[1:]


def test_disagreement_is_judged_as_the_dataset_judges():
    text = ["Add. The answer is (3 + 4)."]
    found = [voting.vote("1", "x", "( 7.0 )", text, "svamp")]
    assert reasons(found, disagreement=True, dataset="svamp") == []
    assert reasons(found, disagreement=True) == [filters.DISAGREES]


@pytest.mark.parametrize(
    ("label", "rationale", "within"),
    [
        ("drawer", "Socks go in a drawer.", 5),
        ("a Drawer", "Socks go in a drawer. A drawer it is.", 5),
        ("math problem", "Math is a problem, a math problem.", 7),
        ("(10 * 45)", "It is 10*45 seeds.", 4),
        ("draw", "Socks go in a drawer.", float("inf")),
        ("***", "What *** is.", float("inf")),
        ("neutral", "Neutral.", 1),
    ],
)
def test_leaks_within(label, rationale, within):
    found = outcome(teacher_label=label, rationale=rationale)
    assert filters.leaks_within(found) == within


def test_leak_of_a_long_label_is_found_in_time():
    label, rationale = "a " * 100_000 + "b", "a " * 300_000
    began = time.monotonic()
    assert filters.leaks_within(outcome(teacher_label=label, rationale=rationale)) == (
        float("inf")
    )
    assert filters.leaks_within(
        outcome(teacher_label=label, rationale=f"c {rationale} b {rationale}")
    ) == (300_002)
    assert time.monotonic() - began < 3


@given(
    st.lists(
        st.builds(
            outcome,
            st.text("ab ."),
            st.sampled_from(["a", "b", "."]),
            st.sampled_from([None, "a", "b"]),
            margin=st.sampled_from([0.0, 0.5, 1.0]),
            input=st.sampled_from("xyz"),
        )
    ),
    st.builds(
        FilterConfig,
        unparsable=st.booleans(),
        disagreement=st.booleans(),
        min_margin=st.sampled_from([0.0, 0.5, 1.0]),
        min_words=st.integers(0, 3),
        max_words=st.sampled_from([0, 3, 5]),
        leak_words=st.integers(0, 3),
        duplicate_inputs=st.booleans(),
        duplicate_rows=st.booleans(),
    ),
)
def test_nothing_is_lost_and_what_stays_would_stay_again(found, settings):
    result = filters.apply(found, settings)
    ids = sorted(map(id, found))
    assert sorted(map(id, [*result.kept, *(o for o, _ in result.dropped)])) == ids
    assert sum(result.counts.values()) == len(result.dropped)
    assert set(result.counts) <= set(filters.REASONS)
    again = filters.apply(result.kept, settings)
    assert again.kept == result.kept


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("min_margin", 1.5, "min_margin is 1.5, expected 0 to 1"),
        ("min_margin", float("nan"), "min_margin is nan, expected 0 to 1"),
        ("min_margin", True, "min_margin is True, expected float"),
        ("min_words", -1, "min_words is -1, expected 0 (off) or more"),
        ("min_words", 2.5, "min_words is 2.5, expected int"),
        ("unparsable", 1, "unparsable is 1, expected bool"),
        ("leak_words", "3", "leak_words is '3', expected int"),
        ("dataset", None, "dataset is None, expected str"),
    ],
)
def test_bad_settings_are_named(name, value, message):
    with pytest.raises(UserError) as caught:
        FilterConfig(**{name: value})
    # Gin adds lines on where it was; the binary prints the first.
    assert str(caught.value).splitlines()[0] == f"filters.FilterConfig.{message}"


def test_bounds_must_not_cross():
    with pytest.raises(UserError, match="max_words is 3, expected at least min_words"):
        FilterConfig(min_words=5, max_words=3)


def test_what_is_filtered_lies_beside_with_its_reason(tmp_path):
    garbled = voting.vote("4", "w", None, ["\ud800 So the answer is a."])
    result = filters.apply([outcome(samples=3), UNPARSABLE, garbled], FilterConfig())
    kept, dropped = tmp_path / "rationales.jsonl", tmp_path / "filtered.jsonl"
    filters.write(result, kept, dropped)
    (record,) = jsonl.read_jsonl(kept)
    assert (record.teacher_label, record.rationale) == ("a", "It is so.")
    rows = [json.loads(line) for line in dropped.read_text().splitlines()]
    assert [row["reason"] for row in rows] == [
        "unparsable: no answer marker",
        "unparsable: not encodable as UTF-8",
    ]
    assert rows[0]["completions"] == ["no answer"]
    assert rows[1]["completions"] == ["\\ud800 So the answer is a."]
    # Read back, the dropped rows are the same outcomes but for the parsed samples.
    for before, after in zip([UNPARSABLE, garbled], voting.read(dropped), strict=True):
        assert after.problem == before.problem
        assert (after.votes, after.samples) == (before.votes, before.samples)
    assert UNPARSABLE.problem == completions.NO_MARKER
