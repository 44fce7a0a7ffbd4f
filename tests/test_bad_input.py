"""Bad input ends in one clear line, and leaves nothing half-written."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import gin
import pytest

from dsbs_jax import cli
from dsbs_jax.errors import UserError
from dsbs_jax.local import inference, loop

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


@pytest.fixture
def train(tiny_settings, tmp_path):
    """Runs what `python -m dsbs_jax.train` runs; the folder is `tmp_path/run`."""

    def train(method="step_by_step", drop=(), files=None, **macros):
        macros = {"MODEL_DIR": str(tmp_path / "run"), **macros}
        macros = {name: v for name, v in macros.items() if name not in drop}
        default, bindings = tiny_settings(method, **macros)
        bindings = [b for b in bindings if b.split(" ", 1)[0] not in drop]
        cli.configure(files or default, bindings)
        loop.train()

    return train


BAD_SETTINGS = [
    ({"MIXTURE_OR_TASK_NAME": "tiny_setp_by_step"}, "MIXTURE_OR_TASK_NAME: .*setp"),
    ({"METHOD": "steps"}, "METHOD is 'steps', expected 'finetune' or"),
    ({"VOCAB_SIZE": 128}, "VOCAB_SIZE is 128, expected at least .* 204 ids"),
    ({"VOCABULARY_PATH": "/no/such.model"}, "vocabulary /no/such.model: no such file"),
    ({"NOBODY_READS_IT": 1}, "NOBODY_READS_IT was given"),
    ({"FILES": "/no/such.jsonl"}, "/no/such.jsonl: No such file"),
    ({"ALPHA": 1.5}, "ALPHA is 1.5, expected 0 to 1"),
    ({"BATCH_SIZE": 5, "NUM_MICROBATCHES": 2}, "BATCH_SIZE is 5, expected a multiple"),
    ({"NUM_PARTITIONS": 1000}, "NUM_PARTITIONS is 1000"),
    ({"TRAIN_STEPS": 0}, "TRAIN_STEPS is 0"),
    ({"EVAL_PERIOD": 0}, "EVAL_PERIOD is 0"),
    ({"LOG_PERIOD": 0}, "LOG_PERIOD is 0"),
    ({"WARMUP_STEPS": 9}, "warmup_steps is 9"),
    ({"EMB_DIM": "wide"}, "T5Config.emb_dim is 'wide', expected an integer"),
    ({"DROPOUT_RATE": 1.0}, "T5Config.dropout_rate is 1.0"),
    ({"SUBSAMPLE_FRACTION": 2.0}, "SUBSAMPLE_FRACTION is 2.0"),
    (
        {"TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 48}},
        "TASK_FEATURE_LENGTHS: task_ids is None",
    ),
    (
        {"TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 48, "task_ids": 40}},
        "TASK_FEATURE_LENGTHS: task_ids is 40, expected the length of targets, 48",
    ),
]


@pytest.mark.parametrize(
    ("macros", "message"), BAD_SETTINGS, ids=[next(iter(m)) for m, _ in BAD_SETTINGS]
)
def test_bad_setting_is_named_and_nothing_is_written(train, tmp_path, macros, message):
    if "FILES" in macros:
        macros = {**macros, "DATASET": "absent"}
    with pytest.raises(UserError) as caught:
        train(**macros)
    # Gin adds lines on where it was; the binary prints the first.
    assert re.search(message, str(caught.value).splitlines()[0])
    assert not (tmp_path / "run/config.gin").exists()
    assert not list(tmp_path.rglob("checkpoint_*"))


def test_model_folder_is_required(train):
    with pytest.raises(UserError, match="MODEL_DIR is required and not set"):
        train(drop=["MODEL_DIR"])


def test_macro_that_is_never_set_is_named(train):
    files = ["sizes/tiny.gin", "datasets/jsonl.gin", "local/train.gin"]
    with pytest.raises(UserError, match="ALPHA, METHOD is read but never set"):
        train(files=files)


def test_broken_line_is_numbered(train, tiny_jsonl, tmp_path):
    lines = tiny_jsonl.read_text().splitlines()
    lines[16] = lines[16][:-5]
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"broken.jsonl: 1 bad line.*: line 17: broken"):
        train(FILES=str(broken), DATASET="broken")
    assert not (tmp_path / "run").exists()


def test_data_that_is_not_prepared_says_what_to_run(train, tmp_path):
    import seqio

    seqio.set_tfds_data_dir_override(str(tmp_path / "data"))
    try:
        with pytest.raises(UserError, match="prepare --datasets=cqa"):
            train(
                drop=["DATASET", "FILES"],
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


def test_folder_below_a_file_cannot_be_written(train, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="MODEL_DIR .*file/run: cannot be written"):
        train(MODEL_DIR=str(tmp_path / "file/run"))
    assert (tmp_path / "file").read_text() == "in the way"


def test_full_disk_is_noticed_before_training(train, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 90, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="0 MiB free, expected at least"):
        train()
    assert not list((tmp_path / "run").iterdir())


@pytest.fixture(scope="module")
def run(tiny_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    lengths = {"inputs": 20, "targets": 12, "task_ids": 12}
    macros = {"TASK_FEATURE_LENGTHS": lengths, "MODEL_DIR": str(folder)}
    files, bindings = tiny_settings(**macros, TRAIN_STEPS=1)
    cli.configure(files, bindings)
    loop.train()
    gin.clear_config()
    return folder


def test_truncation_is_counted(train, tmp_path, capsys):
    lengths = {"inputs": 20, "targets": 12, "task_ids": 12}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train(TASK_FEATURE_LENGTHS=lengths, MODEL_DIR=str(tmp_path / "file/run"))
    lines = capsys.readouterr().out.splitlines()
    predict = next(line for line in lines if line.startswith("tiny_predict: 48"))
    explain = next(line for line in lines if "tiny_teacher_rationale: 48" in line)
    assert "48 cut off at 20" in predict and "0 cut off at 12" in predict
    assert "48 cut off at 12" in explain


@pytest.mark.parametrize("way", ["resume", "initial"])
def test_checkpoint_of_another_size_is_refused(train, run, tmp_path, way):
    macros = {"MODEL_DIR": str(run)}
    if way == "initial":
        macros = {"INITIAL_CHECKPOINT_PATH": str(run)}
    before = (run / "config.gin").read_text()
    message = r"checkpoint_1: parameter .* has shape \(.*16.*\), expected \(.*24.*\)"
    with pytest.raises(UserError, match=message):
        train(EMB_DIM=24, **macros)
    assert (run / "config.gin").read_text() == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        (
            {"CHECKPOINT_PATH": "/no/such/run"},
            "/no/such/run: expected a run, .* found nothing",
        ),
        ({"INPUT_FILE": "/no/such.jsonl"}, "/no/such.jsonl: No such file"),
        (
            {"METHOD": "finetune", "RATIONALE": True},
            "RATIONALE is True, but 'tiny_finetune' trains no rationales",
        ),
    ],
)
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
    )
    with pytest.raises(UserError, match=message):
        inference.infer()
    assert not (tmp_path / "answers.jsonl").exists()


def test_split_that_is_not_there_is_named(run, tmp_path):
    macros = {
        "CHECKPOINT_PATH": str(run),
        "EVAL_OUTPUT_DIR": str(tmp_path / "scores"),
        "EVAL_SPLIT": "tset",
    }
    cli.configure(
        ["local/eval.gin", str(run / "config.gin")],
        [f"{name} = {value!r}" for name, value in macros.items()],
    )
    with pytest.raises(UserError, match="EVAL_SPLIT is 'tset', expected one of test"):
        inference.evaluate()
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
    """The whole way of an error that is found after the data has been set up."""
    files, bindings = tiny_settings(MODEL_DIR=str(tmp_path / "run"), VOCAB_SIZE=128)
    status, errors = shell(
        "dsbs_jax.train",
        *(f"--gin_file={file}" for file in files),
        *(f"--gin.{b.replace(' = ', '=', 1)}" for b in bindings),
    )
    lines = errors.splitlines()
    # Beside the error, only what the reader of the file has to say.
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
def test_bad_command_line_ends_in_one_line(arguments, message):
    status, errors = shell(*arguments)
    (line,) = errors.splitlines()
    assert line.startswith("error: ") and message in line
    assert status == 2
