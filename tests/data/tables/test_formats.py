"""The same rows give the same records in every format."""

import gzip
import io
import json
import pathlib
import re
import subprocess
import sys

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from dsbs_jax.data import tables
from dsbs_jax.data.records import Record
from dsbs_jax.data.tables import arrow_tables
from dsbs_jax.errors import UserError

ROWS = [
    {"input": 'no signal, "at all"', "label": "line", "rationale": "the line\nfails"},
    {"input": "é\u2028 ü", "label": "device", "rationale": None},
    {"input": " tab\there;", "label": None, "rationale": "no light"},
    {"input": "plain", "label": "nan", "rationale": "because"},
]
RECORDS = [
    Record("mine-1", 'no signal, "at all"', "line", None, "the line\nfails"),
    Record("mine-2", "é\u2028 ü", "device"),
    Record("mine-3", " tab\there;", None, None, "no light"),
    Record("mine-4", "plain", None, None, "because"),
]


def write_csv(rows, path, delimiter=","):
    out = io.BytesIO()
    options = csv.WriteOptions(delimiter=delimiter)
    csv.write_csv(pyarrow.Table.from_pylist(rows), out, options)
    path.write_bytes(out.getvalue())


def write_json_lines(rows, path):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def write_folder(rows, path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(rows).save_to_disk(str(path))


def write_pandas(rows, path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(rows).to_csv(path, index=False)


WRITERS = {
    "mine.jsonl": write_json_lines,
    "mine.json": lambda rows, path: path.write_text(json.dumps(rows)),
    "mine.csv": write_csv,
    "mine.tsv": lambda rows, path: write_csv(rows, path, "\t"),
    "mine.CSV": lambda rows, path: write_csv(rows, path, ";"),
    "pandas/mine.csv": write_pandas,
    "mine.parquet": lambda rows, path: parquet.write_table(
        pyarrow.Table.from_pylist(rows), path
    ),
    "mine": write_folder,
}


def write_all(rows, folder):
    """Writes the rows in every format, and compressed; returns the paths."""
    paths = []
    for name, write in WRITERS.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write(rows, path)
        paths.append(path)
        if path.is_dir():
            continue
        content = path.read_bytes()
        if path.suffix != ".parquet":
            with_mark = folder / "mark" / name
            with_mark.parent.mkdir(exist_ok=True, parents=True)
            with_mark.write_bytes(b"\xef\xbb\xbf" + content)
            paths.append(with_mark)
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(content))
        paths.append(packed)
        packed = path.with_name(path.name + ".zst")
        with pyarrow.output_stream(str(packed), compression="zstd") as stream:
            stream.write(content)
        paths.append(packed)
    return paths


def test_every_format_gives_the_same_records(tmp_path):
    for path in write_all(ROWS, tmp_path):
        assert tables.read_examples(path) == RECORDS, path


VALUES = st.one_of(
    st.lists(st.one_of(st.integers(-(2**53), 2**53), st.none()), min_size=1),
    st.lists(st.one_of(st.booleans(), st.none()), min_size=1),
    st.lists(st.one_of(st.floats(allow_infinity=False), st.none()), min_size=1),
    st.lists(
        st.sampled_from(["yes", "no", "maybe", "01", "1.50", "UK"]).map(str), min_size=1
    ).map(lambda labels: [*labels, "unknown"]),
)


@given(VALUES)
def test_labels_have_one_canonical_text(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("labels")
    rows = [
        {"input": f"row {i}", "label": v, "rationale": "r"}
        for i, v in enumerate(values)
    ]
    expected = tables.read_examples(_written(rows, folder / "mine.jsonl"))
    for name in ("mine.csv", "pandas/mine.csv", "mine.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        WRITERS[name](rows, folder / name)
        assert tables.read_examples(folder / name) == expected


def _written(rows, path):
    write_json_lines(rows, path)
    return path


def test_numbers_are_labels_and_ids(tmp_path):
    rows = [
        {"id": 7, "input": "a", "label": 1},
        {"id": 8, "input": "b", "label": -20},
    ]
    expected = [Record("7", "a", "1"), Record("8", "b", "-20")]
    for path in write_all(rows, tmp_path):
        assert tables.read_examples(path) == expected


def test_template_joins_columns(tmp_path):
    rows = [{"premise": "It rains.", "n": 2, "x": 2.0, "b": True, "label": "wet {0}"}]
    columns = tables.ColumnMap(template="{{p}}: {premise} n: {n} {x} {b}!")
    for path in write_all(rows, tmp_path):
        (record,) = tables.read_examples(path, columns)
        assert record == Record("mine-1", "{p}: It rains. n: 2 2 true!", "wet {0}")
        (row,) = tables.read_inputs(path, columns)
        assert row["input"] == record.input and row["premise"] == "It rains."


def test_mapped_columns(tmp_path):
    rows = [{"text": "a", "category": "x", "why": "w", "guess": "y", "key": "k"}]
    columns = tables.ColumnMap(
        input="text", label="category", rationale="why", teacher_label="guess", id="key"
    )
    for path in write_all(rows, tmp_path):
        assert tables.read_examples(path, columns) == [Record("k", "a", "x", "y", "w")]


def test_several_answers(tmp_path):
    rows = [
        {"input": "a", "label": ["x", "y", "x"]},
        {"input": "b", "label": ["z"]},
        {"input": "c", "label": []},
    ]
    expected = [
        Record("mine-1", "a", "x", answers=("x", "y")),
        Record("mine-2", "b", "z"),
        Record("mine-3", "c"),
    ]
    for name in ("mine.jsonl", "mine.json", "mine.parquet", "mine"):
        WRITERS[name](rows, tmp_path / name)
        assert tables.read_examples(tmp_path / name) == expected


def test_several_rationales(tmp_path):
    rows = [
        {
            "input": "a",
            "label": "x",
            "rationale": None,
            "rationales": ["r", "s"],
            "rationale_weights": [1.0, 0.5],
        },
        {"input": "b", "label": "x", "rationale": "t"},
    ]
    for name in ("mine.jsonl", "mine.json", "mine.parquet"):
        WRITERS[name](rows, tmp_path / name)
        first, second = tables.read_examples(tmp_path / name)
        assert (first.rationale, first.rationales) == ("r", ("r", "s"))
        assert first.rationale_weights == (1.0, 0.5)
        assert (second.rationale, second.rationales) == ("t", ())


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"counterfactual_rationale": 7},
            "field 'counterfactual_rationale' must be text or null, found integer",
        ),
        (
            {"rationales": "r"},
            "field 'rationales' must be a list of texts or null, fou",
        ),
        ({"rationales": ["r", 1]}, "list of texts or null, found a list with integer"),
        (
            {"rationales": ["r"], "rationale_weights": [True]},
            "field 'rationale_weights' must be a list of numbers or null, found a list "
            "with true",
        ),
        (
            {"rationales": ["r"], "rationale_weights": [10**400]},
            "field 'rationale_weights' holds an integer that is too large for a number",
        ),
        (
            {"rationales": ["r", "s"], "rationale_weights": [1]},
            "rationale_weights has 1 values, expected 2",
        ),
        (
            {"rationale": "s", "rationales": ["r", "s"]},
            "rationale is not the first of rationales",
        ),
    ],
)
def test_wrong_rationales_name_file_row_and_field(tmp_path, fields, problem):
    path = tmp_path / "mine.jsonl"
    write_json_lines([{"input": "a", "label": "x", **fields}], path)
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    assert str(caught.value).startswith(f"{path}: 1 bad line: line 1: ")
    assert problem in str(caught.value)


