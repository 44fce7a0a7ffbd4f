import json

import pytest

from dsbs_jax.teacher import prompts


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "tickets.jsonl"
    rows = [{"input": f"ticket {n}", "label": "ab"[n % 2]} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_prompt_with_placeholders(dsbs, data, tmp_path):
    file = tmp_path / "prompt.txt"
    done = dsbs("prompt", "init", data, "--labels", "a,b", "--output", file)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0] == str(file)
    assert "Replace each placeholder" in done.out
    assert "=== label\na\n" in file.read_text()


def test_a_zero_shot_prompt(dsbs, data, tmp_path):
    file = tmp_path / "prompt.txt"
    done = dsbs(
        "prompt", "init", data, "--labels", "a,b", "--output", file, "--zero_shot"
    )
    assert (done.status, done.out) == (0, f"{file}\n")
    assert prompts.load(str(file)).labels == ("a", "b")


def test_an_existing_file_is_kept(dsbs, data, tmp_path):
    done = dsbs("prompt", "init", data, "--labels", "a,b", "--output", data)
    assert done.status == 2 and "exists, expected the name of a new file" in done.err
