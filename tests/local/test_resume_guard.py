import ast
import dataclasses
import json
import pathlib
import re
import shutil
import zipfile

import pytest
from tolerance import resumed_settings

from dsbs_jax import settings
from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.errors import UserError
from dsbs_jax.local import resume_guard, student_folder
from dsbs_jax.local.config import TRAIN_SETTINGS, DecodingConfig
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.student.config import T5Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORK = T5Config(
    vocab_size=256,
    emb_dim=16,
    num_heads=4,
    head_dim=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    mlp_dim=32,
    mlp_activations=("gelu", "linear"),
    logits_via_embedding=False,
)
SPEC = StudentSpec(
    network=NETWORK,
    decoding=DecodingConfig(),
    input_length=48,
    target_length=32,
    label_prefix="predict: ",
    explain_prefix="explain: ",
    dataset="tickets",
    method="step_by_step",
    teacher="teacher",
    vocabulary_sha256="a" * 64,
    data_fingerprint="b" * 64,
    validation_fingerprint="d" * 64,
)
VALUES = {
    "ALPHA": 0.5,
    "BATCH_SIZE": 16,
    "DATASET": "tickets",
    "DATA_FILES": "tickets.jsonl",
    "EVAL_PERIOD": 10,
    "LEARNING_RATE": 5e-5,
    "METHOD": "step_by_step",
    "MLP_ACTIVATIONS": ("gelu", "linear"),
    "NUM_BEAMS": 1,
    "OPTIMIZER": "adamw",
    "PACK": False,
    "PATIENCE": None,
    "SCHEDULE": "linear",
    "TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 32, "task_ids": 32},
    "TEACHER": None,
    "TRAIN_STEPS": 100,
    "VOCABULARY_PATH": "own.model",
}


def macros():
    return {i.macro for cls in TRAIN_SETTINGS for i in settings.settings_of(cls)}


@pytest.fixture
def run(tmp_path):
    """A run folder with a checkpoint; only its settings are read."""
    folder = tmp_path / "run"
    (folder / "checkpoints/checkpoint_4").mkdir(parents=True)
    lines = [f"{name} = {value!r}\n" for name, value in VALUES.items()]
    (folder / "config.gin").write_text("".join(lines))
    student_folder.write_spec(folder, SPEC)
    return folder


def check(folder, spec=SPEC, **changed):
    return resume_guard.check(folder, {**VALUES, **changed}, spec)


def test_every_setting_of_a_run_is_in_one_group():
    groups = [
        resume_guard.FIXED,
        resume_guard.BY_CONTENT,
        set(resume_guard.NOTED),
        resume_guard.FREE,
    ]
    assert set().union(*groups) == macros()
    assert sum(map(len, groups)) == len(macros())


def test_the_documentation_lists_the_settings_that_may_change():
    page = (ROOT / "docs/training.md").read_text()
    section = page.partition("## Resume a run")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+)[^|]*\| (.*) \|$", section, re.MULTILINE))
    assert set(re.findall(r"`([A-Z_]+)`", rows["freely"])) == resume_guard.FREE
    assert set(re.findall(r"`([A-Z_]+)`", rows["note"])) == set(resume_guard.NOTED)
    listed = set(re.findall(r"`([A-Z_]+)`", rows["content"]))
    assert listed == resume_guard.BY_CONTENT


def test_the_same_settings_are_accepted(run):
    assert check(run) == []


@pytest.mark.parametrize(("text", "note"), resumed_settings.SECTION.accepted)
def test_a_setting_that_may_change(run, text, note):
    name, _, value = text.partition(" = ")
    notes = check(run, **{name: ast.literal_eval(value)})
    assert notes == ([] if note == "no note" else [note])


@pytest.mark.parametrize(("text", "message"), resumed_settings.SECTION.refused)
def test_a_fixed_setting_is_named_with_both_values(run, text, message):
    name, _, value = text.partition(" = ")
    with pytest.raises(UserError) as error:
        check(run, **{name: ast.literal_eval(value)})
    assert message in str(error.value)
    assert "use a new MODEL_DIR, or the settings of the run" in str(error.value)


@pytest.mark.parametrize("name", sorted(resume_guard.FIXED))
def test_every_fixed_setting_is_compared(run, name):
    (run / "config.gin").write_text(f"{name} = 'then'\n")
    with pytest.raises(UserError, match=f"{name} is 'now', was 'then'"):
        resume_guard.check(run, {name: "now"}, SPEC)


@pytest.mark.parametrize("name", sorted(resume_guard.NOTED))
def test_a_setting_that_may_change_gives_a_note(run, name):
    (run / "config.gin").write_text(f"{name} = 1\nSCHEDULE = 'linear'\n")
    values = {name: 2, "SCHEDULE": "linear"}
    assert resume_guard.check(run, values, SPEC) == [
        f"{name} is 2, was 1: {resume_guard.NOTED[name]}"
    ]


@pytest.mark.parametrize("name", sorted(resume_guard.FREE))
def test_a_free_setting_gives_no_note(run, name):
    (run / "config.gin").write_text(f"{name} = 1\n")
    assert resume_guard.check(run, {name: 2}, SPEC) == []


