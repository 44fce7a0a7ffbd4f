import dataclasses
import json
import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax import cli
from dsbs_jax.data import completions, dataset_spec, metrics, tables
from dsbs_jax.data.tables import rows as table_rows
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, voting
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.settings import settings_of

OFF = FilterConfig(
    drop_unparsable=False, drop_duplicate_rows=False, drop_unsupported=False
)


def voted(rationale="It is so.", label="a", human=None, samples=1, **fields):
    texts = [f"{rationale} So the answer is {label}."] * samples
    example = voting.vote("1", "x", human, texts)
    return dataclasses.replace(example, **fields)


def reasons(examples, spec=dataset_spec.DEFAULT, **settings):
    result = filters.apply(examples, dataclasses.replace(OFF, **settings), spec)
    assert len(result.kept) + len(result.dropped) == len(examples)
    return [reason for _, reason in result.dropped]


UNPARSABLE = voting.vote("2", "y", "a", ["no answer"])


@pytest.mark.parametrize(
    ("setting", "value", "bad", "good", "reason"),
    [
        ("drop_unparsable", True, UNPARSABLE, voted(), "unparsable: no answer marker"),
        ("drop_disagreement", True, voted(human="b"), voted(human="a"), None),
        ("min_margin", 0.5, voted(margin=0.49), voted(margin=0.5), None),
        ("min_words", 3, voted("Too few."), voted("Just long enough."), None),
        ("max_words", 3, voted("One word too many."), voted("Just fits so."), None),
        ("leak_words", 2, voted("The A is so."), voted("So is the A."), None),
        ("drop_duplicate_rows", True, voted(), voted("Another."), None),
        ("drop_duplicate_inputs", True, voted("Other."), voted(input="y"), None),
        (
            "drop_unsupported",
            True,
            voted(judge_verdict="no", judge_reason="It lies."),
            voted(judge_verdict="unreadable"),
            "rationale does not support the label: It lies.",
        ),
    ],
)
def test_each_filter_alone(setting, value, bad, good, reason):
    expected = filters.REASON_OF_SETTING[setting]
    # The first example is the one that the duplicates repeat.
    examples = [voted(margin=1.0, human=None), good, bad]
    if "duplicate" not in setting:
        examples = examples[1:]
    assert reasons(examples) == []
    (given_reason,) = reasons(examples, **{setting: value})
    assert given_reason == (reason or expected)
    assert given_reason.partition(":")[0] == expected


def test_each_filter_has_a_reason_and_they_have_the_same_order():
    fields = [info.field for info in settings_of(FilterConfig)]
    assert list(filters.REASON_OF_SETTING) == fields
    assert len(set(filters.REASONS)) == len(fields)


def test_the_gin_file_holds_the_macros_and_their_defaults_alone():
    text = (cli.config_dir() / "teacher/filters.gin").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    defaults = [f"{i.macro} = {i.default!r}" for i in settings_of(FilterConfig)]
    assert lines == defaults
    # Macros that its header recommends exist.
    named = set(re.findall(r"[A-Z]+_[A-Z_]+", text))
    assert named - {"SAMPLES"} == {info.macro for info in settings_of(FilterConfig)}


def test_defaults_drop_rows_that_cannot_train_both_tasks_and_duplicates():
    blank = voting.vote("3", "z", "a", ["So the answer is a."])
    wrong = voted("A wrong answer.", human="b")
    examples = [voted(), UNPARSABLE, blank, wrong, voted()]
    result = filters.apply(examples, FilterConfig())
    assert result.kept == [voted(), wrong]
    assert result.counts == {filters.UNPARSABLE: 2, filters.SAME_ROW: 1}


def test_rows_without_labels_and_rationale_are_always_dropped():
    empty = voting.vote("2", "y", None, ["no answer"])
    assert reasons([empty, UNPARSABLE]) == ["unparsable: no answer marker"]


def test_a_row_that_no_teacher_answered_has_no_margin():
    own = {"id": "1", "input": "x", "label": "a", "rationale": "R."}
    examples = [VotedExample.from_row(own)]
    assert reasons(examples, min_margin=1.0, drop_unparsable=True) == []


def test_a_dropped_row_displaces_no_other_row():
    examples = [voted("First.", margin=0.1), voted("Second.", margin=0.9)]
    config = FilterConfig(min_margin=0.5, drop_duplicate_inputs=True)
    assert filters.apply(examples, config).kept == examples[1:]


def test_the_metric_of_the_dataset_decides_about_disagreement():
    svamp = dataset_spec.get("svamp")
    text = ["Add. The answer is (3 + 4)."]
    examples = [voting.vote("1", "x", "( 7.0 )", text, svamp)]
    assert reasons(examples, svamp, drop_disagreement=True) == []
    assert reasons(examples, drop_disagreement=True) == [filters.DISAGREES]
    # A user's metric is used in the same way.
    always = metrics.Metric("always", lambda target, prediction: True)
    own = dataclasses.replace(dataset_spec.DEFAULT, name="own", metric=always)
    assert reasons(examples, own, drop_disagreement=True) == []


