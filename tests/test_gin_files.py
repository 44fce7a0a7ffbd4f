"""Macros of gin files, and of files that version 0.1 wrote."""

import ast
import pathlib
import sys

import pytest
from tolerance import gin_contents, gin_encodings, run_configs

from dsbs_jax import gin_files
from dsbs_jax.errors import UserError

VERSION_0_1 = pathlib.Path(__file__).parent / "fixtures/v0_1"


def read(text, tmp_path, *bindings, **options):
    path = tmp_path / "own.gin"
    path.write_text(text)
    return gin_files.read([str(path)], bindings, **options)


def test_values_of_all_types(tmp_path):
    text = "A = 1_000\nB = -2e-3\nC = 'x'\nD = None\nE = True\nF = ('a', 'b')\n"
    text += "G = {'inputs': 3, 'targets': [1, 2]}\n"
    assert read(text, tmp_path).values == {
        "A": 1000,
        "B": -0.002,
        "C": "x",
        "D": None,
        "E": True,
        "F": ("a", "b"),
        "G": {"inputs": 3, "targets": [1, 2]},
    }


def test_references_take_the_value_that_counts_at_the_end(tmp_path):
    text = "A = %B\nB = 1\nC = {'x': [%A]}\n"
    macros = read(text, tmp_path, "B = 2")
    assert macros.values == {"A": 2, "B": 2, "C": {"x": [2]}}
    assert macros.references == {"A", "B"}


