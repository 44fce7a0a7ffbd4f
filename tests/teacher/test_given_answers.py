import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data.metrics import EXACT_MATCH
from dsbs_jax.rationales import accuracy, filters
from dsbs_jax.rationales.card import writing
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.teacher import extraction, given_answers
from support.batch_server import answered, batch_server, completion

__all__ = ["batch_server"]


def script(question, _):
    """Answers "visit"; given an answer, repeats it, except for line 2."""
    asked, _, hint = question.partition("\n(The correct answer is: ")
    if not hint:
        return f"{asked} alone. So the answer is visit."
    label = "visit" if asked == "line 2" else hint.removesuffix(")")
    return f"{asked} with help. So the answer is {label}."


def test_rows_that_the_teacher_gets_wrong_are_asked_again(
    serve, extract, rows, tmp_path
):
    # Human labels: remote, visit, remote, visit, remote, visit.
    server = serve(script)
    assert extract(server, count=6, labels=True, GIVE_ANSWERS=True) == extraction.DONE
    made = {row["id"]: row for row in rows("rationales.jsonl")}
    assert len(made) == 6 and len(server.bodies) == 6 + 3
    for n in (0, 4):
        row = made[f"n{n}"]
        assert (
            row["input"] == f"line {n}" and row["rationale"] == f"line {n} with help."
        )
        assert (row["teacher_label"], row["own_label"]) == ("remote", "visit")
        assert row["answer_given"] is True
    # Line 2 keeps its own answer, because the teacher contradicts the given one.
    assert made["n2"]["teacher_label"] == "visit"
    for n in (1, 2, 3, 5):
        assert made[f"n{n}"]["rationale"] == f"line {n} alone."
        assert "answer_given" not in made[f"n{n}"]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["answer_given"] == {"rows": 2, "requested": 3}
    # The teacher's accuracy is that without help.
    assert report["teacher_accuracy"]["right"] == 3


def test_the_exemplars_give_their_labels_too(serve, extract):
    server = serve(script)
    extract(server, count=1, labels=True, GIVE_ANSWERS=True)
    alone, helped = server.bodies
    questions = [m["content"] for m in helped["messages"] if m["role"] == "user"]
    assert len(questions) > 1
    assert all(text.count("(The correct answer is: ") == 1 for text in questions)
    assert "The correct answer is" not in str(alone)


def test_nothing_is_requested_twice_and_the_option_can_be_added(serve, extract, rows):
    server = serve(script)
    options = {"count": 6, "labels": True}
    extract(server, **options)
    assert len(server.bodies) == 6
    first = rows("rationales.jsonl")
    for _ in range(2):
        assert extract(server, **options, GIVE_ANSWERS=True) == extraction.DONE
        assert set(server.request_counts.values()) == {1}
        assert len(server.bodies) == 9
    # Without the option, the rows are those of the first run again.
    extract(server, **options)
    assert rows("rationales.jsonl") == first and len(server.bodies) == 9


def test_caps_count_both_kinds_of_requests(serve, extract, tmp_path):
    server = serve(script)
    options = {"count": 6, "labels": True, "GIVE_ANSWERS": True, "CONCURRENCY": 1}
    assert extract(server, **options, MAX_REQUESTS=7) == extraction.CAPPED
    assert len(server.bodies) == 7
    assert not (tmp_path / "out/rationales.jsonl").exists()
    assert extract(server, **options, MAX_REQUESTS=9) == extraction.DONE
    assert set(server.request_counts.values()) == {1}


def test_failed_requests_leave_the_teachers_own_answer(
    serve, extract, act, rows, capsys
):
    refused = True

    def refuses_help(question, _):
        if refused and "correct answer" in question:
            return act["status"](400)
        return script(question, 0)

    server = serve(refuses_help)
    options = {"count": 4, "labels": True, "GIVE_ANSWERS": True}
    assert extract(server, **options) == extraction.SOME_FAILED
    assert all(row["teacher_label"] == "visit" for row in rows("rationales.jsonl"))
    out = capsys.readouterr().out
    assert "2 requests with the answer given failed" in out
    assert "answer given: 0 of 2 rows" in out
    refused = False
    assert extract(server, **options) == extraction.DONE
    assert len(server.bodies) == 4 + 2 + 2


