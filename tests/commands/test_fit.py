"""`dsbs-jax fit` as a process, and what it prints on the next commands."""

import json
import pathlib
import re
import shlex
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


def advice(dsbs, *arguments):
    """Returns the next commands that a dry run prints, as lists of words."""
    done = dsbs("fit", *arguments, "--output", "my runs/x", "--dry_run", *SHORT)
    assert done.status == 0, done.err
    text = done.out.replace("\\\n", " ")
    return [shlex.split(s) for s in re.findall(r"^  dsbs-jax (.+)", text, re.MULTILINE)]


@pytest.mark.slow
def test_next_commands_have_the_columns_and_labels_of_the_fit(
    dsbs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    rows = ["text;kind"] + [f"Ticket {n}: about {n % 3};{n % 3}" for n in range(60)]
    pathlib.Path("my rows.csv").write_text("\n".join(rows))
    columns = ["--input_column", "text", "--label_column", "kind"]
    prompt, extract, fit = advice(dsbs, "my rows.csv", *columns, "--labels", "0,1,2")
    assert prompt[:3] == ["prompt", "init", "my rows.csv"]
    assert prompt[3:9] == ["--labels", "0,1,2", *columns]
    assert extract[:6] == ["extract", "my rows.csv", *columns]
    assert fit == [
        "fit", "rationales.jsonl", "--labels", "0,1,2",
        "--output", "my runs/x_step_by_step",
    ]  # fmt: skip
    assert dsbs(*prompt).status == 0
    # Numbers are open answers.
    prompt, _, fit = advice(dsbs, "my rows.csv", *columns)
    assert prompt[3:5] == ["--labels", "[]"] and "--labels" not in fit
    assert dsbs(*prompt[:-3], "--output", "open.txt", "--zero_shot").status == 0


@pytest.mark.slow
def test_options_that_are_given_several_times_add_files(labeled, dsbs, monkeypatch):
    monkeypatch.chdir(labeled.parent)
    lines = labeled.read_text().splitlines(keepends=True)
    for number in range(4):
        part = "".join(lines[number * 15 : (number + 1) * 15])
        pathlib.Path(f"part{number}.jsonl").write_text(part)
    test = ["--test", "part2.jsonl", "--test", "part3.jsonl"]
    done = dsbs(
        "fit", "part0.jsonl", "part1.jsonl", *test, "--output", "x", "--dry_run", *SHORT
    )
    assert done.status == 0, done.err
    assert "train 27, test 30, validation 3" in done.out


@pytest.mark.parametrize("name", ["train_steps", "input_column", "output", "dry_run"])
def test_options_are_not_given_by_set(dsbs, name):
    done = dsbs("fit", "x.jsonl", "--output", "x", "--set", f"{name}=1")
    assert done.status == 2
    assert f"--set is {name}=…, which has an option of its own: --{name}" in done.err


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