@pytest.mark.parametrize(
    ("label", "rationale", "words"),
    [
        ("drawer", "Socks go in a drawer.", 5),
        ("a Drawer", "Socks go in a drawer. A drawer it is.", 5),
        ("math problem", "Math is a problem, a math problem.", 7),
        ("(10 * 45)", "It is 10*45 seeds.", 4),
        ("draw", "Socks go in a drawer.", math.inf),
        ("***", "What *** is.", math.inf),
        ("neutral", "Neutral.", 1),
    ],
)
def test_words_until_label(label, rationale, words):
    example = voted(teacher_label=label, rationale=rationale)
    assert filters.words_until_label(example) == words


def test_words_until_a_long_label_take_linear_time():
    label, rationale = "a " * 100_000 + "b", "a " * 300_000
    began = time.monotonic()
    example = voted(teacher_label=label, rationale=rationale)
    assert filters.words_until_label(example) == math.inf
    example = voted(teacher_label=label, rationale=f"c {rationale} b {rationale}")
    assert filters.words_until_label(example) == 300_002
    assert time.monotonic() - began < 3


@given(
    st.lists(
        st.builds(
            voted,
            st.text("ab ."),
            st.sampled_from(["a", "b", "."]),
            st.sampled_from([None, "a", "b"]),
            margin=st.sampled_from([0.0, 0.5, 1.0]),
            input=st.sampled_from("xyz"),
        )
    ),
    st.builds(
        FilterConfig,
        drop_unparsable=st.booleans(),
        drop_disagreement=st.booleans(),
        min_margin=st.sampled_from([0.0, 0.5, 1.0]),
        min_words=st.integers(0, 3),
        max_words=st.sampled_from([0, 3, 5]),
        leak_words=st.integers(0, 3),
        drop_duplicate_inputs=st.booleans(),
        drop_duplicate_rows=st.booleans(),
    ),
)
def test_no_example_is_lost_and_kept_examples_pass_again(examples, config):
    result = filters.apply(examples, config)
    ids = sorted(map(id, examples))
    assert sorted(map(id, [*result.kept, *(e for e, _ in result.dropped)])) == ids
    assert sum(result.counts.values()) == len(result.dropped)
    assert set(result.counts) <= set(filters.REASONS)
    again = filters.apply(result.kept, config)
    assert again.kept == result.kept


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("min_margin", 1.5, "MIN_MARGIN is 1.5, expected float >= 0 and <= 1"),
        ("min_margin", float("nan"), "MIN_MARGIN is nan, expected"),
        ("min_margin", True, "MIN_MARGIN is True, expected float"),
        ("min_words", -1, "MIN_WORDS is -1, expected int >= 0"),
        ("min_words", 2.5, "MIN_WORDS is 2.5, expected int >= 0"),
        ("drop_unparsable", 1, "DROP_UNPARSABLE is 1, expected bool"),
        ("leak_words", "3", "LEAK_WORDS is '3', expected int >= 0"),
        ("drop_disagreement", None, "DROP_DISAGREEMENT is None, expected bool"),
    ],
)
def test_the_error_for_a_bad_setting_names_its_macro(name, value, message):
    with pytest.raises(UserError) as caught:
        FilterConfig(**{name: value})
    assert str(caught.value).startswith(message)


def test_the_bounds_on_words_must_not_cross():
    with pytest.raises(UserError, match="MAX_WORDS is 3, expected at least MIN_WORDS"):
        FilterConfig(min_words=5, max_words=3)


def test_dropped_rows_are_written_with_their_reason(tmp_path, capsys):
    garbled = voting.vote("4", "w", None, ["\ud800 So the answer is a."])
    result = filters.apply([voted(samples=3), UNPARSABLE, garbled], FilterConfig())
    kept, dropped = tmp_path / "rationales.jsonl", tmp_path / "filtered.jsonl"
    filters.write(result, kept, dropped)
    (record,) = tables.read_examples(kept)
    # The fields of the project's own files cause no note.
    assert capsys.readouterr().err == ""
    fields = filters.dropped_row(UNPARSABLE, "reason").keys()
    assert fields <= {*tables.FIELDS, *table_rows.OUTPUT_FIELDS}
    assert (record.teacher_label, record.rationale) == ("a", "It is so.")
    rows = [json.loads(line) for line in dropped.read_text().splitlines()]
    assert [row["reason"] for row in rows] == [
        "unparsable: no answer marker",
        "unparsable: not encodable as UTF-8",
    ]
    assert rows[0]["completions"] == ["no answer"]
    assert rows[1]["completions"] == ["\\ud800 So the answer is a."]
    # Reading a dropped row restores everything except the parsed samples.
    for before, (after, _) in zip(
        [UNPARSABLE, garbled], filters.read(kept, dropped).dropped, strict=True
    ):
        assert after.problem == before.problem
        assert (after.votes, after.samples) == (before.votes, before.samples)
    assert UNPARSABLE.problem == completions.NO_MARKER
