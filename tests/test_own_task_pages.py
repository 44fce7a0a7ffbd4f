"""Runs each command of the README's own-task section and of docs/five_commands.md."""

import importlib.metadata
import importlib.util
import json
import re
import shutil
import urllib.request

import pytest

from support import scripted_teacher
from support.loopback_hub import TOKEN, Hub
from support.pages import ROOT, Shell, commands, section

# The first of these tests trains a student as the README does.
long = pytest.mark.scheduled

INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install -e ."
README_FIT = "dsbs-jax fit examples/tickets.jsonl --output runs/tickets"
ADDRESS = "http://localhost:8000/v1"
PUBLISHED = "google/t5-v1_1-small"


def new_folder(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("pages") / name
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.fixture(scope="module")
def readme():
    text = (ROOT / "README.md").read_text()
    own, teacher = "## Your own task", "## Rationales from a teacher"
    return commands(section(text, own)), commands(section(text, teacher))


@pytest.fixture(scope="module")
def shell(tmp_path_factory, readme):
    """A folder in which the commands of the README's own-task section were run."""
    shell = Shell(new_folder(tmp_path_factory, "readme"), optimized=True)
    shell.printed = {
        text: shell.run(language, text)
        for language, text in readme[0]
        if text != INSTALL
    }
    return shell


@pytest.fixture(scope="module")
def teacher():
    """A teacher that answers the sample's tickets as its rows do."""
    lines = (ROOT / "examples/tickets.jsonl").read_text().splitlines()
    rows = {row["input"]: row for row in map(json.loads, lines)}

    def answer(ticket, _):
        row = rows[ticket]
        if row["rationale"] is None:
            return "I do not know."
        return f"{row['rationale']} So the answer is {row['teacher_label']}."

    server = scripted_teacher.Server(answer)
    yield server
    server.close()


@pytest.fixture(scope="module")
def hub(shell):
    """A hub on loopback with the README's student as the published checkpoint."""
    server = Hub()
    exported = shell.folder / "runs/tickets_hf"
    server.repositories[PUBLISHED] = {
        name: (exported / name).read_bytes()
        for name in ("config.json", "model.safetensors", "spiece.model")
    }
    yield server
    server.close()


@long
def test_commands_of_the_readme_train_a_student_that_beats_the_majority(shell):
    report = json.loads((shell.folder / "runs/tickets/report/report.json").read_text())
    assert report["beats_majority"]
    assert report["accuracy"]["total"] == 80
    lines = (shell.folder / "runs/answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(answers) == 80 and all(a["predicted_rationale"] for a in answers)
    assert (shell.folder / "runs/tickets_hf/model.safetensors").exists()


@long
def test_python_of_the_readme_resumes_the_run_and_answers(shell, readme):
    code = next(text for language, text in readme[0] if language == "python")
    printed = shell.printed[code]
    assert "Resuming from step" in printed
    assert "Prediction(predicted_label=" in printed


@long
def test_commands_of_the_readme_about_a_teacher(shell, readme):
    for language, text in readme[1]:
        printed = shell.run(language, text)
    assert "400 requests" in printed


def test_first_block_of_the_readme_is_the_own_task_and_the_second_is_python(readme):
    text = (ROOT / "README.md").read_text()
    languages = re.findall(r"^```(\w+)\n", text, re.MULTILINE)
    assert languages[:2] == ["bash", "python"]
    assert [text for _, text in readme[0]][:2] == [INSTALL, README_FIT]


@long
def test_commands_of_the_page(tmp_path_factory, teacher, hub):
    page = (ROOT / "docs/five_commands.md").read_text()
    folder = new_folder(tmp_path_factory, "page")
    page_shell = Shell(
        folder,
        HF_ENDPOINT=hub.url,
        HF_TOKEN=TOKEN,
        HF_HUB_DISABLE_XET="1",
        HF_HOME=str(folder / "hub"),
    )
    for language, text in commands(page):
        if text == README_FIT:
            continue  # ran as written for the README
        elif text.startswith("pip install"):
            check_packages(text)
        elif text.startswith("tensorboard"):
            check_tensorboard(page_shell, text)
        elif "transformers" in text and importlib.util.find_spec("torch") is None:
            continue
        else:
            page_shell.run(language, short(text, teacher))


def short(text, teacher):
    """Gives a command the address of the teacher, and a fit few steps."""
    text = text.replace(ADDRESS, teacher.url)
    if text.startswith("dsbs-jax fit") and "--dry_run" not in text:
        text += " --train_steps 2"
    return text


def check_packages(command):
    """Checks that the packages are those that the tests use."""
    if importlib.util.find_spec("torch") is None:
        return
    for name in command.split()[2:]:
        assert importlib.metadata.version(name)


def check_tensorboard(shell, command):
    """Checks that TensorBoard shows the run."""
    process = shell.start("bash", f"exec {command} --port 0")
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if found := re.search(r"http://localhost:\d+/", line):
                break
        else:
            pytest.fail(f"TensorBoard ended: {''.join(printed)}")
        with urllib.request.urlopen(f"{found[0]}data/runs", timeout=60) as answer:
            assert "tickets" in json.load(answer)
    finally:
        process.terminate()
        process.communicate()
