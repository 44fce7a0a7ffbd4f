"""Tests of JSON lines and JSON lists."""

import json

import pytest
from tolerance import json_rows

from dsbs_jax.data import tables
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError


def test_fields_of_a_row(write):
    path = write(
        {"input": "a", "label": "x"},
        {"input": "b", "teacher_label": "y", "rationale": "since", "id": "own"},
        {"input": "c", "label": None, "rationale": "as", "id": 7},
    )
    assert tables.read_examples(path) == [
        Record("mine-1", "a", "x"),
        Record("own", "b", None, "y", "since"),
        Record("7", "c", None, None, "as"),
    ]


def test_line_ends_blank_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "mine.jsonl"
    row = '{"input": "é\u2028", "label": "x"}'
    path.write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n\r\n  \n{row}".encode())
    assert [r.id for r in tables.read_examples(path)] == ["mine-1", "mine-4"]


def test_unknown_fields_are_ignored_with_one_note(write, capsys):
    path = write(*({"input": str(i), "label": "x", "source": 3} for i in range(9)))
    assert len(tables.read_examples(path)) == 9
    assert len(tables.read_examples(path)) == 9
    note = capsys.readouterr().err
    assert note.count("note: ") == 1
    assert "ignoring fields 'source'" in note and "teacher_label" in note


# One that is too long for the page.
WRONG_LINES = [*json_rows.SECTION.refused, ("[" * 200_000, "nested too deeply")]


@pytest.mark.parametrize(("line", "label"), json_rows.SECTION.accepted)
def test_label_of_a_line(write, line, label):
    (record,) = tables.read_examples(write(line))
    assert record.label == label


@pytest.mark.parametrize("line,problem", WRONG_LINES)
def test_wrong_line_is_numbered(write, line, problem):
    path = write({"input": "ok", "label": "x"}, line)
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 1 bad line: line 2: ")
    assert problem in message
    assert "\n" not in message


def test_all_wrong_lines_are_counted_and_the_first_are_shown(write):
    good = {"input": "ok", "label": "x"}
    faults = (" " * n + "?" for n in range(23))
    path = write(*(line for fault in faults for line in (fault, good)))
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    message = str(caught.value)
    assert "23 bad lines" in message and "\n  3 more" in message
    shown = [f"line {n}:" in message for n in (1, 3, 39, 41)]
    assert shown == [True, True, True, False]


def test_equal_faults_are_one_line(write):
    good, blank = {"input": "ok", "label": "x"}, {"input": " ", "label": "x"}
    path = write(*(line for _ in range(13) for line in (blank, good)), {"input": 3})
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{path}: 14 bad lines:"
    numbers = ", ".join(str(n) for n in range(1, 21, 2))
    assert lines[0].startswith(f"  lines {numbers} and 3 more: ")
    assert lines[1].startswith("  line 27: ") and len(lines) == 2


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"input": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}, "pandas wri"),
        ({"data": [{"input": "a", "label": "x"}]}, r"'jq -c .data\[\] FILE' prints"),
        ({"version": "v2.0", "data": [{"input": "a"}]}, "in the list 'data'"),
        (
            {"columns": ["input", "label"], "index": [0], "data": [["a", "x"]]},
            "orient='split'; write it with to_json",
        ),
    ],
)
def test_an_object_that_holds_all_rows_is_named(tmp_path, suffix, value, advice):
    path = tmp_path / f"rows{suffix}"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=f"{advice}.*expected one object on each line"):
        tables.read_examples(path)


def test_a_row_may_have_a_field_with_objects(write):
    row = {"input": "the text of a row", "label": "x", "data": [{"a": 1}]}
    assert len(tables.read_examples(write(row))) == 1


def test_ids_must_differ(write):
    path = write(*({"input": x, "label": "x", "id": "same"} for x in "ab"))
    message = "line 2: id 'same' is also the id of line 1; change one of them"
    for read in (tables.read_examples, tables.read_inputs, tables.read_rows):
        with pytest.raises(UserError, match=message):
            read(path)


def test_file_that_is_not_utf8_or_empty_or_missing(tmp_path):
    path = tmp_path / "mine.jsonl"
    with pytest.raises(UserError, match="mine.jsonl: No such file"):
        tables.read_examples(path)
    path.write_bytes(b"\n\n")
    with pytest.raises(UserError, match="mine.jsonl: holds no rows"):
        tables.read_examples(path)
    path.write_bytes(b'{"input": "\xff"}')
    with pytest.raises(UserError, match="line 1: not UTF-8 at byte 11"):
        tables.read_examples(path)


def test_rows_need_no_column(write):
    path = write({"id": "a", "input": 3}, {"region": "north"}, {"id": 5})
    assert tables.read_rows(path) == [
        {"id": "a", "input": 3},
        {"id": "mine-2", "region": "north"},
        {"id": "5"},
    ]
    with pytest.raises(UserError, match="field 'id' must be integer or text or null"):
        tables.read_rows(write({"id": [1]}))


