import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions, jsonl
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import voting


def say(label, why="Why."):
    return f"{why} So the answer is {label}."


def decide(*texts, dataset="default", label=None):
    return voting.vote("1", "x", label, texts, dataset)


def test_majority_wins_and_its_first_voter_gives_the_rationale():
    found = decide(say("a", "A1."), say("b", "B1."), say("b", "B2."), say("c"))
    assert (found.teacher_label, found.rationale) == ("b", "B1.")
    assert (found.votes, found.samples, found.margin) == (2, 4, 0.25)
    assert found.problem is None
    assert len(found.parsed) == len(found.completions) == 4


def test_ties_go_to_the_label_that_came_first():
    found = decide(say("b"), say("a"), say("a"), say("b"))
    assert (found.teacher_label, found.votes, found.margin) == ("b", 2, 0.0)


@pytest.mark.parametrize("dataset", ["svamp", "asdiv"])
def test_equations_vote_by_value(dataset):
    texts = ["A. The answer is (4 * 3).", "B. The answer is (3 + 4)."]
    texts += ["C. The answer is (4 + 3).", "D. The answer is (some + 4)."]
    found = decide(*texts, dataset=dataset)
    assert (found.teacher_label, found.rationale) == ("(3 + 4)", "B.")
    assert (found.votes, found.margin) == (2, 0.25)


def test_labels_without_a_value_vote_as_text():
    texts = ["A. The answer is (1 + 1)."] + ["B. The answer is (x + 4)."] * 2
    assert decide(*texts, dataset="svamp").teacher_label == "(x + 4)"


def test_text_is_compared_letter_by_letter():
    found = decide(say("Yes"), say("yes"), say("yes"))
    assert (found.teacher_label, found.votes) == ("yes", 2)


def test_unparsable_samples_have_no_vote_but_count():
    found = decide("nothing", say("a"), "nothing")
    assert (found.teacher_label, found.votes, found.samples) == ("a", 1, 3)
    assert found.margin == pytest.approx(1 / 3)
    found = decide("nothing", "So the answer is .")
    assert (found.teacher_label, found.rationale, found.votes) == (None, None, 0)
    assert (found.margin, found.problem) == (0.0, completions.NO_MARKER)


def test_blank_rationales_vote_and_are_passed_over():
    found = decide(say("a", ""), say("a", "A2."))
    assert (found.votes, found.rationale, found.problem) == (2, "A2.", None)
    found = decide(say("a", ""), "nothing")
    assert (found.teacher_label, found.rationale) == ("a", None)
    assert found.problem == completions.BLANK_RATIONALE


def test_nothing_to_decide_by_is_an_error():
    with pytest.raises(ValueError, match="1: no completion"):
        decide()


def test_teachers_may_read_differently():
    text = ["Why. The answer is neutral"]
    assert voting.vote("1", "x", None, text, "anli1").teacher_label is None
    found = voting.vote("1", "x", None, text, "anli1", "gpt_neox")
    assert found.teacher_label == "neutral"


TEXTS = st.lists(
    st.one_of(st.sampled_from([say("a"), say("b"), say("a", "")]), st.text()),
    min_size=1,
    max_size=9,
)


@given(TEXTS)
def test_votes_add_up(texts):
    found = decide(*texts)
    labels = [p.label for p in found.parsed if p.label is not None]
    assert found.samples == len(texts)
    assert found.votes == labels.count(found.teacher_label)
    others = [labels.count(x) for x in set(labels) - {found.teacher_label}]
    assert found.votes >= max(others, default=0)
    assert found.margin == (found.votes - max(others, default=0)) / len(texts)
    assert (found.problem is None) == (found.rationale is not None)
    # The same bits every time.
    assert decide(*texts) == found


@given(TEXTS)
def test_adding_a_vote_for_the_winner_keeps_it(texts):
    before = decide(*texts)
    if before.teacher_label is not None:
        winning = next(
            text
            for text, p in zip(texts, before.parsed, strict=True)
            if p.label == before.teacher_label
        )
        after = decide(*texts, winning)
        assert after.teacher_label == before.teacher_label
        assert after.votes == before.votes + 1


def test_rows_are_a_dataset_as_they_stand(tmp_path):
    rows = [
        voting.to_row(decide(say("a"), say("a"), say("b"), label="a")),
        voting.to_row(voting.vote("2", "y", None, [say("b")])),
    ]
    assert rows[0]["parser_version"] == completions.PARSER_VERSION
    assert (rows[0]["votes"], rows[0]["samples"]) == (2, 3)
    assert rows[0]["margin"] == pytest.approx(1 / 3, abs=1e-6)
    assert "label" not in rows[1]
    path = tmp_path / "rationales.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert jsonl.read_jsonl(path) == [
        Record("1", "x", "a", "a", "Why."),
        Record("2", "y", None, "b", "Why."),
    ]
    read = voting.read(path)
    assert [voting.to_row(outcome) for outcome in read] == rows
    assert [outcome.problem for outcome in read] == [None, None]


def test_anybodys_rows_count_as_one_sample(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"input": "x", "label": "a", "teacher_label": "a", "rationale": "R."}\n'
        '{"input": "y", "label": "a"}\n'
    )
    full, bare = voting.read(path)
    assert (full.id, full.votes, full.samples, full.margin) == ("own-1", 1, 1, 1.0)
    assert full.problem is None
    assert (bare.votes, bare.samples, bare.margin) == (0, 0, 0.0)
    assert bare.problem == voting.MISSING_RATIONALE


@pytest.mark.parametrize(
    ("fields", "samples", "problem"),
    [
        ({"label": "a", "rationale": "R."}, 0, None),
        ({"teacher_label": "a", "rationale": "R."}, 1, None),
        ({"teacher_label": "a"}, 1, voting.MISSING_RATIONALE),
        ({"rationale": "R."}, 0, voting.MISSING_LABEL),
        ({"label": "a", "problem": "no answer marker"}, 1, "no answer marker"),
    ],
)
def test_rows_that_no_teacher_answered_are_no_samples(fields, samples, problem):
    found = voting.from_row({"id": "1", "input": "x", **fields})
    assert (found.samples, len(found.parsed), found.problem) == (
        samples,
        samples,
        problem,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"votes": 2}, "votes is 2, expected at most samples, 1"),
        ({"votes": -1, "samples": 3}, "votes must be a whole number from 0, found -1"),
        ({"votes": True}, "votes must be a whole number"),
        ({"samples": "3"}, "samples must be a whole number from 0, found '3'"),
        ({"margin": 2}, "margin is 2, expected 0 to 1"),
        ({"margin": math.nan}, "margin is nan, expected 0 to 1"),
        ({"margin": "1"}, "margin must be a number, found str"),
        ({"completions": "text"}, "completions must be a list of texts"),
        ({"completions": [1]}, "completions must be a list of texts"),
        ({"problem": 3}, "problem must be text, found int"),
        ({"rationale": " "}, "rationale is blank"),
        ({"label": 3}, "label must be text, found int"),
    ],
)
def test_bad_rows_are_named(tmp_path, fields, message):
    path = tmp_path / "own.jsonl"
    row = {"id": "7", "input": "x", "label": "a", "teacher_label": "a", **fields}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        voting.read(path)
    assert str(caught.value).startswith(f"{path}: row '7': {message}")
