import json
import math

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions, dataset_spec, metrics, tables
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import accuracy, voting
from dsbs_jax.rationales.voting import VotedExample


def completion(label, rationale="Why."):
    return f"{rationale} So the answer is {label}."


def vote(*texts, dataset="default", label=None):
    return voting.vote("1", "x", label, texts, dataset_spec.get(dataset))


def test_the_majority_wins_and_its_first_sample_gives_the_rationale():
    example = vote(
        completion("a", "A1."),
        completion("b", "B1."),
        completion("b", "B2."),
        completion("c"),
    )
    assert (example.teacher_label, example.rationale) == ("b", "B1.")
    assert (example.votes, example.samples, example.margin) == (2, 4, 0.25)
    assert example.problem is None
    assert len(example.parsed) == len(example.completions) == 4


@pytest.mark.parametrize(
    ("kept", "rationales", "weights"),
    [
        ("first", (), ()),
        ("all", ("B1.", "B2."), ()),
        ("weighted", ("B1.", "B2."), (0.4, 0.2)),
    ],
)
def test_rationales_of_the_vote(kept, rationales, weights):
    pairs = [("a", "A1."), ("b", "B1."), ("b", "B2."), ("b", "B1."), ("c", "C.")]
    parsed = [dataset_spec.DEFAULT.parse(completion(*pair)) for pair in pairs]
    metric = dataset_spec.DEFAULT.metric
    example = voting.vote_parsed("1", "x", None, parsed, metric, kept=kept)
    assert example.rationale == "B1."
    assert (example.rationales, example.rationale_weights) == (rationales, weights)
    again = VotedExample.from_row(example.to_row())
    assert again.rationales == example.rationales
    assert again.rationale_weights == example.rationale_weights


@pytest.mark.parametrize(("label", "text"), [("b", "b"), (5, "5"), (2.0, "2")])
def test_fields_of_other_methods_survive_a_round_trip(label, text):
    row = {"id": "1", "input": "x", "label": "a", "teacher_label": "a"}
    row |= {"rationale": "A.", "rationales": ["A.", "A2."]}
    row |= {"rationale_teachers": ["ann", "bo"]}
    other = {"counterfactual_rationale": "B.", "counterfactual_label": label}
    written = VotedExample.from_row(row | other).to_row()
    assert written.items() >= (row | other | {"counterfactual_label": text}).items()
    assert VotedExample.from_row(written).to_row() == written
    assert "counterfactual_label" not in VotedExample.from_row(row).to_row()


def test_one_rationale_of_weight_1_needs_no_list():
    parsed = [dataset_spec.DEFAULT.parse(completion("a", "A."))] * 3
    metric = dataset_spec.DEFAULT.metric
    assert not voting.vote_parsed("1", "x", None, parsed, metric, kept="all").rationales


def test_the_first_label_wins_a_tie():
    example = vote(*map(completion, ["b", "a", "a", "b"]))
    assert (example.teacher_label, example.votes, example.margin) == ("b", 2, 0.0)


@pytest.mark.parametrize("dataset", ["svamp", "asdiv"])
def test_equations_vote_by_value(dataset):
    texts = ["A. The answer is (4 * 3).", "B. The answer is (3 + 4)."]
    texts += ["C. The answer is (4 + 3).", "D. The answer is (some + 4)."]
    example = vote(*texts, dataset=dataset)
    assert (example.teacher_label, example.rationale) == ("(3 + 4)", "B.")
    assert (example.votes, example.margin) == (2, 0.25)


def test_equations_without_a_value_vote_as_text():
    texts = ["A. The answer is (1 + 1)."] + ["B. The answer is (x + 4)."] * 2
    assert vote(*texts, dataset="svamp").teacher_label == "(x + 4)"


def test_letter_case_counts_in_text_labels():
    example = vote(*map(completion, ["Yes", "yes", "yes"]))
    assert (example.teacher_label, example.votes) == ("yes", 2)


def test_a_users_metric_compares_the_labels():
    same_letters = metrics.Metric("letters", lambda a, b: a.lower() == b.lower())
    parsed = [dataset_spec.DEFAULT.parse(completion(x)) for x in ("a", "b", "B")]
    example = voting.vote_parsed("1", "x", None, parsed, same_letters)
    assert (example.teacher_label, example.votes) == ("b", 2)


def test_samples_without_a_label_have_no_vote_but_count():
    example = vote("nothing", completion("a"), "nothing")
    assert (example.teacher_label, example.votes, example.samples) == ("a", 1, 3)
    assert example.margin == pytest.approx(1 / 3)
    example = vote("nothing", "So the answer is .")
    assert (example.teacher_label, example.rationale, example.votes) == (None, None, 0)
    assert (example.margin, example.problem) == (0.0, completions.NO_MARKER)


def test_a_sample_with_a_blank_rationale_votes_and_another_gives_the_rationale():
    example = vote(completion("a", ""), completion("a", "A2."))
    assert (example.votes, example.rationale, example.problem) == (2, "A2.", None)
    example = vote(completion("a", ""), "nothing")
    assert (example.teacher_label, example.rationale) == ("a", None)
    assert example.problem == completions.BLANK_RATIONALE


def test_a_vote_without_completions_is_an_error():
    with pytest.raises(ValueError, match="1: no completion, expected at least one"):
        vote()


def test_the_parser_of_the_teacher_is_used():
    text = ["Why. The answer is neutral"]
    spec = dataset_spec.get("anli1")
    assert voting.vote("1", "x", None, text, spec).teacher_label is None
    example = voting.vote("1", "x", None, text, spec, "gpt_neox")
    assert example.teacher_label == "neutral"


