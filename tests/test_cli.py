"""Flags, gin files and `--help` of the commands."""

import pathlib
import subprocess
import sys

import pytest

from dsbs_jax import cli, gin_reference
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import (
    EVAL_SETTINGS,
    INFER_SETTINGS,
    TRAIN_SETTINGS,
    LoopConfig,
    TrainSettings,
)


def value(name):
    return cli.values()[name]


def configure(files, bindings, **options):
    cli.configure(files, bindings, known=TRAIN_SETTINGS, **options)


def test_flags_override_files_and_later_files_override_earlier_ones(
    tmp_path, tiny_settings
):
    own = tmp_path / "own.gin"
    own.write_text("ALPHA = 0.25\nTRAIN_STEPS = 7\n")
    files, bindings = tiny_settings()
    bindings = [b for b in bindings if not b.startswith("TRAIN_STEPS")]
    configure([*files, str(own)], [*bindings, "MODEL_DIR = 'x'"])
    assert value("ALPHA") == 0.25
    assert value("TRAIN_STEPS") == 7
    configure([*files, str(own)], [*bindings, "MODEL_DIR = 'x'", "ALPHA = 0.75"])
    assert value("ALPHA") == 0.75


def test_search_paths_come_before_the_files_of_the_project(tmp_path, tiny_settings):
    (tmp_path / "methods").mkdir()
    method = (cli.config_dir() / "methods/step_by_step.gin").read_text()
    (tmp_path / "methods/step_by_step.gin").write_text(f"{method}\nALPHA = 0.125\n")
    files, bindings = tiny_settings(MODEL_DIR="x")
    configure(files, bindings, search_paths=[str(tmp_path)])
    assert value("ALPHA") == 0.125


def settings_of_run(size, method, dataset):
    own = ["DATA_FILES = 'x.jsonl'"] if dataset == "datasets/jsonl.gin" else []
    configure([size, method, dataset, "local/train.gin"], ["MODEL_DIR = 'x'", *own])
    return TrainSettings.from_macros(cli.values())


def test_every_gin_file_of_the_project_gives_the_settings_of_a_run():
    folder = cli.config_dir()
    size, method, dataset = (
        "sizes/tiny.gin",
        "methods/distill.gin",
        "datasets/jsonl.gin",
    )
    for path in sorted(folder.glob("datasets/*.gin")):
        settings = settings_of_run(size, method, f"datasets/{path.name}")
        assert settings.data.method == "distill"
    for path in sorted(folder.glob("methods/*.gin")):
        settings = settings_of_run(size, f"methods/{path.name}", dataset)
        assert settings.data.method == path.stem
    for path in sorted(folder.glob("sizes/*.gin")):
        settings = settings_of_run(f"sizes/{path.name}", method, dataset)
        sizes = [v for n, v in settings.student.items() if n.endswith("_DIM")]
        assert len(sizes) == 3
        assert all(isinstance(v, int) for v in sizes) != (path.stem == "pretrained")


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["NO_SUCH_MACRO = 3"], "NO_SUCH_MACRO is not a setting of this command"),
        (["TRAIN_STEP = 3"], "TRAIN_STEP is not .*; did you mean TRAIN_STEPS?"),
        (["EMB_DIM = @missing.thing()"], "EMB_DIM is @missing.thing"),
        (["no.such.module = 3"], "no.such.module is not a setting"),
        (["EMB_DIM = [1,"], r"--gin.EMB_DIM=\[1,: a bracket is not closed"),
        (["EMB_DIM"], "--gin.EMB_DIM=: cannot parse"),
        (["EMB_DIM = 3 4"], "--gin.EMB_DIM=3 4: cannot parse"),
        (["EMB_DIM = /runs/own"], "--gin.EMB_DIM=/runs/own: .* quoted text"),
        (["loop.train.no_such_argument = 3"], "no_such_argument is not a setting"),
        (["EMB_DIM = %NEVER_SET"], "EMB_DIM refers to NEVER_SET, which is not set"),
    ],
)
def test_bad_binding_ends_in_one_line(bindings, message, tiny_settings):
    files, good = tiny_settings(MODEL_DIR="x")
    with pytest.raises(UserError, match=message) as caught:
        configure(files, [*good, *bindings])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("runs/own", "runs/own"),
        ("'runs/own'", "runs/own"),
        ('"runs/own"', "runs/own"),
        ("hub:google/t5-v1_1-base", "hub:google/t5-v1_1-base"),
        ("2024", "2024"),
        ("1e5", "1e5"),
        ("a b=c", "a b=c"),
        ("None/own", "None/own"),
        ("it's", "it's"),
        ("%DATASET", "tiny"),
    ],
)
def test_text_needs_no_quotes(tiny_settings, given, expected):
    files, bindings = tiny_settings()
    configure(files, [*bindings, f"MODEL_DIR = {given}"])
    assert cli.read(LoopConfig).model_dir == expected


