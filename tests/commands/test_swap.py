import json

import pytest

import dsbs_jax

ROWS = [{"text": "He left.", "label": "a", "key": 7}, {"text": "It left.", "key": 8}]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_rows_with_a_term_are_written(dsbs, data, tmp_path):
    file = tmp_path / "swapped.jsonl"
    columns = ["--input_column", "text", "--id_column", "key"]
    done = dsbs("swap", data, "--pairs", "he:she,his:her", "--output", file, *columns)
    assert (done.status, done.out) == (0, f"1 row in {file}\n")
    (row,) = map(json.loads, file.read_text().splitlines())
    assert row == ROWS[0] | {"id": "7", "input": "She left."}


def test_bad_arguments(dsbs, data, tmp_path):
    columns = ["--input_column", "text"]
    done = dsbs("swap", data, "--pairs", "he", "--output", tmp_path / "x", *columns)
    assert done.status == 2 and "the pair 'he' has not the form" in done.err
    with pytest.raises(dsbs_jax.UserError, match="is the file of the rows"):
        dsbs_jax.write_swapped(data, data, pairs=["he:she"])
    assert not (tmp_path / "x").exists()
