"""Tests of the record."""

import dataclasses

import pytest

from dsbs_jax import files
from dsbs_jax.data import tables
from dsbs_jax.data.records import Record, as_row, fingerprint

FIELDS = (
    "id",
    "input",
    "label",
    "teacher_label",
    "rationale",
    "counterfactual_rationale",
    "counterfactual_label",
)


def test_missing_texts_are_none():
    record = Record("a", "x")
    assert (record.label, record.teacher_label, record.rationale) == (None, None, None)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("bad", ["", " \n", 7, "\ud800"])
def test_error_names_the_wrong_field(field, bad):
    good = Record("a", "x", "label", "teacher's", "because")
    with pytest.raises(ValueError, match=f"^{field} "):
        dataclasses.replace(good, **{field: bad})


@pytest.mark.parametrize("field", ["id", "input"])
def test_id_and_input_are_required(field):
    with pytest.raises(ValueError, match=f"^{field} must be text, found NoneType"):
        dataclasses.replace(Record("a", "x"), **{field: None})


def test_answers_begin_with_the_label():
    assert Record("a", "x", "one", answers=("one", "1")).answers == ("one", "1")
    with pytest.raises(ValueError, match="label is not the first of the answers"):
        Record("a", "x", "one", answers=("1", "one"))
    with pytest.raises(ValueError, match="label is blank"):
        Record("a", "x", "one", answers=("one", " "))


def test_each_rationale_has_a_weight():
    record = Record("a", "x", rationale="r", rationales=("r", "s"))
    assert record.weighted_rationales == (("r", 1.0), ("s", 1.0))
    weighted = dataclasses.replace(record, rationale_weights=(0.5, 0.0))
    assert weighted.weighted_rationales == (("r", 0.5), ("s", 0.0))
    assert Record("a", "x", rationale="r").weighted_rationales == (("r", 1.0),)
    assert Record("a", "x").weighted_rationales == ()


@pytest.mark.parametrize(
    ("rationales", "weights", "problem"),
    [
        (("s", "r"), (), "rationale is not the first of rationales"),
        (("r", " "), (), "rationales is blank"),
        (("r", "s"), (1.0,), "rationale_weights has 1 values, expected 2"),
        (("r",), (-1.0,), "rationale_weights holds -1.0, expected 0 to 524287"),
        (("r",), (float("nan"),), "rationale_weights holds nan, expected 0 to"),
        (("r",), (524287.5,), "rationale_weights holds 524287.5, expected 0 to"),
        ((), (1.0,), "rationale is not the first of rationales"),
    ],
)
def test_rationales_and_weights_fit_together(rationales, weights, problem):
    with pytest.raises(ValueError, match=problem):
        Record(
            "a", "x", rationale="r", rationales=rationales, rationale_weights=weights
        )


@pytest.mark.parametrize(
    ("teachers", "problem"),
    [
        (("ann",), "rationale_teachers has 1 values, expected 2"),
        (("ann", " "), "rationale_teachers is blank"),
    ],
)
def test_each_rationale_has_a_teacher(teachers, problem):
    with pytest.raises(ValueError, match=problem):
        Record(
            "a",
            "x",
            rationale="r",
            rationales=("r", "s"),
            rationale_teachers=teachers,
        )


def test_record_without_the_teacher_keeps_its_label():
    record = Record("a", "x", "one", "two", "r", (), ("r", "s"), (1.0, 2.0), "t", "two")
    record = dataclasses.replace(record, rationale_teachers=("ann", "bo"))
    assert record.without_teacher() == Record("a", "x", "one")


def test_fingerprint_covers_the_rationales():
    record = Record("a", "x", "one", "two", "r")
    several = dataclasses.replace(record, rationales=("r", "s"))
    weighted = dataclasses.replace(several, rationale_weights=(1.0, 0.5))
    other = {"counterfactual_rationale": "t", "counterfactual_label": "two"}
    counterfactual = dataclasses.replace(record, **other)
    records = (record, several, weighted, counterfactual)
    assert len({fingerprint([one]) for one in records}) == 4


def test_row_of_a_record_is_read_back_as_the_same_record(tmp_path, capsys):
    records = [
        Record("a", "2 + 2", "4", answers=("4", "four")),
        Record("b", "1 + 1", None, "2", "one and one"),
        Record("c", "ë\u2028", "x"),
        Record(
            "d",
            "3",
            rationale="r",
            rationales=("r", "s"),
            rationale_teachers=("ann", "bo"),
        ),
    ]
    assert as_row(records[0]) == {"id": "a", "input": "2 + 2", "label": ["4", "four"]}
    files.write_jsonl(tmp_path / "rows.jsonl", map(as_row, records))
    assert tables.read_split(tmp_path / "rows.jsonl") == records
    assert capsys.readouterr().err == ""
