"""Tests of the command that shows an example of a task."""

import subprocess
import sys

import pytest

from dsbs_jax import cli
from dsbs_jax.errors import UserError
from dsbs_jax.tasks import show


def test_the_dataset_begins_the_name():
    cli.configure([])
    assert show.data_config("cqa_palm_rationale").dataset == "cqa"
    assert show.data_config("svamp_predict").dataset == "svamp"
    assert show.data_config("svamp_asdiv_palm_distill").dataset == "svamp_asdiv"
    with pytest.raises(UserError, match="'own_predict' begins with none of cqa, svamp"):
        show.data_config("own_predict")


@pytest.fixture
def run(tiny_jsonl, tiny_vocabulary):
    """Runs the command on the tiny rows: (*arguments)."""

    def run(*arguments):
        command = [sys.executable, "-m", "dsbs_jax.tasks.show", *arguments]
        command += ["--gin_file=datasets/jsonl.gin"]
        command += [f"--gin.DATA_FILES={tiny_jsonl}"]
        command += [f"--gin.VOCABULARY_PATH={tiny_vocabulary}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_a_mixture_shows_its_tasks(run):
    done = run("own_teacher_step_by_step", "--split=validation")
    assert done.returncode == 0, done.stderr
    assert "own_predict (validation, example jar-" in done.stdout
    assert "own_teacher_rationale (validation, example jar-" in done.stdout
    assert "inputs: 'explain: Jar" in done.stdout
    assert "task_ids: 2 for each of the targets" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected the name of one task or mixture"),
        (["own_lable"], "MIXTURE_OR_TASK_NAME is 'own_lable'"),
        (["own_label", "--split=dev"], "--split is 'dev', expected one of train"),
    ],
)
@pytest.mark.slow
def test_wrong_arguments_end_in_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_help_lists_the_settings():
    command = [sys.executable, "-m", "dsbs_jax.tasks.show", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for name in ("--gin.DATA_FILES", "--gin.VOCABULARY_PATH", "--split"):
        assert name in done.stdout