def test_counterfactual_rationales(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "input,label,counterfactual_rationale,counterfactual_label\n"
        "a,1.0,why,2.0\nb,3.0,,\n"
    )
    first, second = tables.read_examples(path)
    # The labels of a column of numbers have the same canonical text.
    assert (first.label, first.counterfactual_label) == ("1", "2")
    assert first.counterfactual_rationale == "why"
    assert second.counterfactual_rationale is second.counterfactual_label is None


def test_globs_lists_and_splits(tmp_path):
    rows = [{"input": "a", "label": "x"}]
    for name in ("one.jsonl", "two.csv", "pandas/one.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        WRITERS["mine.csv" if name.endswith("csv") else "mine.jsonl"](
            rows, tmp_path / name
        )
    every = tables.read_examples(f"{tmp_path}/**/*.*")
    assert [r.id for r in every] == ["one-1", "one.2-1", "two-1"]
    several = tables.read_examples([f"{tmp_path}/*.csv", tmp_path / "one.jsonl"])
    assert [r.id for r in several] == ["two-1", "one-1"]
    splits = tables.read_examples(
        {"train": f"{tmp_path}/*.csv", "test": [tmp_path / "one.jsonl"]}
    )
    assert {s: [r.id for r in part] for s, part in splits.items()} == {
        "train": ["two-1"],
        "test": ["one-1"],
    }


