"""`dsbs-jax fit` as a process, and what it prints on the next commands."""

import json
import re
import subprocess
import sys

import pytest

SHORT = ["--train_steps=2", "--batch_size=8", "--set=num_encoder_layers=1"]
KINDS = ("billing", "delivery", "repair")


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Rows with labels, without rationales."""
    path = tmp_path_factory.mktemp("labeled") / "tickets.jsonl"
    rows = [
        {"input": f"Ticket {n}: this is about {KINDS[n % 3]}.", "label": KINDS[n % 3]}
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(folder, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
def test_the_next_commands_are_printed_and_run(labeled, dsbs, monkeypatch):
    monkeypatch.chdir(labeled.parent)
    fit = ["-m", "dsbs_jax", "fit", "tickets.jsonl", "--output", "runs/student"]
    done = run(labeled.parent, *fit, *SHORT)
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"^  dsbs-jax (.+)", done.stdout, re.MULTILINE)
    assert [command.split()[0] for command in commands] == [
        "predict",
        "eval",
        "export",
        "prompt",
        "extract",
        "fit",
    ]
    (labeled.parent / "new.jsonl").write_text('{"input": "Ticket 1"}\n')
    files = {"<inputs>": "new.jsonl", "<rows with labels>": "tickets.jsonl"}
    for command in commands[:4]:
        for placeholder, path in files.items():
            command = command.replace(placeholder, path)
        result = dsbs(*command.split())
        assert (result.status, result.err) == (0, ""), command
    assert (labeled.parent / "prompt.txt").exists()
    assert (labeled.parent / "runs/student_hf").is_dir()


@pytest.mark.slow
def test_libraries_print_nothing_when_called_from_python(labeled):
    code = """
import dsbs_jax
dsbs_jax.fit("tickets.jsonl", output="runs/python", train_steps=2, batch_size=8)
print(dsbs_jax.Student.load("runs/python").predict(["Ticket 1"]))
"""
    done = run(labeled.parent, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "Prediction(predicted_label=" in done.stdout
    warnings = done.stderr.splitlines()
    assert not [line for line in warnings if not line.startswith("warning: ")]
