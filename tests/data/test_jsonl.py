"""Tests of a user's JSONL files."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import jsonl
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="mine.jsonl"):
        texts = [s if isinstance(s, str) else json.dumps(s) for s in lines]
        path = tmp_path / name
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


def test_fields_of_a_row(write):
    path = write(
        {"input": "a", "label": "x"},
        {"input": "b", "teacher_label": "y", "rationale": "since", "id": "own"},
        {"input": "c", "label": None, "rationale": "as", "id": 7},
    )
    assert jsonl.read_jsonl(path) == [
        Record("mine-1", "a", "x"),
        Record("own", "b", None, "y", "since"),
        Record("7", "c", None, None, "as"),
    ]


def test_line_ends_blank_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "mine.jsonl"
    row = '{"input": "é\u2028", "label": "x"}'
    path.write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n\r\n  \n{row}".encode())
    assert [r.id for r in jsonl.read_jsonl(path)] == ["mine-1", "mine-4"]


def test_unknown_fields_are_ignored_with_one_note(write, capsys):
    path = write(*({"input": str(i), "label": "x", "source": 3} for i in range(9)))
    assert len(jsonl.read_jsonl(path)) == 9
    assert len(jsonl.read_jsonl(path)) == 9
    note = capsys.readouterr().err
    assert note.count("note: ") == 1
    assert "ignoring fields 'source'" in note and "teacher_label" in note


WRONG_LINES = [
    ('{"input": "a"', "broken JSON at column 14"),
    ("[1]", "expected object, found list"),
    ({"label": "x"}, "field 'input' is missing"),
    ({"input": " ", "label": "x"}, "input is blank"),
    ({"input": 3, "label": "x"}, "field 'input' must be text, found integer"),
    ({"input": "a", "label": ""}, "label is blank"),
    ({"input": "a", "label": 1}, "field 'label' must be text or null, found integer"),
    (
        {"input": "a", "label": "x", "rationale": ["r"]},
        "field 'rationale' must be text or null, found list",
    ),
    (
        {"input": "a", "label": "x", "id": True},
        "field 'id' must be integer or text or null, found true",
    ),
    ({"input": "a", "label": "\ud800"}, "lone surrogate"),
    ({"input": "a"}, "none of label, teacher_label and rationale"),
    ("[" * 200_000, "nested too deeply"),
]


@pytest.mark.parametrize("line,problem", WRONG_LINES)
def test_wrong_line_is_numbered(write, line, problem):
    path = write({"input": "ok", "label": "x"}, line)
    with pytest.raises(UserError) as caught:
        jsonl.read_jsonl(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 1 bad line(s): line 2: ")
    assert problem in message
    assert "\n" not in message


def test_all_wrong_lines_are_counted_and_the_first_are_shown(write):
    good = {"input": "ok", "label": "x"}
    path = write(*(line for _ in range(8) for line in ({}, good)))
    with pytest.raises(UserError) as caught:
        jsonl.read_jsonl(path)
    message = str(caught.value)
    assert "8 bad line(s)" in message and "; 3 more" in message
    assert [f"line {n}:" in message for n in (1, 3, 9, 11)] == [True, True, True, False]


def test_ids_must_differ(write):
    path = write(*({"input": x, "label": "x", "id": "same"} for x in "ab"))
    with pytest.raises(UserError, match="line 2: id 'same' is also that of line 1"):
        jsonl.read_jsonl(path)


def test_file_that_is_not_utf8_or_empty_or_missing(tmp_path):
    path = tmp_path / "mine.jsonl"
    with pytest.raises(UserError, match="mine.jsonl: No such file"):
        jsonl.read_jsonl(path)
    path.write_bytes(b"\n\n")
    with pytest.raises(UserError, match="mine.jsonl: holds no rows"):
        jsonl.read_jsonl(path)
    path.write_bytes(b'{"input": "\xff"}')
    with pytest.raises(UserError, match="line 1: not UTF-8 at byte 11"):
        jsonl.read_jsonl(path)


def test_inputs_pass_other_fields_through(write):
    path = write({"input": "a", "note": [1]}, {"input": "b", "id": 5})
    assert jsonl.read_inputs(path) == [
        {"input": "a", "note": [1], "id": "mine-1"},
        {"input": "b", "id": "5"},
    ]
    with pytest.raises(UserError, match="line 1: field 'input' is missing"):
        jsonl.read_inputs(write({"text": "a"}))


def make_records(inputs, labelled=lambda i: True):
    return [
        Record(str(i), text, "x" if labelled(i) else None, "y")
        for i, text in enumerate(inputs)
    ]


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1), st.randoms())
def test_split_is_a_partition_independent_of_the_order(inputs, rng):
    records = make_records(inputs)
    if len(set(inputs)) < 3:
        with pytest.raises(UserError, match="at least 3"):
            jsonl.split_records(records)
        return
    split = jsonl.split_records(records)
    assert list(split) == ["train", "validation", "test"]
    assert all(split.values())
    shuffled = rng.sample(records, len(records))
    for name, part in jsonl.split_records(shuffled).items():
        assert {r.id for r in part} == {r.id for r in split[name]}
        assert [r for r in shuffled if r in part] == part
    members = [{r.input for r in part} for part in split.values()]
    assert sum(map(len, members)) == len(set(inputs))
    assert sum(map(len, split.values())) == len(records)


def test_split_sizes():
    split = jsonl.split_records(make_records(map(str, range(95))))
    assert [len(part) for part in split.values()] == [75, 10, 10]


def test_rows_without_a_human_label_are_training_rows():
    records = make_records(map(str, range(50)), labelled=lambda i: i % 5 == 0)
    split = jsonl.split_records(records)
    assert [len(part) for part in split.values()] == [48, 1, 1]
    assert all(r.label for name in ("validation", "test") for r in split[name])


def test_without_human_labels_any_row_is_held_out():
    records = make_records(map(str, range(20)), labelled=lambda i: False)
    assert [len(p) for p in jsonl.split_records(records).values()] == [16, 2, 2]


def test_a_single_file_is_split_with_a_note(write, capsys):
    path = write(*({"input": str(i), "label": "x"} for i in range(20)))
    split = jsonl.read_dataset(path)
    assert [len(part) for part in split.values()] == [16, 2, 2]
    assert "train 16, validation 2, test 2" in capsys.readouterr().err
    rows = [{"input": "only", "label": "x"}]
    with pytest.raises(UserError, match=r"few.jsonl: 1 distinct inputs cannot"):
        jsonl.read_dataset(write(*rows, name="few.jsonl"))


def test_files_by_split(write):
    rows = [{"input": str(random.Random(0).random()), "label": "x"}]
    paths = {s: write(*rows, name=f"{s}.jsonl") for s in ("test", "train")}
    split = jsonl.read_dataset(paths)
    assert list(split) == ["train", "test"]
    assert split["test"][0].id == "test-1"
    for files in ({"valid": paths["test"], **paths}, {"test": paths["test"]}, {}):
        with pytest.raises(UserError, match="expected train and optionally"):
            jsonl.read_dataset(files)
