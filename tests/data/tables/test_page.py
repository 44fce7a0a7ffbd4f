"""The examples of docs/own_data.md."""

import json
import pathlib
import re

import pyarrow
import pytest
from pyarrow import parquet

from dsbs_jax.data import tables
from dsbs_jax.errors import UserError

PAGE = pathlib.Path(__file__).parents[3] / "docs/own_data.md"


def blocks(language):
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_python_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"It rains {i} hours,It is {'wet' if i else 'dry'},yes\n" for i in range(9)]
    pathlib.Path("train.csv").write_text(
        "premise,hypothesis,gold_label\n" + "".join(rows)
    )
    table = pyarrow.table({"premise": ["a"], "hypothesis": ["b"], "gold_label": ["no"]})
    parquet.write_table(table, "test.parquet")
    tickets = [{"input": f"ticket {i}", "label": "ab"[i % 2]} for i in range(100)]
    lines = [f"{row['input']},{row['label']}\n" for row in tickets]
    pathlib.Path("tickets.csv").write_text("input,label\n" + "".join(lines))
    names = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["DATA_FILES"]["test"] == "test.parquet"
    assert names["columns"].input_columns == ("premise", "hypothesis")
    assert [len(part) for part in names["splits"].values()] == [70, 10, 20]
    assert "labels: a set of 2: 'a' 35, 'b' 35" in capsys.readouterr().out


def test_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("train.csv").write_text(
        "input,label,note\n" + "a,x,\n,x,\n" + "a,x,\n" * 4 + 'a,"x y\n'
    )
    row = json.dumps({"input": "a", "label": "x"})
    broken = '{"input": "the line is dead" "label": "x"}'
    pathlib.Path("more.jsonl").write_text(f"{row}\n" * 11 + broken)
    table = pyarrow.table({"input": ["a"], "labels": ["x"]})
    parquet.write_table(table, "test.parquet")
    with pytest.raises(UserError) as caught:
        tables.read_examples(["train.csv", "more.jsonl", "test.parquet"])
    assert f"```\n{caught.value}\n```" in PAGE.read_text()
