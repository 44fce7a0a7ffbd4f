"""Tests of the flat rows; tests/released/test_tfds_builder.py tests single rows."""

from dsbs_jax.data import row_schema
from dsbs_jax.data.records import Record


def test_borrowed_labels_replace_missing_human_labels_only():
    records = [
        Record("a", "x", "1", "2"),
        Record("b", "y", None, "3"),
        Record("c", "z"),
    ]
    columns = row_schema.record_columns(records, "sage", borrow_labels=True)
    assert columns["label"] == ["1", "3", ""]
    assert columns["has_label"] == [True, True, False]
    assert columns["sage_label"] == ["2", "3", ""]


def test_columns_without_records_have_every_field():
    columns = row_schema.record_columns([], "sage")
    assert columns == dict.fromkeys(row_schema.field_types(["sage"]), [])


def test_rationales_and_weights_are_padded_to_the_same_length():
    records = [
        Record(
            "a", "x", "1", "1", "r", rationales=("r", "s"), rationale_weights=(2, 1)
        ),
        Record("b", "y", "2", "2", "t"),
        Record("c", "z", "3"),
    ]
    columns = row_schema.record_columns(records, "sage")
    assert columns["sage_rationale"] == ["r", "t", ""]
    assert columns["sage_rationales"] == [["r", "s"], ["t", ""], ["", ""]]
    assert columns["sage_rationale_weights"] == [[2, 1], [1.0, 0.0], [0.0, 0.0]]
    assert "sage_rationales" not in row_schema.record_columns(records[1:], "sage")


def test_counterfactual_rationales_have_flags():
    records = [
        Record("a", "x", counterfactual_rationale="r", counterfactual_label="1"),
        Record("b", "y"),
    ]
    columns = row_schema.record_columns(records, "sage")
    rationale, label = row_schema.counterfactual_fields("sage")
    assert (columns[rationale], columns[label]) == (["r", ""], ["1", ""])
    assert columns[row_schema.flag_of(rationale)] == [True, False]
    assert rationale not in row_schema.record_columns(records[1:], "sage")


def test_several_answers_are_padded_to_the_same_length():
    records = [
        Record("a", "x", "1", answers=("1", "one", "I")),
        Record("b", "y", "2"),
        Record("c", "z", "3", answers=("3", "three")),
    ]
    answers = row_schema.record_columns(records, "sage")["answers"]
    assert answers == [["1", "one", "I"], ["", "", ""], ["3", "three", ""]]
    rows = [{"answers": [text.encode() for text in row]} for row in answers]
    assert [row_schema.answers_of(row) for row in rows] == [
        ("1", "one", "I"),
        (),
        ("3", "three"),
    ]
    assert row_schema.answers_of({}) == ()
