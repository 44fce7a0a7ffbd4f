"""Rows of any number are labeled once, whatever the windows, shards and kills."""

import csv
import datetime
import decimal
import gzip
import json
import random

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.errors import UserError
from dsbs_jax.labeling import jobs

FIELDS = ["predicted_label", "log_probability", "probabilities"]


def answer(inputs):
    return [
        {
            "predicted_label": text.upper(),
            "log_probability": -len(text) / 4,
            "probabilities": {"a": 0.25, "b": 0.75},
        }
        for text in inputs
    ]


def job(source, output, **changes):
    fields = {
        "source": source if isinstance(source, list) else str(source),
        "columns": ColumnMap(),
        "output": str(output),
        "new_columns": FIELDS,
        "identity": {"student": "s"},
        "window": 4,
    }
    return jobs.Job(**{**fields, **changes})


def write_rows(path, count=11):
    rows = [{"input": f"text {i}" + "!" * (i % 5), "label": "x"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Killed(BaseException):
    pass


def killed_after(windows):
    """An answer function that fails after some windows, as a kill does."""
    left = [windows]

    def run(inputs):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return answer(inputs)

    return run


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 23),
    window=st.integers(1, 9),
    kills=st.lists(st.integers(0, 3), max_size=4),
)
def test_every_row_is_answered_once_whatever_the_kills(
    tmp_path_factory, count, window, kills
):
    folder = tmp_path_factory.mktemp("job")
    rows, output = write_rows(folder / "rows.jsonl", count), folder / "out.jsonl"
    asked = []

    def counted(inputs, run=answer):
        result = run(inputs)
        asked.extend(inputs)
        return result

    this = job(folder / "rows.jsonl", output, window=window)
    for windows in kills:
        run = killed_after(windows)
        try:
            jobs.label_file(this, lambda inputs, run=run: counted(inputs, run))
        except Killed:
            assert not output.exists()
        else:
            break
    else:
        assert jobs.label_file(this, counted).rows == count
    expected = [
        row | {"id": f"rows-{i}"} | answer([row["input"]])[0]
        for i, row in enumerate(rows, 1)
    ]
    assert read_rows(output) == expected
    assert sorted(asked) == sorted(row["input"] for row in rows)
    assert {path.name for path in folder.iterdir()} == {
        "rows.jsonl",
        "out.jsonl",
        "out.jsonl.json",
    }


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_in_order_have_all_rows(tmp_path, count):
    source = tmp_path / "rows.jsonl"
    write_rows(source, 21)
    jobs.label_file(job(source, tmp_path / "one.jsonl"), answer)
    paths = []
    for number in random.Random(0).sample(range(count), count):
        done = jobs.label_file(
            job(source, tmp_path / "many.jsonl", shard=(number, count)), answer
        )
        paths.append(done.path)
    joined = b"".join(path.read_bytes() for path in sorted(paths))
    assert joined == (tmp_path / "one.jsonl").read_bytes()
    if count > 1:
        assert sorted(paths)[1].name == f"many-00001-of-{count:05}.jsonl"


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_shard_that_does_not_exist(tmp_path, shard):
    write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="expected two numbers as in 0/4"):
        jobs.label_file(
            job(tmp_path / "rows.jsonl", tmp_path / "out.jsonl", shard=shard), answer
        )


def test_facts_are_next_to_the_output(tmp_path):
    write_rows(tmp_path / "rows.jsonl")
    jobs.label_file(
        job(
            tmp_path / "rows.jsonl", tmp_path / "out.jsonl", identity={"engine": "jax"}
        ),
        answer,
    )
    facts = json.loads((tmp_path / "out.jsonl.json").read_text())
    assert (facts["engine"], facts["rows"], facts["window"]) == ("jax", 11, 4)


def test_a_choice_is_made_before_the_first_part_and_kept(tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(source)
    asked = []

    def choose(stored, rows, first_inputs):
        asked.append((stored.get("engine"), rows, len(first_inputs())))
        return {"engine": stored.get("engine", "fast")}

    with pytest.raises(Killed):
        jobs.label_file(job(source, output), killed_after(0), choose)
    measured = {"seconds": 2}
    done = jobs.label_file(job(source, output), answer, choose, lambda: measured)
    assert asked == [(None, 11, 4), ("fast", 11, 4)]
    assert done.facts == json.loads((tmp_path / "out.jsonl.json").read_text())
    assert (done.facts["engine"], done.facts["seconds"]) == ("fast", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": {"student": "t"}}, "student was 's', is 't'"),
        ({"window": 5}, "window was 4, is 5"),
        ({"identity": {"student": "s", "more": 1}}, "more was None, is 1"),
    ],
)
def test_parts_of_another_plan_are_refused(tmp_path, changes, message):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(source)
    with pytest.raises(Killed):
        jobs.label_file(job(source, output), killed_after(1))
    with pytest.raises(UserError, match=f"do not fit: {message}. Repeat that run, or"):
        jobs.label_file(job(source, output, **changes), answer)
    assert jobs.label_file(job(source, output), answer).new_rows == 7


