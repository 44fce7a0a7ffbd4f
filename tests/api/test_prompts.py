import json

import pytest

import dsbs_jax
from dsbs_jax.teacher import prompts

LABELS = ["billing", "login"]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "tickets.jsonl"
    rows = [{"input": f"ticket {n}", "label": LABELS[n % 2]} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_prompt_file_is_written_once(data, tmp_path):
    file = tmp_path / "prompt.txt"
    path = dsbs_jax.init_prompt(data, file, labels=LABELS, zero_shot=True)
    assert path == file and prompts.load(str(file)).labels == tuple(LABELS)
    with pytest.raises(dsbs_jax.UserError, match="prompt.txt exists, expected"):
        dsbs_jax.init_prompt(data, file, labels=LABELS)


def test_extract_refuses_placeholders_before_any_request(data, tmp_path):
    file = dsbs_jax.init_prompt(data, tmp_path / "prompt.txt", labels=LABELS)
    with pytest.raises(dsbs_jax.UserError, match="prompt.txt: line [0-9]+: 2 of the"):
        dsbs_jax.extract(data, file, "http://localhost:1/v1", "m", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_and_columns_of_the_data(tmp_path):
    data = tmp_path / "tickets.csv"
    lines = [f"ticket {n},{LABELS[n % 2]}" for n in range(6)]
    data.write_text("\n".join(["text,category", *lines]) + "\n")
    columns = {"input_column": "text", "label_column": "category"}
    file = dsbs_jax.init_prompt(data, tmp_path / "prompt.txt", **columns)
    assert "label: billing\nlabel: login\n" in file.read_text()
    with pytest.raises(dsbs_jax.UserError, match="'input'"):
        dsbs_jax.init_prompt(data, tmp_path / "other.txt")
    with pytest.raises(dsbs_jax.UserError, match="did you mean input_column?"):
        dsbs_jax.init_prompt(data, tmp_path / "other.txt", input_colum="text")


def test_open_answers_have_no_label_set(tmp_path):
    data = tmp_path / "sums.jsonl"
    rows = [{"input": f"{n} + 1", "label": str(n + 1)} for n in range(6)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(dsbs_jax.UserError, match="6 different labels in 6 rows are no"):
        dsbs_jax.init_prompt(data, tmp_path / "prompt.txt")
