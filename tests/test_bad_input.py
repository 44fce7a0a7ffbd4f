"""Bad input ends in one clear line, and no file is partly written."""

import ast
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from tolerance import missing_parts

from dsbs_jax import cli, eval, infer
from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import EVAL_SETTINGS, INFER_SETTINGS

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def train(train_tiny, tmp_path):
    """Runs `python -m dsbs_jax.train`; the run folder is `tmp_path/run`."""

    def train(method="step_by_step", drop=(), files=None, **macros):
        folder = macros.pop("MODEL_DIR", tmp_path / "run")
        train_tiny(folder, method, files=files, drop=drop, **macros)

    return train


BAD_SETTINGS = [
    ({"MIXTURE_OR_TASK_NAME": "tiny_setp_by_step"}, "MIXTURE_OR_TASK_NAME .*setp"),
    ({"METHOD": "steps"}, "METHOD is 'steps', expected 'finetune'"),
    ({"VOCAB_SIZE": 128}, "VOCAB_SIZE is 128, expected at least .* 204 ids"),
    ({"NOBODY_READS_IT": 1}, "NOBODY_READS_IT is not a setting"),
    ({"ALPHA": 1.5}, "ALPHA is 1.5, expected float >= 0 and <= 1"),
    ({"BATCH_SIZE": 5, "NUM_MICROBATCHES": 2}, "BATCH_SIZE is 5, expected a multiple"),
    ({"NUM_PARTITIONS": 1000}, "NUM_PARTITIONS is 1000"),
    ({"TRAIN_STEPS": 0}, "TRAIN_STEPS is 0"),
    ({"EVAL_PERIOD": 0}, "EVAL_PERIOD is 0"),
    ({"LOG_PERIOD": 0}, "LOG_PERIOD is 0"),
    ({"WARMUP_STEPS": 9}, "WARMUP_STEPS is 9"),
    ({"SCHEDULE": "cosine", "WARMUP_STEPS": 2}, "WARMUP_STEPS is 2.* TRAIN_STEPS is 2"),
    ({"EMB_DIM": "wide"}, "EMB_DIM is 'wide', expected int"),
    ({"DROPOUT_RATE": 1.0}, "DROPOUT_RATE is 1.0"),
    ({"SUBSAMPLE_FRACTION": 2.0}, "SUBSAMPLE_FRACTION is 2.0"),
    (
        {"TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 48}},
        "TASK_FEATURE_LENGTHS: task_ids is None",
    ),
    (
        {"TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 48, "task_ids": 40}},
        "TASK_FEATURE_LENGTHS: task_ids is 40, expected the length of targets, 48",
    ),
    *(
        ({name: ast.literal_eval(value)}, re.escape(message))
        for text, message in missing_parts.SECTION.refused
        for name, _, value in [text.partition(" = ")]
    ),
]


@pytest.mark.parametrize(
    ("macros", "message"), BAD_SETTINGS, ids=[next(iter(m)) for m, _ in BAD_SETTINGS]
)
def test_bad_setting_is_named_and_nothing_is_written(train, tmp_path, macros, message):
    with pytest.raises(UserError) as caught:
        train(**macros)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run/config.gin").exists()
    assert not list(tmp_path.rglob("checkpoint_*"))


def test_model_folder_is_required(train):
    with pytest.raises(UserError, match="MODEL_DIR is required and not set"):
        train(drop=["MODEL_DIR"])


def test_setting_of_a_missing_file_is_named(train):
    files = ["sizes/tiny.gin", "datasets/jsonl.gin", "local/train.gin"]
    with pytest.raises(UserError, match="METHOD is required and not set"):
        train(files=files)


def test_line_of_broken_json_is_named(train, tiny_jsonl, tmp_path):
    lines = tiny_jsonl.read_text().splitlines()
    lines[16] = lines[16][:-5]
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"broken.jsonl: 1 bad line.*: line 17: broken"):
        train(DATA_FILES=str(broken), DATASET="broken")
    assert not (tmp_path / "run").exists()


def test_error_names_the_command_that_prepares_the_data(train, tmp_path):
    import seqio

    seqio.set_tfds_data_dir_override(str(tmp_path / "data"))
    try:
        with pytest.raises(UserError, match="prepare --datasets=cqa"):
            train(
                drop=["DATASET", "DATA_FILES"],
                files=[
                    "sizes/tiny.gin",
                    "methods/step_by_step.gin",
                    "datasets/cqa.gin",
                    "local/train.gin",
                ],
            )
    finally:
        seqio.set_tfds_data_dir_override(None)
    assert not (tmp_path / "run/config.gin").exists()
    assert not (tmp_path / "data").exists()


def test_run_folder_below_a_file_is_an_error(train, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="MODEL_DIR .*file/run: cannot be written"):
        train(MODEL_DIR=str(tmp_path / "file/run"))
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.slow
def test_full_disk_is_reported_before_training(train, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 90, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="0 MiB free, expected at least"):
        train()
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def run(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    lengths = {"inputs": 20, "targets": 12, "task_ids": 12}
    train_tiny(folder, TASK_FEATURE_LENGTHS=lengths, TRAIN_STEPS=1)
    return folder


@pytest.mark.slow
def test_truncated_examples_are_counted(train, monkeypatch, capsys):
    lengths = {"inputs": 20, "targets": 12, "task_ids": 12}
    # The run ends after the count, before its first step.
    usage = shutil._ntuple_diskusage(100, 90, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="0 MiB free"):
        train(TASK_FEATURE_LENGTHS=lengths)
    lines = capsys.readouterr().out.splitlines()
    predict = next(line for line in lines if line.startswith("tiny_predict: 48"))
    explain = next(line for line in lines if "tiny_teacher_rationale: 48" in line)
    assert "48 truncated to 20" in predict and "0 truncated to 12" in predict
    assert "48 truncated to 12" in explain


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("MODEL_DIR", "a run with other settings: .*EMB_DIM is 24, was 16; use a new"),
        (
            "INITIAL_CHECKPOINT_PATH",
            r"checkpoint_1: parameter .* has shape \(.*16.*\), expected \(.*24.*\)",
        ),
    ],
)
@pytest.mark.slow
def test_checkpoint_of_another_size_is_refused(train, run, tmp_path, setting, message):
    before = (run / "config.gin").read_text()
    with pytest.raises(UserError, match=message):
        train(EMB_DIM=24, **{setting: str(run)})
    assert (run / "config.gin").read_text() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        (
            {"CHECKPOINT_PATH": "/no/such/run"},
            "/no/such/run: expected a run folder, .* found nothing",
        ),
        ({"INPUT_FILE": "/no/such.jsonl"}, "/no/such.jsonl: No such file"),
    ],
)
@pytest.mark.slow
def test_inference_names_what_is_wrong(run, tmp_path, macros, message):
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"input": "Jar 1"}\n')
    macros = {
        "CHECKPOINT_PATH": str(run),
        "INPUT_FILE": str(questions),
        "OUTPUT_FILE": str(tmp_path / "answers.jsonl"),
        **macros,
    }
    cli.configure(
        ["local/infer.gin", str(run / "config.gin")],
        [f"{name} = {value!r}" for name, value in macros.items()],
        known=INFER_SETTINGS,
    )
    with pytest.raises(UserError, match=message):
        infer.main()
    assert not (tmp_path / "answers.jsonl").exists()


