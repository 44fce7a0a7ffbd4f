"""Tests of the command that prepares datasets."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.released import preparation


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def prepared(release_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    return folder, preparation.prepare(release_dir, ["svamp"], str(folder))


def test_a_prepared_dataset_is_left_unchanged(prepared, release_dir):
    folder, summaries = prepared
    before = {path: path.stat().st_mtime_ns for path in files_in(folder)}
    assert preparation.prepare(release_dir, ["svamp"], str(folder)) == summaries
    assert {path: path.stat().st_mtime_ns for path in files_in(folder)} == before


def test_a_dataset_prepared_from_other_files_is_reported(prepared, release_copy):
    folder, _ = prepared
    path = release_copy / "svamp/llm/test_CoT_0.json"
    texts = json.loads(path.read_text())
    path.write_text(json.dumps(["Other. The answer is (1 + 1).", *texts[1:]]))
    with pytest.raises(UserError, match="svamp/1.0.0 was prepared from other files"):
        preparation.prepare(release_copy, ["svamp"], str(folder))


def test_table_of_a_dataset(prepared):
    _, summaries = prepared
    header, *lines = (
        line.split() for line in preparation.table(summaries[0]).splitlines()
    )
    assert header[:5] == ["split", "rows", "labels", "teacher", "parsed"]
    assert lines[:2] == [
        ["train", "16", "16", "palm", "14", "2", "0", "81.25"],
        ["train", "16", "16", "gpt_neox", "16", "0", "0", "100.00"],
    ]
    assert [line[0] for line in lines[::2]] == [
        "train",
        "validation",
        "train+validation",
        "test",
    ]
    bare = {"splits": {"test": {"rows": 1234, "labels": 3, "teachers": {}}}}
    assert " ".join(preparation.table(bare).split()).endswith(
        "test 1,234 3 none - - - -"
    )


def truncate(release):
    path = release / "cqa/llm/train_CoT_1.json"
    path.write_bytes(path.read_bytes()[:-200])


def drop_completion(release):
    path = release / "gpt-neox/cqa/test.json"
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))


def remove(release):
    (release / "cqa/cqa_test.json").unlink()


@pytest.mark.parametrize(
    "spoil,datasets,problem",
    [
        (truncate, ["cqa"], "cqa/llm/train_CoT_1.json: broken JSON"),
        (drop_completion, ["cqa"], "gpt_neox has 5 completions"),
        (remove, ["svamp", "cqa"], "missing .*cqa_test.json"),
        (lambda release: None, ["svamp", "cqqa"], "'cqqa'"),
        (lambda release: None, [], "no dataset is named"),
        (shutil.rmtree, ["cqa"], "no such folder or zip file"),
    ],
)
def test_nothing_is_written_on_bad_input(
    spoil, datasets, problem, release_copy, tmp_path
):
    spoil(release_copy)
    with pytest.raises(UserError, match=problem) as caught:
        preparation.prepare(release_copy, datasets, str(tmp_path / "out"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(release_dir, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot prepare svamp"):
        preparation.prepare(release_dir, ["svamp"], str(tmp_path / "file"))


def test_missing_splits_are_an_error_unless_allowed(release_copy, tmp_path, capsys):
    (release_copy / "esnli/esnli_train.json").unlink()
    with pytest.raises(UserError, match="missing .*esnli_train.json"):
        preparation.prepare(release_copy, ["esnli"], str(tmp_path / "out"))
    (summary,) = preparation.prepare(
        release_copy, ["esnli"], str(tmp_path / "out"), allow_missing_splits=True
    )
    assert list(summary["splits"]) == ["validation", "test"]
    assert "warning: esnli has no train split" in capsys.readouterr().err


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a local server serves it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download(served, tmp_path, monkeypatch):
    folder, address = served
    (folder / "some.zip").write_bytes(b"0" * 3000)
    path = preparation.download(f"{address}/some.zip", tmp_path)
    assert path.read_bytes() == b"0" * 3000
    with pytest.raises(UserError, match="absent.zip: cannot be downloaded .*404"):
        preparation.download(f"{address}/absent.zip", tmp_path)
    monkeypatch.setattr(preparation, "MAX_DOWNLOAD_BYTES", 2999)
    with pytest.raises(UserError, match="over 2999 bytes"):
        preparation.download(f"{address}/some.zip", tmp_path)


@pytest.mark.slow
def test_the_command(served, release_dir, tmp_path):
    folder, address = served
    shutil.make_archive(folder / "datasets", "zip", release_dir)
    command = [sys.executable, "-m", "dsbs_jax.released.prepare"]
    command += ["--datasets=anli1", f"--tfds_data_dir={tmp_path / 'out'}"]
    done = subprocess.run(
        [*command, f"--release={address}/datasets.zip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout and "quarantine.jsonl" in done.stdout
    assert (tmp_path / "out/dsbs/anli1/1.0.0/summary.json").is_file()
    done = subprocess.run(
        [*command, "--release=nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == "error: nowhere: no such folder or zip file"
    assert "Traceback" not in done.stderr