def test_all_faults_of_all_files_are_in_one_error(tmp_path):
    one, two, three = (tmp_path / n for n in ("a.csv", "b.jsonl", "c.parquet"))
    one.write_text("input,label\na,x\n,y\nb\n")
    two.write_text('{"input": "a", "label": "x"}\n{"input": 3, "label": "x"}\n')
    parquet.write_table(pyarrow.table({"inputs": ["a"], "label": ["x"]}), three)
    missing = tmp_path / "d.csv"
    with pytest.raises(UserError) as caught:
        tables.read_examples([one, two, three, missing])
    assert str(caught.value) == (
        f"5 faults in 4 files:\n"
        f"  {missing}: No such file or directory; did you mean {one}?\n"
        f"  {one}: row 2: field 'input' must be text, found an empty cell\n"
        f"  {one}: row 3: found 1 cells, expected 2\n"
        f"  {two}: line 2: field 'input' must be text, found integer\n"
        f"  {three}: column 'input' is missing; did you mean 'inputs'? found 'inputs', "
        "'label'; rename a column to 'input'"
    )


@pytest.mark.parametrize("separator", "|:")
def test_separators_that_are_not_read_are_named(tmp_path, separator):
    path = tmp_path / "mine.csv"
    path.write_text(f"input{separator}label\na{separator}x\n")
    with pytest.raises(UserError, match="expected commas, semicolons or tabs between"):
        tables.read_examples(path)


def test_missing_column_that_the_user_has_named_has_no_advice_to_name_one(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\na,x\n")
    with pytest.raises(
        UserError, match=r"did you mean 'text'\? found 'text', 'label'$"
    ):
        tables.read_examples(path, tables.ColumnMap(input="texts"))


def test_values_of_two_types_in_a_column(tmp_path):
    path = tmp_path / "mine.jsonl"
    values = ["yes", None, 3, "no", 4]
    write_json_lines(
        [{"input": "a", "label": v, "rationale": "r"} for v in values], path
    )
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    assert str(caught.value) == (
        f"{path}: 1 bad line: line 3: column 'label' has values of two types: a "
        "number ('3') here and text ('yes') in line 1"
    )


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"", ": holds no rows"),
        ("a.csv", b"input,label\n", ": holds no rows"),
        (
            "a.csv",
            b"input,label,input\na,b,c\n",
            ": the header has column 'input' twice",
        ),
        ("a.csv", b"text;label\na;b\n", ": column 'input' is missing; found 'text', "),
        (
            "a.csv",
            b"input,label\na,\xe9\n",
            ": 1 bad row: row 1: column 'label' is n",
        ),
        ("a.csv", b"in\xe9,label\na,b\n", ": the header is not UTF-8; save the file"),
        (
            "a.csv",
            b'input,label\n"a,b\n',
            ": 1 bad row: row 1: found 1 cells, expected 2; a quote",
        ),
        ("a.csv.gz", b"input,label\na,b\n", ": cannot be decompressed as gzip"),
        ("a.jsonl.zst", b"{}\n", ": cannot be decompressed as zstd"),
        ("a.parquet", b"no", ": cannot be read: Parquet"),
        ("a.xlsx", b"PK", ": has the unknown suffix '.xlsx'; expected .jsonl, .json"),
        (
            "a.csv",
            b"input,other\na,b\n",
            ": none of label, teacher_label and rationale",
        ),
        ("a.csv", b"input,label\na,\nb,\n", ": 2 of 2 rows have no label, teacher_l"),
    ],
)
def test_file_that_cannot_be_read(tmp_path, name, content, problem):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        tables.read_examples(path)
    assert str(caught.value).startswith(f"{path}{problem}")