def test_none_is_not_text(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    configure(files, [*bindings, "INITIAL_CHECKPOINT_PATH = None"])
    assert cli.read(LoopConfig).initial_checkpoint_path is None


def test_choices_need_no_quotes(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    configure(files, [*bindings, "OPTIMIZER = adafactor"])
    assert TrainSettings.from_macros(cli.values()).optimizer.optimizer == "adafactor"


def test_required_setting_is_named(tiny_settings):
    files, bindings = tiny_settings()
    configure(files, bindings)
    with pytest.raises(UserError, match="MODEL_DIR is required.*--gin.MODEL_DIR=value"):
        TrainSettings.from_macros(cli.values())


def test_missing_method_file_is_noticed(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    files = [f for f in files if not f.startswith("methods/")]
    configure(files, bindings)
    with pytest.raises(UserError, match="(METHOD|ALPHA) is required and not set"):
        TrainSettings.from_macros(cli.values())


def test_file_may_set_what_another_command_reads_and_a_flag_may_not(
    tmp_path, tiny_settings
):
    own = tmp_path / "own.gin"
    own.write_text("INPUT_FILE = 'questions.jsonl'\n")
    files, bindings = tiny_settings(MODEL_DIR="x")
    configure([*files, str(own)], bindings)
    with pytest.raises(UserError, match="INPUT_FILE is not a setting of this command"):
        configure(files, [*bindings, "INPUT_FILE = 'questions.jsonl'"])


def test_name_in_a_file_that_no_command_reads_is_reported(tmp_path, tiny_settings):
    own = tmp_path / "own.gin"
    own.write_text("TRAIN_STEP = 3\n")
    files, bindings = tiny_settings(MODEL_DIR="x")
    with pytest.raises(UserError, match="TRAIN_STEP .* any command; .* TRAIN_STEPS?"):
        configure([*files, str(own)], bindings)
    own.write_text("TRAIN_STEP = 3\nTRAIN_STEPS = %TRAIN_STEP\n")
    bindings = [b for b in bindings if not b.startswith("TRAIN_STEPS")]
    configure([*files, str(own)], bindings)
    assert value("TRAIN_STEPS") == 3


def test_settings_of_version_0_1_are_not_checked(tmp_path):
    own = tmp_path / "config.gin"
    own.write_text("from __gin__ import dynamic_registration\nNO_LONGER_READ = 3\n")
    configure([str(own)], [])
    assert value("NO_LONGER_READ") == 3


def test_missing_gin_file_is_named(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    with pytest.raises(UserError, match="gin file nowhere.gin does not exist"):
        configure([*files, "nowhere.gin"], bindings)


def test_working_folder_may_hold_folders_named_like_gin_folders(
    tmp_path, tiny_settings, monkeypatch
):
    """With `python -m`, Python also looks for packages in the working folder."""
    for name in ("sizes", "methods", "datasets", "local", "teacher"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files, bindings = tiny_settings(MODEL_DIR="x")
    configure(files, bindings)
    assert value("MODEL_DIR") == "x"


def test_gin_flags_become_bindings():
    rewrite = cli._as_bindings
    assert rewrite(["p", "--gin.A=1", "--gin_file=x.gin"]) == [
        "p",
        "--gin_bindings=A = 1",
        "--gin_file=x.gin",
    ]
    assert rewrite(["--gin.A='b=c'"]) == ["--gin_bindings=A = 'b=c'"]
    with pytest.raises(UserError, match="--gin.A: expected --gin.NAME=value"):
        rewrite(["--gin.A"])


def test_config_dir_holds_the_gin_files():
    folder = cli.config_dir()
    assert isinstance(folder, pathlib.Path)
    assert (folder / "local/train.gin").is_file()


def test_each_gin_file_states_what_it_needs_and_what_is_overridden():
    for name in ("sizes", "methods", "datasets", "local", "experiments"):
        for path in cli.config_dir().glob(f"{name}/*.gin"):
            text = path.read_text()
            assert text.startswith("# "), path
            assert "Commonly overridden" in text, path


def test_reference_files_list_the_settings_of_their_command():
    for name, text in gin_reference.reference_files().items():
        written = (cli.config_dir() / name).read_text()
        assert written == text, "run python -m dsbs_jax.gin_reference"


def test_reference_files_change_no_setting(tmp_path):
    own = tmp_path / "own.gin"
    own.write_text("TRAIN_STEPS = 7\n")
    for name in gin_reference.reference_files():
        cli.configure([str(own), name])
        assert cli.values() == {"TRAIN_STEPS": 7}


@pytest.mark.parametrize(
    ("command", "settings"),
    [("train", TRAIN_SETTINGS), ("eval", EVAL_SETTINGS), ("infer", INFER_SETTINGS)],
)
def test_help_describes_the_command_and_each_setting(command, settings):
    done = subprocess.run(
        [sys.executable, "-m", f"dsbs_jax.{command}", "--help"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"python -m dsbs_jax.{command}" in done.stdout
    for cls in settings:
        for info in cli.settings.settings_of(cls):
            assert f"  --gin.{info.macro}  (" in done.stdout
    assert "(int >= 1; default: 1)" in done.stdout
    assert "  --gin_file  (default: [])\n      Gin file of settings;" in done.stdout
    assert "repeat this option" not in done.stdout
    assert "  --tfds_data_dir  (default: None)\n      Folder with" in done.stdout
    assert "absl" not in done.stdout


LOGGING = """
import warnings
from absl import logging
from dsbs_jax import cli

def main(_):
    from dsbs_jax.local import checkpoints
    checkpoints.logging.warning("not from the package")
    exec(compile("logging.warning('from %s', 'it')", checkpoints.__file__, "exec"))
    exec(compile("logging.info('done')", checkpoints.__file__, "exec"))
    logging.info("not from the package")
    logging.error("from anywhere")

cli.run(main)
"""


def test_notes_and_warnings_of_the_package_are_single_lines_on_standard_error():
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, timeout=100
    )
    assert done.stderr.splitlines() == [
        "warning: from it",
        "note: done",
        "error: from anywhere",
    ]
    assert done.stdout == ""
