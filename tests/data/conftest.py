"""Fixtures of the data tests."""

import json

import pytest


@pytest.fixture(scope="session")
def loaded_vocabulary(tiny_vocabulary):
    """The SentencePiece vocabulary that is trained on the tiny rows."""
    from dsbs_jax.data import vocabulary

    return vocabulary.load(str(tiny_vocabulary))


@pytest.fixture
def write(tmp_path):
    """Writes JSON lines: (*rows or texts, name) -> path."""

    def write(*lines, name="mine.jsonl"):
        texts = [s if isinstance(s, str) else json.dumps(s) for s in lines]
        path = tmp_path / name
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write