def test_path_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"\*.csv: no file matches"):
        tables.read_examples(f"{tmp_path}/*.csv")
    with pytest.raises(UserError, match="is a folder; expected a file, a glob such as"):
        tables.read_examples(tmp_path)
    with pytest.raises(UserError, match="write hub:own/rows"):
        tables.read_examples("own/rows")


def test_rows_without_a_label_are_counted(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("input,label\na,x\nb,\nc,nan\n")
    records = tables.read_examples(path)
    assert [r.label for r in records] == ["x", None, None]
    assert "2 of 3 rows have no label, teacher_label or rationale and are not" in (
        capsys.readouterr().err
    )


def test_booleans_of_csv_are_found_over_all_splits(tmp_path):
    for name, labels in {
        "train": "True,False",
        "test": "True",
        "odd": "True,so",
    }.items():
        rows = "".join(f"{name}{i},{x}\n" for i, x in enumerate(labels.split(",")))
        (tmp_path / f"{name}.csv").write_text(f"input,label\n{rows}")
    labels_of = lambda *names: {  # noqa: E731
        split: [r.label for r in part]
        for split, part in tables.read_examples(
            {name: tmp_path / f"{name}.csv" for name in names}
        ).items()
    }
    assert labels_of("train", "test") == {"train": ["true", "false"], "test": ["true"]}
    assert labels_of("test", "odd") == {"test": ["True"], "odd": ["True", "so"]}


def test_inputs_keep_their_other_columns(tmp_path):
    rows = [{"input": "a", "n": 1.5, "tags": ["x"], "none": None}]
    for name in ("mine.jsonl", "mine.parquet", "mine"):
        WRITERS[name](rows, tmp_path / name)
        assert tables.read_inputs(tmp_path / name) == [rows[0] | {"id": "mine-1"}]
    write_csv([{"input": "a", "n": 1.5, "none": None}], tmp_path / "mine.csv")
    (row,) = tables.read_inputs(tmp_path / "mine.csv")
    assert row == {"input": "a", "n": "1.5", "none": None, "id": "mine-1"}


def test_values_that_json_does_not_have_become_text(tmp_path):
    path = tmp_path / "mine.parquet"
    table = pyarrow.table(
        {
            "input": ["a"],
            "day": pyarrow.array([0], pyarrow.date32()),
            "n": [float("nan")],
        }
    )
    parquet.write_table(table, path)
    (row,) = tables.read_inputs(path)
    assert row["day"] == "1970-01-01" and row["n"] is None


def test_long_row_of_csv(tmp_path, monkeypatch):
    path = tmp_path / "mine.csv"
    rows = ["a,x\n" * 60_000, f"b,{'y' * 300_000}\n", "c,z\n"]
    path.write_text("input,label\n" + "".join(rows))
    monkeypatch.setattr(arrow_tables, "_BLOCKS", (1 << 17, 1 << 20))
    records = tables.read_examples(path)
    assert len(records) == 60_002
    assert records[-1] == Record("mine-60002", "c", "z")
    path.write_text('input,label\na,x\nb,"' + "y\n" * (1 << 20))
    with pytest.raises(
        UserError, match="row 2 or a later one has more than 1 MiB; a q"
    ):
        tables.read_examples(path)


def test_header_with_a_line_break(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('\n"the\ninput",label\na,x\n')
    columns = tables.ColumnMap(input="the\ninput")
    assert tables.read_examples(path, columns) == [Record("mine-1", "a", "x")]


@pytest.mark.slow
def test_memory_of_a_large_file_is_that_of_its_mapped_columns(tmp_path):
    script = pathlib.Path(__file__).parents[3] / "benchmarks/reading_memory.py"
    command = [sys.executable, str(script), f"--folder={tmp_path}", "--kept=0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes = [
        int(x.replace(",", "")) for x in re.findall(r"([0-9,]+) MB", done.stdout)
    ]
    file, kept, peak, _ = megabytes
    assert file >= 200 and kept >= 15
    # The text, 200,000 records, and 100 MB for pyarrow and its blocks.
    assert peak < 230