def test_changed_rows_are_noticed(tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(source)
    with pytest.raises(Killed):
        jobs.label_file(job(source, output), killed_after(1))
    source.write_text(source.read_text().replace('"x"', '"y"', 1))
    with pytest.raises(UserError, match="rows_sha256 was"):
        jobs.label_file(job(source, output), answer)


def test_second_process_is_refused(tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_rows(source)

    def nested(inputs):
        jobs.label_file(job(source, output), answer)

    with pytest.raises(UserError, match="output .*out.jsonl.parts: process .* writes"):
        jobs.label_file(job(source, output), nested)


def test_output_is_not_the_input(tmp_path):
    source = tmp_path / "rows.jsonl"
    write_rows(source)
    before = source.read_bytes()
    with pytest.raises(UserError, match="rows.jsonl is a file of the rows, which"):
        jobs.label_file(job(source, source), answer)
    assert source.read_bytes() == before


def test_bad_rows_are_found_before_the_first_answer(tmp_path):
    source = tmp_path / "rows.jsonl"
    write_rows(source)
    source.write_text(source.read_text() + '{"input": 3}\n{"input": " "}\n')
    with pytest.raises(UserError, match="line 12: .*\n.*line 13: input is"):
        jobs.label_file(job(source, tmp_path / "out.jsonl"), killed_after(0))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_generated_ids_are_not_those_of_other_rows(tmp_path):
    source = tmp_path / "rows.jsonl"
    lines = [{"input": "a", "id": "rows-2"}, {"input": "b"}, {"input": "c"}]
    lines += [{"input": "d", "id": "same"}, {"input": "e", "id": "same"}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    jobs.label_file(job(source, tmp_path / "out.jsonl"), answer)
    ids = [row["id"] for row in read_rows(tmp_path / "out.jsonl")]
    assert ids == ["rows-2", "rows-2.2", "rows-3", "same", "same"]


def test_unknown_suffix(tmp_path):
    write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="suffix '.xlsx', expected .jsonl, .csv"):
        jobs.label_file(job(tmp_path / "rows.jsonl", tmp_path / "out.xlsx"), answer)


def test_rows_of_csv_are_written_as_csv(tmp_path):
    source, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    rows = [["text", "n"], ['he said "no",\nand left', "01"], ["ünï", ""]]
    with source.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    jobs.label_file(job(source, output, columns=ColumnMap(input="text")), answer)
    with output.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["text"], first["n"]) == ('he said "no",\nand left', "01")
    assert (second["text"], second["n"], second["id"]) == ("ünï", "", "rows-2")
    assert first["predicted_label"] == 'HE SAID "NO",\nAND LEFT'
    assert json.loads(first["probabilities"]) == {"a": 0.25, "b": 0.75}


def test_types_of_parquet_are_kept(tmp_path):
    columns = {
        "input": pyarrow.array(["a", "b", "c", "d", "e"]),
        "small": pyarrow.array([1, 2, None, 4, 5], pyarrow.int8()),
        "when": pyarrow.array(
            [datetime.datetime(2026, 1, day, 1, 2, 3) for day in range(1, 6)],
            pyarrow.timestamp("ns"),
        ),
        "price": pyarrow.array([decimal.Decimal("1.50")] * 5, pyarrow.decimal128(9, 2)),
        "raw": pyarrow.array([b"\xff", b"", None, b"x", b"y"]),
        "class": pyarrow.array(["x", "y"] * 2 + ["x"]).dictionary_encode(),
        "tags": pyarrow.array([["a"], [], None, ["b", "c"], ["d"]]),
        "nothing": pyarrow.nulls(5, pyarrow.float32()),
    }
    table = pyarrow.table(columns)
    parquet.write_table(table, tmp_path / "rows.parquet")
    output = tmp_path / "out.parquet"
    jobs.label_file(job(tmp_path / "rows.parquet", output), answer)
    written = parquet.read_table(output)
    kept = written.select(table.column_names)
    # Parquet restores a dictionary's type from the schema that pyarrow stores.
    assert kept.schema.types == table.schema.types
    assert kept.to_pylist() == table.to_pylist()
    assert written["predicted_label"].to_pylist() == ["A", "B", "C", "D", "E"]
    assert written["probabilities"].to_pylist() == [{"a": 0.25, "b": 0.75}] * 5
    # The same rows as JSON lines, with texts for values that JSON lacks.
    jobs.label_file(job(tmp_path / "rows.parquet", tmp_path / "out.jsonl"), answer)
    first = read_rows(tmp_path / "out.jsonl")[0]
    assert (first["when"], first["price"]) == ("2026-01-01 01:02:03", "1.50")


def test_json_rows_are_written_as_parquet_whatever_their_order(tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.parquet"
    extra = [{}] * 4 + [{"n": 1}, {"n": 2.5}, {"m": None}, {"m": "t"}, {"m": "u"}]
    rows = [{"input": f"text {i}", **more} for i, more in enumerate(extra)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    jobs.label_file(job(source, output, window=2), answer)
    written = parquet.read_table(output).to_pylist()
    assert [row["n"] for row in written] == [None] * 4 + [1.0, 2.5] + [None] * 3
    assert [row["m"] for row in written] == [None] * 7 + ["t", "u"]


@pytest.mark.parametrize("window", [1, 4])
def test_column_of_several_types_is_not_written_as_parquet(tmp_path, window):
    source = tmp_path / "rows.jsonl"
    source.write_text('{"input": "a", "x": 1}\n{"input": "b", "x": "one"}\n')
    with pytest.raises(UserError, match="so write .jsonl"):
        jobs.label_file(job(source, tmp_path / "out.parquet", window=window), answer)
    assert not (tmp_path / "out.parquet").exists()


def test_compressed_rows_and_several_files(tmp_path):
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"input": "a"}\n{"input": "b"}\n')
    (tmp_path / "b.csv").write_text("input\nc\n")
    source = [str(tmp_path / "a.jsonl.gz"), str(tmp_path / "b.csv")]
    jobs.label_file(job(source, tmp_path / "out.jsonl"), answer)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [(row["id"], row["input"]) for row in rows] == [
        ("a-1", "a"),
        ("a-2", "b"),
        ("b-1", "c"),
    ]
