"""Extraction folders of version 0.1 resume without sending paid requests again."""

import json
import pathlib
import shutil

import pytest

from dsbs_jax.replies.reader import READER_VERSION
from dsbs_jax.teacher import extraction
from dsbs_jax.teacher.store import Store

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures/v0_1"
SETTINGS = {
    "INPUT_FILE": str(FIXTURES / "tickets.jsonl"),
    "PROMPT": str(FIXTURES / "tickets.txt"),
    "TEACHER_MODEL": "scripted",
    "SAMPLES": 2,
    "TEMPERATURE": 0.7,
    "SEED": 0,
    "STYLE": "chat",
    "MAX_TOKENS": 256,
}


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def with_version(rows):
    """The rows of version 0.1, as today's rules read them from the same replies."""
    return [row | {"parser_version": READER_VERSION} for row in rows]


def replies_of(name, folder):
    shutil.copytree(FIXTURES / name / "completions", folder)
    store = Store(folder)
    store.close()
    return store.replies


@pytest.fixture
def resume(serve, extract, tmp_path):
    """Copies a folder, resumes it, and returns the status and the server."""

    def run(name):
        # The replies of the finished extraction, by input and sample.
        rows = {
            row["id"]: row["input"] for row in read_rows(FIXTURES / "tickets.jsonl")
        }
        finished = replies_of("extraction", tmp_path / "finished")
        texts = {(rows[r.id], r.sample): r.text for r in finished.values()}
        server = serve(lambda question, _: texts[question, server.bodies[-1]["seed"]])
        shutil.copytree(FIXTURES / name, tmp_path / "out")
        return extract(server, CONCURRENCY=1, **SETTINGS), server

    return run


def test_finished_extraction_sends_no_request(resume, tmp_path):
    status, server = resume("extraction")
    assert status == extraction.DONE and server.bodies == []
    for name in ("rationales.jsonl", "filtered.jsonl", "failed.jsonl"):
        expected = with_version(read_rows(FIXTURES / "extraction" / name))
        assert read_rows(tmp_path / "out" / name) == expected


def test_interrupted_extraction_requests_only_the_missing_replies(resume, tmp_path):
    before = replies_of("extraction_interrupted", tmp_path / "before")
    assert len(before) == 7
    status, server = resume("extraction_interrupted")
    assert status == extraction.DONE
    assert len(server.bodies) == 5
    store = Store(tmp_path / "out/completions")
    store.close()
    assert len(store.replies) == 12
    assert before.items() <= store.replies.items()
    rows = read_rows(tmp_path / "out/rationales.jsonl")
    assert rows == with_version(read_rows(FIXTURES / "extraction/rationales.jsonl"))


def test_other_teacher_is_not_mixed_into_a_folder_of_version_0_1(
    serve, extract, tmp_path
):
    shutil.copytree(FIXTURES / "extraction", tmp_path / "out")
    server = serve(lambda *_: "unused")
    with pytest.raises(
        ValueError, match="created with TEACHER_MODEL = 'scripted', now"
    ):
        extract(server, **{**SETTINGS, "TEACHER_MODEL": "another"})
    assert server.bodies == []