def test_batches_carry_the_second_requests(batch_server, extract, rows):
    def answer(line):
        asked = line["body"]["messages"][-1]["content"].rpartition("Q: ")[2]
        return answered(completion(script(asked.removesuffix("\nA:"), 0)))

    batch_server.answer = answer
    options = {"labels": True, "count": 5, "BATCH": True, "BATCH_PERIOD": 0.01}
    for _ in range(2):
        assert extract(batch_server, **options, GIVE_ANSWERS=True) == extraction.DONE
        # Five rows, and the three whose human label is not "visit".
        assert len(batch_server.requests()) == 8 and batch_server.direct == 0
    given = [row["id"] for row in rows("rationales.jsonl") if "answer_given" in row]
    assert given == ["n0", "n4"]


def example(id_, label, teacher_label, rationale="R."):
    fields = {"label": label, "teacher_label": teacher_label, "rationale": rationale}
    present = {name: value for name, value in fields.items() if value is not None}
    return VotedExample.from_row({"id": id_, "input": f"input {id_}"} | present)


@pytest.mark.parametrize(
    ("label", "teacher_label", "rationale", "needed"),
    [
        ("a", "a", "R.", False),
        ("a", "b", "R.", True),
        ("a", None, "R.", True),
        ("a", "a", None, True),
        (None, "b", "R.", False),
    ],
)
def test_which_rows_need_help(label, teacher_label, rationale, needed):
    row = example("1", label, teacher_label, rationale)
    assert given_answers.is_needed(row, EXACT_MATCH) == needed


LABELS = st.lists(st.tuples(*[st.sampled_from("ab")] * 3), max_size=20)


@given(LABELS)
def test_help_never_changes_the_measured_accuracy(labels):
    rows = [example(str(n), x, y) for n, (x, y, _) in enumerate(labels)]
    aided = [
        example(str(n), x, z)
        for n, (x, y, z) in enumerate(labels)
        if given_answers.is_needed(rows[n], EXACT_MATCH)
    ]
    merged = given_answers.merge(rows, aided, EXACT_MATCH)
    assert [e.id for e in merged] == [e.id for e in rows]
    assert [e.unaided_label for e in merged] == [e.teacher_label for e in rows]
    assert accuracy.accuracy(merged, EXACT_MATCH) == accuracy.accuracy(
        rows, EXACT_MATCH
    )
    assert sum(e.answer_given for e in merged) == sum(
        x != y and x == z for x, y, z in labels
    )
    # A written row is read back with its mark.
    for one in merged:
        again = VotedExample.from_row(one.to_row())
        assert (again.answer_given, again.own_label) == (
            one.answer_given,
            one.own_label,
        )


def test_the_card_reports_the_share(tmp_path):
    row = dataclasses.replace(example("1", "a", "a"), answer_given=True, own_label="b")
    rows = [row, example("2", "a", "a")]
    figures = writing.write(tmp_path, rows, filters.apply(rows, FilterConfig()))
    assert figures.answer_given == figures.accuracy == Proportion(1, 2)
    text = (tmp_path / "card.md").read_text()
    assert "On 1 of the 2 kept rows (50.00 %" in text
    assert "**teacher label without help** b" in text


def test_bad_fields_of_a_row_are_errors():
    row = example("1", "a", "a").to_row() | {"answer_given": "yes"}
    with pytest.raises(ValueError, match="answer_given"):
        VotedExample.from_row(row)
    assert VotedExample.from_row(row | {"answer_given": False}).own_label is None