def other_vocabulary(folder):
    """Trains a vocabulary of more pieces than the student's embedding has rows."""
    words = ["".join(letters) for letters in itertools.permutations("abcdef", 5)]
    path = folder / "other.model"
    vocabulary.train(words, path, vocab_size=300)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda _: {"EVAL_SPLIT": "tset"}, "EVAL_SPLIT is 'tset', expected one of"),
        (
            lambda folder: {"VOCABULARY_PATH": other_vocabulary(folder)},
            "VOCABULARY_PATH has 400 ids, expected at most the 256 rows",
        ),
    ],
)
def test_bad_settings_of_an_evaluation_are_one_error(run, tmp_path, changes, message):
    macros = {
        "CHECKPOINT_PATH": str(run),
        "EVAL_OUTPUT_DIR": str(tmp_path / "scores"),
        **changes(tmp_path),
    }
    cli.configure(
        ["local/eval.gin", str(run / "config.gin")],
        [f"{name} = {value!r}" for name, value in macros.items()],
        known=EVAL_SETTINGS,
    )
    with pytest.raises(UserError, match=message):
        eval.main()
    assert not (tmp_path / "scores").exists()


def shell(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_binary_ends_in_one_line_and_status_two(tiny_settings, tmp_path):
    """The error is found after the command has started to read its data."""
    files, bindings = tiny_settings(MODEL_DIR=str(tmp_path / "run"), VOCAB_SIZE=128)
    status, errors = shell(
        "dsbs_jax.train",
        *(f"--gin_file={file}" for file in files),
        *(f"--gin.{b.replace(' = ', '=', 1)}" for b in bindings),
    )
    lines = errors.splitlines()
    # Besides the error, there are only notes of the reader of the file.
    assert [line for line in lines if not line.startswith("note: ")] == [
        "error: VOCAB_SIZE is 128, expected at least the vocabulary's 204 ids"
    ]
    assert status == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dsbs_jax.train", "--gin_flie=x.gin"], "gin_flie"),
        (["dsbs_jax.eval"], "no --gin_file given"),
        (["dsbs_jax.infer", "--gin_file=nowhere.gin"], "nowhere.gin"),
    ],
)
@pytest.mark.slow
def test_bad_command_line_ends_in_one_line(arguments, message):
    status, errors = shell(*arguments)
    (line,) = errors.splitlines()
    assert line.startswith("error: ") and message in line
    assert status == 2
