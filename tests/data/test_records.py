"""Tests of the record."""

import dataclasses

import pytest

from dsbs_jax import files
from dsbs_jax.data import tables
from dsbs_jax.data.records import Record, as_row

FIELDS = ("id", "input", "label", "teacher_label", "rationale")


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


def test_row_of_a_record_is_read_back_as_the_same_record(tmp_path, capsys):
    records = [
        Record("a", "2 + 2", "4", answers=("4", "four")),
        Record("b", "1 + 1", None, "2", "one and one"),
        Record("c", "ë\u2028", "x"),
    ]
    assert as_row(records[0]) == {"id": "a", "input": "2 + 2", "label": ["4", "four"]}
    files.write_jsonl(tmp_path / "rows.jsonl", map(as_row, records))
    assert tables.read_split(tmp_path / "rows.jsonl") == records
    assert capsys.readouterr().err == ""