def test_more_steps_with_a_constant_learning_rate_need_no_note(run):
    config = run / "config.gin"
    text = config.read_text()
    config.write_text(text.replace("SCHEDULE = 'linear'", "SCHEDULE = 'constant'"))
    assert check(run, SCHEDULE="constant", TRAIN_STEPS=200) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"data_fingerprint": "c" * 64},
            "the training rows of DATA_FILES 'tickets.jsonl' differ from those of the",
        ),
        (
            {"validation_fingerprint": "c" * 64},
            "the validation rows of DATA_FILES 'tickets.jsonl' differ from those of",
        ),
        (
            {"vocabulary_sha256": "c" * 64},
            "the vocabulary of VOCABULARY_PATH 'own.model' differ",
        ),
        ({"teacher": "gpt"}, "TEACHER is 'gpt', was 'teacher'"),
        ({"input_length": 64}, "input length in TASK_FEATURE_LENGTHS is 64, was 48"),
        ({"target_length": 8}, "target length in TASK_FEATURE_LENGTHS is 8, was 32"),
        ({"label_prefix": "p: "}, "the label prefix is 'p: ', was 'predict: '"),
    ],
)
def test_other_data_are_named(run, changed, message):
    with pytest.raises(UserError) as error:
        check(run, dataclasses.replace(SPEC, **changed))
    assert message in str(error.value)


def test_the_path_of_the_same_data_may_change(run):
    moved = {"DATA_FILES": "elsewhere.jsonl", "VOCABULARY_PATH": "elsewhere.model"}
    assert check(run, TEACHER="teacher", **moved) == []


@pytest.mark.parametrize("name", ["data_fingerprint", "validation_fingerprint"])
def test_rows_that_were_not_recorded_may_be_any(run, name):
    assert check(run, dataclasses.replace(SPEC, **{name: None})) == []


def test_one_report_lists_every_difference(run):
    other = dataclasses.replace(SPEC, data_fingerprint="c" * 64, method="finetune")
    with pytest.raises(UserError) as error:
        check(run, other, METHOD="finetune", LEARNING_RATE=0.1, DATA_FILES="b.jsonl")
    text = str(error.value)
    assert "LEARNING_RATE is 0.1, was 5e-05" in text
    assert text.count("METHOD is 'finetune', was 'step_by_step'") == 1
    assert "DATA_FILES 'b.jsonl' (was 'tickets.jsonl') differ" in text


def test_a_folder_without_a_checkpoint_takes_any_settings(run):
    shutil.rmtree(run / "checkpoints")
    assert check(run, LEARNING_RATE=0.1) == []


@pytest.mark.parametrize(("done", "steps"), [(4, 2), (101, 100), (500, 499)])
def test_fewer_steps_than_done_are_refused(tmp_path, done, steps):
    message = f"TRAIN_STEPS is {steps}, expected at least {done}"
    with pytest.raises(UserError, match=message):
        resume_guard.check_steps(tmp_path, done, steps)


@pytest.mark.parametrize(("done", "steps"), [(4, 4), (4, 5), (None, 1)])
def test_as_many_steps_or_more_are_accepted(tmp_path, done, steps):
    resume_guard.check_steps(tmp_path, done, steps)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ALPHA = 0.5\n", {"ALPHA": 0.5}),
        ("\ufeffALPHA = 0.5\r\nPACK = True\r\n", {"ALPHA": 0.5, "PACK": True}),
        (
            "LABELS = \\\n    ('a', 'b')\nPACK = False",
            {"LABELS": ("a", "b"), "PACK": 0},
        ),
        ("TASK_FEATURE_LENGTHS = {\n    'inputs': 1,\n    }\n", None),
        ("OPTIMIZER = @optimizers.adamw()\nALPHA = 1\n", {"ALPHA": 1}),
        ("TEST_DATASET = %DATASET\n", {}),
        ("import os\nX = os.system('true')\n", {}),
        ("X = __import__('os')\nY = 2\n", {"Y": 2}),
        ("f.arg = 3\n# Z = 4\n", {}),
        ("", {}),
    ],
)
def test_settings_are_read_without_running_anything(tmp_path, text, values):
    path = tmp_path / "config.gin"
    path.write_bytes(text.encode())
    if values is None:
        values = {"TASK_FEATURE_LENGTHS": {"inputs": 1}}
    assert resume_guard.read_settings(path) == values


def test_settings_of_version_0_1_are_read(tmp_path):
    with zipfile.ZipFile(ROOT / "tests/fixtures/v0_1/run.zip") as archive:
        archive.extractall(tmp_path)
    values = resume_guard.read_settings(tmp_path / "run/config.gin")
    assert values["LEARNING_RATE"] == 0.003 and values["BATCH_SIZE"] == 16
    assert "OPTIMIZER" not in values


def test_a_run_that_resumes_keeps_the_columns_of_its_rows(tmp_path):
    assert student_folder.with_columns(SPEC, None, tmp_path) == SPEC
    columns = ColumnMap(template="{a}: {b}")
    fitted = student_folder.with_columns(SPEC, columns, tmp_path)
    assert (fitted.input_column, fitted.template) == ("input", "{a}: {b}")
    student_folder.write_spec(tmp_path, fitted)
    assert student_folder.with_columns(SPEC, None, tmp_path) == fitted
    other = student_folder.with_columns(SPEC, ColumnMap(input="text"), tmp_path)
    assert (other.input_column, other.template) == ("text", None)


def test_a_student_without_columns_reads_the_default_ones(tmp_path):
    student_folder.write_spec(tmp_path, SPEC)
    path = tmp_path / "student.json"
    values = json.loads(path.read_text())
    del values["template"], values["input_column"]
    path.write_text(json.dumps(values))
    assert student_folder.read_spec(tmp_path).columns() == ColumnMap()
    path.write_text(json.dumps(values | {"template": "{a"}))
    with pytest.raises(UserError, match="template '{a'"):
        student_folder.read_spec(tmp_path)
