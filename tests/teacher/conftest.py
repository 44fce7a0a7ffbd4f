"""Extractions that send requests to a scripted teacher."""

import json

import gin
import pytest

from dsbs_jax import cli
from dsbs_jax.teacher import extract as extract_command
from dsbs_jax.teacher import extraction
from support.scripted_teacher import act, serve

__all__ = ["act", "serve"]


def write_inputs(path, count, labels=False):
    rows = [{"id": f"n{n}", "input": f"line {n}"} for n in range(count)]
    for n, row in enumerate(rows if labels else []):
        row["label"] = "visit" if n % 2 else "remote"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bindings(folder, server_url, inputs, **macros):
    macros = {
        "PROMPT": "template",
        "INPUT_FILE": str(inputs),
        "OUTPUT_DIR": str(folder / "out"),
        "TEACHER_MODEL": "scripted",
        "BASE_URL": server_url,
        "BACKOFF": 0.01,
        "TIMEOUT": 1.0,
        "MAX_ATTEMPTS": 2,
        **macros,
    }
    return [f"{name} = {value!r}" for name, value in macros.items()]


@pytest.fixture
def command(tmp_path):
    """Returns the bindings of an extraction into `tmp_path/out`."""

    def make(server, count=4, labels=False, **macros):
        inputs = tmp_path / "inputs.jsonl"
        if "INPUT_FILE" not in macros and not inputs.exists():
            write_inputs(inputs, count, labels)
        return bindings(tmp_path, server.url, inputs, **macros)

    return make


@pytest.fixture
def extract(command, monkeypatch):
    """Runs an extraction in this process, without a card; returns the exit status."""
    monkeypatch.setattr(extraction, "_write_card", lambda *_, **__: None)

    def run(server, dry_run=False, **options):
        bindings = command(server, **options)
        cli.configure(
            ["teacher/extract.gin"], bindings, known=extract_command.SETTINGS.values()
        )
        return extract_command.run(dry_run=dry_run)

    yield run
    gin.clear_config()


@pytest.fixture
def rows(tmp_path):
    """Reads a JSONL file of the extraction's folder."""

    def read(name):
        lines = (tmp_path / "out" / name).read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    return read