def test_inputs_pass_other_fields_through(write):
    path = write({"input": "a", "note": [1]}, {"input": "b", "id": 5})
    assert tables.read_inputs(path) == [
        {"input": "a", "note": [1], "id": "mine-1"},
        {"input": "b", "id": "5"},
    ]
    with pytest.raises(UserError, match="line 1: field 'input' is missing"):
        tables.read_inputs(write({"text": "a"}))


def test_list_of_objects(tmp_path):
    path = tmp_path / "mine.json"
    rows = [{"input": "a [", "label": "x"}, {"input": "b", "label": "y", "id": 5}]
    for indent in (None, 2):
        path.write_bytes(b"\xef\xbb\xbf " + json.dumps(rows, indent=indent).encode())
        assert tables.read_examples(path) == [
            Record("mine-1", "a [", "x"),
            Record("5", "b", "y"),
        ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", ": holds no rows"),
        ("[", ": broken JSON at line 1, column 2"),
        ('[{"input": "a", "label": "x"}\n{}]', ": broken JSON at line 2, column 1"),
        ('[{"input": "a", "label": "x"}] 1', ": broken JSON at line 1, column 32"),
        ("[{}, ", ": broken JSON at line 1, column 6"),
        ("[" + "[" * 200_000, ": JSON nested too deeply"),
        ("[{}, 3]", ": 2 bad rows:\n  row 1: field 'input' is missing"),
        ("[3]", ": 1 bad row: row 1: expected object, found integer"),
        ('{\n  "rows": []\n}', ": expected a list of objects, or one object on each"),
    ],
)
def test_list_with_a_fault(tmp_path, content, problem):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    assert str(caught.value).startswith(f"{path}{problem}")


def test_json_lines_in_a_file_of_suffix_json(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"input": "a", "label": "x"}\n{"input": "b", "label": "y"}\n')
    assert [r.input for r in tables.read_examples(path)] == ["a", "b"]


def test_column_that_no_row_has(write):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    with pytest.raises(UserError) as caught:
        tables.read_examples(write(*rows), tables.ColumnMap(input="texts"))
    assert str(caught.value).endswith(
        "1 bad line: line 1: field 'texts' is missing; did you mean 'text'? found "
        "'text', 'label'"
    )
    with pytest.raises(UserError, match="'labels' is missing; did you mean 'label'"):
        tables.read_examples(
            write(*rows), tables.ColumnMap(input="text", label="labels")
        )


def test_generated_id_is_not_that_of_another_row(write):
    path = write(
        {"input": "a", "label": "x", "id": "mine-3"},
        {"input": "b", "label": "x", "id": "mine-7"},
        {"input": "c", "label": "x"},
    )
    expected = ["mine-3", "mine-7", "mine-3.2"]
    assert [r.id for r in tables.read_examples(path)] == expected
    assert [r["id"] for r in tables.read_inputs(path)] == expected


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "a.jsonl",
            '{\n "input": "a",\n "label": "x"\n}\n',
            "'jq -c . FILE' prints this form",
        ),
        ("a.jsonl", '[\n{"input": "a", "label": "x"}\n]', "give the file the suffix"),
        ("a.ndjson", "\ufeff{\r\n}\r\n", "an object spans several lines"),
    ],
)
def test_file_that_spans_several_lines_gets_a_hint(tmp_path, name, content, problem):
    path = tmp_path / name
    path.write_bytes(content.encode())
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    assert problem in str(caught.value)
    assert "broken JSON" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "row",
    [
        '{"input": "a", "label": "x", "label": "y"}',
        '{"input": "a", "label": "x", "label": "x"}',
        '{"input": "a", "input": "b", "label": "x"}',
        '{"input": "a", "label": "x", "meta": {"label": 1, "label": 2}}',
    ],
)
def test_field_that_occurs_twice_is_an_error(tmp_path, name, row):
    path = tmp_path / name
    path.write_text(f"[{row}]" if name.endswith(".json") else row)
    with pytest.raises(UserError, match="field '(label|input)' occurs twice"):
        tables.read_examples(path)


@pytest.mark.parametrize(
    ("columns", "lost"),
    [
        ({"input": "text"}, "input"),
        ({"id": "number"}, "id"),
        ({"template": "{text}"}, "input"),
    ],
)
def test_inputs_replace_no_other_column(tmp_path, columns, lost):
    row = {"input": "a", "id": "1", "text": "b", "number": 2}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(UserError, match=f"column '{lost}' would be replaced"):
        tables.read_inputs(path, tables.ColumnMap(**columns))
    del row[lost]
    path.write_text(json.dumps(row))
    (read,) = tables.read_inputs(path, tables.ColumnMap(**columns))
    assert {name: read[name] for name in row} == row