def test_include_is_searched_like_a_file(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/part.gin").write_text("A = 1\nB = 1\n")
    text = "include 'parts/part.gin'\nB = 2\n"
    macros = read(text, tmp_path, search_paths=[str(tmp_path)])
    assert macros.values == {"A": 1, "B": 2}
    with pytest.raises(UserError, match="part.gin does not exist; searched in"):
        read(text, tmp_path)


def test_import_runs_a_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_own_dataset.py").write_text("REGISTERED = True\n")
    read("import my_own_dataset\n", tmp_path)
    assert sys.modules.pop("my_own_dataset").REGISTERED
    with pytest.raises(UserError, match="own.gin: line 2: cannot import no_such"):
        read("A = 1\nimport no_such_module\n", tmp_path)


def test_required_macro_is_not_set(tmp_path):
    assert read("A = %gin.REQUIRED\nB = 1\n", tmp_path).values == {"B": 1}
    assert read("A = %gin.REQUIRED\n", tmp_path, "A = 3").values == {"A": 3}


@pytest.mark.parametrize(("text", "value"), gin_contents.SECTION.accepted)
def test_file_with_a_value(tmp_path, text, value):
    assert repr(read(text, tmp_path).values["A"]) == value


@pytest.mark.parametrize(("text", "message"), gin_contents.SECTION.refused)
def test_bad_file_is_reported_with_its_line(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        read(text, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_old_name_of_a_setting_is_reported_with_the_new_one(tmp_path):
    for old, new in gin_files.RENAMED.items():
        with pytest.raises(UserError, match=f"line 1: {old} is now {new}"):
            read(f"{old} = 'x'\n", tmp_path)
        with pytest.raises(UserError, match=f"{old} is now {new}"):
            read("A = 1\n", tmp_path, f"{old} = 'x'")


OLD = """from __gin__ import dynamic_registration
from dsbs_jax.local import loop
from dsbs_jax.no_longer import there

FILES = 'tiny.jsonl'
MODEL = @network.Transformer()
OPTIMIZER = @optimizers.adafactor()
SCHEDULE = @optax.warmup_cosine_decay_schedule()
MIXTURE_OR_TASK_NAME = @registration.mixture_name()
EMB_DIM = None
TEST_DATASET = %DATASET
DATASET = 'tiny'

loop.train:
  model = %MODEL
  dataset = @train/datasets.DatasetConfig()
train/datasets.DatasetConfig.pack = %PACK
PACK = False
weights.student_config.emb_dim = 512
optimizers.adamw.weight_decay = 0.01
optax.warmup_cosine_decay_schedule.init_value = 0.0
"""


def test_file_of_version_0_1_keeps_its_settings(tmp_path):
    assert read(OLD, tmp_path).values == {
        "DATA_FILES": "tiny.jsonl",
        "OPTIMIZER": "adafactor",
        "SCHEDULE": "cosine",
        "EMB_DIM": 512,
        "TEST_DATASET": "tiny",
        "DATASET": "tiny",
        "PACK": False,
        "WEIGHT_DECAY": 0.01,
    }


def test_binding_of_version_0_1_without_a_setting_is_reported(tmp_path):
    text = OLD + "optax.warmup_cosine_decay_schedule.init_value = 0.1\n"
    with pytest.raises(UserError, match="init_value is not a setting"):
        read(text, tmp_path)


FIRST_LINE = "from __gin__ import dynamic_registration\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "OPTIMIZER = @optax.lion()\n",
            "line 2: OPTIMIZER is @optax.lion.*, expected 'adamw' or 'adafactor'",
        ),
        (
            "SCHEDULE = @optax.cosine_decay_schedule()\n",
            "expected 'linear' or 'constant' or 'cosine'",
        ),
        ("LEARNING_RATE = @own.rate()\n", "LEARNING_RATE is @own.rate.*a value"),
        ("adamw.b1 = @own.b1()\n", "ADAM_B1 is @own.b1.*, expected a value"),
        ("TEST_TASK_NAME = 'cqa_label'\n", "TEST_TASK_NAME is .*; set TEST_DATASET"),
        (
            "optax.warmup_cosine_decay_schedule.init_value = %LOW\nLOW = 0.1\n",
            "init_value is not a setting",
        ),
    ],
)
def test_setting_of_version_0_1_that_would_be_lost_is_reported(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(FIRST_LINE + text, tmp_path)


def test_argument_of_version_0_1_keeps_the_value_of_a_macro(tmp_path):
    text = FIRST_LINE + "optimizers.adamw.weight_decay = %WD\nWD = 0.01\n"
    text += "weights.student_config.emb_dim = %EMB_DIM\nEMB_DIM = 16\n"
    assert read(text, tmp_path).values == {
        "WEIGHT_DECAY": 0.01,
        "WD": 0.01,
        "EMB_DIM": 16,
    }
    assert read(text, tmp_path, "WD = 0.5").values["WEIGHT_DECAY"] == 0.5


def test_function_that_names_the_mixture_means_the_default(tmp_path):
    text = FIRST_LINE + "MIXTURE_OR_TASK_NAME = 'x'\n"
    text += "MIXTURE_OR_TASK_NAME = @registration.mixture_name()\n"
    assert read(text, tmp_path).values == {}


def test_constant_schedule_of_version_0_1_has_no_warmup(tmp_path):
    text = FIRST_LINE + "SCHEDULE = @optax.constant_schedule()\nWARMUP_STEPS = 9\n"
    constant = {"SCHEDULE": "constant", "WARMUP_STEPS": 0}
    assert read(text, tmp_path).values == constant
    assert read(text, tmp_path, "WARMUP_STEPS = 3").values["WARMUP_STEPS"] == 3
    linear = {"SCHEDULE": "linear", "WARMUP_STEPS": 9}
    assert read(text, tmp_path, "SCHEDULE = 'linear'").values == linear
    assert read("SCHEDULE = 'constant'\nWARMUP_STEPS = 9\n", tmp_path).values == {
        "SCHEDULE": "constant",
        "WARMUP_STEPS": 9,
    }


def test_function_on_the_command_line_is_reported_with_its_new_name(tmp_path):
    binding = "OPTIMIZER = @optimizers.adafactor()"
    with pytest.raises(UserError, match=r"@optimizers.adafactor\(\), expected 'adaf"):
        read("A = 1\n", tmp_path, binding)
    with pytest.raises(UserError, match="TEST_TASK_NAME is not a .*TEST_DATASET"):
        read("A = 1\n", tmp_path, "TEST_TASK_NAME = 'cqa_label'")


def test_config_that_version_0_1_wrote_for_an_extraction_is_read():
    values = gin_files.read([str(VERSION_0_1 / "extraction/config.gin")]).values
    assert values["TEACHER_MODEL"] and values["SAMPLES"] == 2
    assert "MODEL" not in values


@pytest.mark.parametrize("name", ["own.gin", "config.gin"])
@pytest.mark.parametrize(("content", "value"), gin_encodings.SECTION.accepted)
def test_byte_order_marks_and_line_ends(tmp_path, name, content, value):
    path = tmp_path / name
    path.write_bytes(ast.literal_eval(content))
    assert gin_files.read([str(path)]).values == {"A": value, "B": 1}


@pytest.mark.parametrize(("content", "reason"), gin_encodings.SECTION.refused)
def test_a_file_that_is_not_utf_8_is_named(tmp_path, content, reason):
    path = tmp_path / "own.gin"
    path.write_bytes(ast.literal_eval(content))
    with pytest.raises(UserError, match=rf"own\.gin: byte \d+ {reason}"):
        gin_files.read([str(path)])


@pytest.mark.parametrize(("text", "reason"), run_configs.SECTION.refused)
def test_the_settings_of_a_run_import_nothing(tmp_path, monkeypatch, text, reason):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_module.py").write_text("open('mark', 'w')\n")
    (tmp_path / "part.gin").write_text("import my_own_module\n")
    path = tmp_path / "config.gin"
    path.write_text(f"B = 1\n{text}\n")
    with pytest.raises(UserError, match=f"imports .*, {reason}"):
        gin_files.read([str(path)])
    assert not (tmp_path / "mark").exists()


def test_imports_in_the_settings_of_a_run_of_version_0_1_are_skipped(tmp_path):
    (tmp_path / "config.gin").write_text(
        "from __gin__ import dynamic_registration\n"
        "from dsbs_jax.local import no_longer_a_module\n"
        "import optax.no_module\nA = 1\n"
    )
    assert gin_files.read([str(tmp_path / "config.gin")]).values == {"A": 1}
