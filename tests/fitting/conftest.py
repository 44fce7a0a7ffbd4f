"""Rows and plans for the tests of a fit."""

import pytest

from dsbs_jax.data.records import Record
from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.fitting import plan, rows, vocabularies
from dsbs_jax.fitting.config import FitConfig


def record(number, label="red", teacher_label=None, rationale=None, text=None):
    return Record(
        id=f"r-{number}",
        input=text or f"Jar {number} has marbles.",
        label=label,
        teacher_label=teacher_label,
        rationale=rationale,
    )


@pytest.fixture
def read_rows(tiny_jsonl):
    """Reads the sixty riddles, or another source, with the choices of a user."""

    def read(data=tiny_jsonl, **choices):
        return rows.read(data, ColumnMap(), FitConfig(**choices))

    return read


@pytest.fixture
def make_plan(read_rows, tmp_path, tiny_jsonl):
    """Plans a fit of the riddles: (other settings by name, **choices of a user)."""

    def make(others=None, data=tiny_jsonl, folder=tmp_path / "runs/my-jars", **choices):
        config = FitConfig(**choices)
        found = rows.read(data, ColumnMap(), config)
        chosen = vocabularies.choose(
            config.vocabulary, config.initial_checkpoint, found.splits, tmp_path
        )
        return plan.make(found, chosen, folder, config, others or {})

    return make