TEXTS = st.lists(
    st.one_of(
        st.sampled_from([completion("a"), completion("b"), completion("a", "")]),
        st.text(),
    ),
    min_size=1,
    max_size=9,
)


@given(TEXTS)
def test_votes_add_up(texts):
    example = vote(*texts)
    labels = [p.label for p in example.parsed if p.label is not None]
    assert example.samples == len(texts)
    assert example.votes == labels.count(example.teacher_label)
    others = [labels.count(x) for x in set(labels) - {example.teacher_label}]
    assert example.votes >= max(others, default=0)
    assert example.margin == (example.votes - max(others, default=0)) / len(texts)
    assert (example.problem is None) == (example.rationale is not None)
    # The same texts always give exactly the same example.
    assert vote(*texts) == example


@given(TEXTS)
def test_another_vote_for_the_winner_keeps_the_winner(texts):
    before = vote(*texts)
    if before.teacher_label is not None:
        winning = next(
            text
            for text, p in zip(texts, before.parsed, strict=True)
            if p.label == before.teacher_label
        )
        after = vote(*texts, winning)
        assert after.teacher_label == before.teacher_label
        assert after.votes == before.votes + 1


def test_rows_are_a_dataset_to_train_on(tmp_path):
    rows = [
        vote(*map(completion, ["a", "a", "b"]), label="a").to_row(),
        voting.vote("2", "y", None, [completion("b")]).to_row(),
    ]
    assert rows[0]["parser_version"] == completions.PARSER_VERSION
    assert (rows[0]["votes"], rows[0]["samples"]) == (2, 3)
    assert rows[0]["margin"] == pytest.approx(1 / 3, abs=1e-6)
    assert "label" not in rows[1]
    path = tmp_path / "rationales.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tables.read_examples(path) == [
        Record("1", "x", "a", "a", "Why."),
        Record("2", "y", None, "b", "Why."),
    ]
    examples = voting.read_rows(path, VotedExample.from_row)
    assert [example.to_row() for example in examples] == rows
    assert [example.problem for example in examples] == [None, None]


def test_several_answers_of_a_row_are_kept():
    row = {"input": "x", "label": ["four", 4], "teacher_label": 4, "rationale": "R."}
    example = VotedExample.from_row({"id": "1", **row})
    assert example.target == ("four", "4") and example.teacher_label == "4"
    assert accuracy.is_correct(example, metrics.EXACT_MATCH)
    assert example.to_row()["label"] == ["four", "4"]
    assert VotedExample.from_row(example.to_row()) == example


def test_a_users_row_counts_as_one_sample(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(
        '{"input": "x", "label": "a", "teacher_label": "a", "rationale": "R."}\n'
        '{"input": "y", "label": "a", "votes": null}\n'
    )
    full, bare = voting.read_rows(path, VotedExample.from_row)
    assert (full.id, full.votes, full.samples, full.margin) == ("own-1", 1, 1, 1.0)
    assert full.problem is None
    assert (bare.votes, bare.samples, bare.margin) == (0, 0, 0.0)
    assert bare.problem == voting.MISSING_RATIONALE


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_votes(tmp_path, suffix):
    # The missing votes of the second row make the column of a table one of numbers.
    table = pandas.DataFrame(
        {
            "id": ["1", "2"],
            "input": ["x", "y"],
            "teacher_label": ["a", "a"],
            "rationale": ["R.", "S."],
            "votes": [2, None],
            "samples": [3, None],
            "margin": [0.5, None],
            "answer_given": [True, None],
            "completions": [None, None],
            "judge_verdict": [None, "yes"],
        }
    )
    path = tmp_path / f"rows{suffix}"
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    full, bare = voting.read_rows(path, VotedExample.from_row)
    assert (full.votes, full.samples, full.margin) == (2, 3, 0.5)
    assert (full.answer_given, full.completions) == (True, ())
    assert (bare.votes, bare.samples, bare.margin) == (1, 1, 1.0)
    assert (bare.answer_given, bare.judge_verdict) == (False, "yes")


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
def test_a_row_without_a_teacher_label_has_no_sample(fields, samples, problem):
    example = VotedExample.from_row({"id": "1", "input": "x", **fields})
    assert (example.samples, len(example.parsed), example.problem) == (
        samples,
        samples,
        problem,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"votes": 2}, "votes is 2, expected at most samples, 1"),
        ({"votes": -1, "samples": 3}, "field 'votes' must be integer >= 0"),
        ({"votes": True}, "field 'votes' must be integer or null, found true or false"),
        ({"votes": 1.5}, "field 'votes' must be integer or null, found number"),
        ({"samples": "x"}, "field 'samples' must be integer or null, found text"),
        ({"margin": 2}, "field 'margin' must be number <= 1"),
        ({"margin": math.nan}, "field 'margin' must be number >= 0"),
        ({"margin": "x"}, "field 'margin' must be number or null, found text"),
        ({"completions": "text"}, "field 'completions' must be list, found text"),
        ({"completions": [1]}, "field 'completions[0]' must be text, found integer"),
        ({"problem": 3}, "field 'problem' must be text or null, found integer"),
        ({"problem": " "}, "problem is blank"),
        ({"rationale": " "}, "rationale is blank"),
        ({"label": {}}, "field 'label' must be text, number"),
    ],
)
def test_the_error_for_a_bad_row_names_the_field(tmp_path, fields, message):
    path = tmp_path / "own.jsonl"
    row = {"id": "7", "input": "x", "label": "a", "teacher_label": "a", **fields}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        voting.read_rows(path, VotedExample.from_row)
    assert str(caught.value).startswith(f"{path}: row '7': {message}")
