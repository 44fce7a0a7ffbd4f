"""Compares the defaults of T5X's gin files with those of the local engine.

The files are read as text, so these tests run without T5X.
"""

import ast
import dataclasses
import re

import pytest

from dsbs_jax import cli, settings
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.local import config
from dsbs_jax.student.config import T5Config

FILES = sorted((cli.config_dir() / "t5x").glob("*.gin"))
CLASSES = (
    DataConfig,
    T5Config,
    config.LoopConfig,
    config.OptimizerConfig,
    config.TrainableConfig,
    config.DecodingConfig,
    config.PartitioningConfig,
    config.EvalConfig,
)
SETTINGS = {info.macro: info for cls in CLASSES for info in settings.settings_of(cls)}
# Required settings that the local engine derives from others; None does so in T5X.
DERIVED = {"VOCAB_SIZE"}
# Settings that T5X's own run files read.
READ_BY_T5X = {"BATCH_SIZE", "EVAL_OUTPUT_DIR"}
# Settings of the local engine that T5X has no counterpart for. T5X decodes greedily,
# writes TensorBoard files, and has one alpha and one mixture for a run. Its scalable
# network has its own scan and remat. The layers of its networks share a position bias,
# and compute all queries of an attention together.
ONLY_LOCAL = {
    "ALPHA_END",
    "ALPHA_SCHEDULE",
    "ATTENTION_QUERIES",
    "BETA",
    "EXPLAIN_FIRST_STEPS",
    "FREEZE_EMBEDDING",
    "LORA_ALPHA",
    "LORA_DROPOUT",
    "LORA_RANK",
    "LORA_TARGETS",
    "LABELS",
    "PATIENCE",
    "RELATIVE_BIAS_IN_LAYERS",
    "TRACKERS",
    "TRAINABLE",
    "TRAIN_LAST_LAYERS",
    "NUM_BEAMS",
    "LENGTH_PENALTY",
    "REMAT",
    "SCAN_LAYERS",
}
# Macros of T5X, and macros that connect the files.
ONLY_T5X = {
    "INFER_TASK_NAME",
    "MODEL",
    "MODEL_PARALLEL_SUBMESH",
    "NETWORK",
    "REMAT_POLICY",
    "TOTAL_STEPS",
    "TRAIN_STEPS_RELATIVE",
    "USE_CACHED_TASKS",
    "VOCABULARY",
}
_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]*) = (.+)$", re.MULTILINE)


def macros(path):
    """Returns the macros that a file sets: {name: text of the value}."""
    return dict(_ASSIGNMENT.findall(path.read_text()))


@dataclasses.dataclass(frozen=True)
class Default:
    file: str
    macro: str
    value: object


def literal_defaults():
    """Lists the macros whose value is a literal, not a reference (`@`, `%`)."""
    return [
        Default(path.name, name, ast.literal_eval(text))
        for path in FILES
        for name, text in macros(path).items()
        if not text.startswith(("@", "%"))
    ]


DEFAULTS = literal_defaults()


@pytest.mark.parametrize(
    "default",
    [default for default in DEFAULTS if default.macro in SETTINGS],
    ids=lambda default: f"{default.file}-{default.macro}",
)
def test_a_default_equals_the_local_engines(default):
    info = SETTINGS[default.macro]
    if default.macro in DERIVED:
        assert default.value is None
        return
    assert not info.required, "a required setting must have no default"
    assert default.value == info.default
    assert type(default.value) is type(info.default)


def test_files_set_only_known_macros():
    names = {name for path in FILES for name in macros(path)}
    assert names - SETTINGS.keys() - ONLY_T5X == set()


def test_every_setting_is_read_or_listed_as_local():
    text = "".join(path.read_text() for path in FILES)
    read = set(re.findall(r"%([A-Z][A-Z0-9_]*)", text))
    assert SETTINGS.keys() - read == READ_BY_T5X | ONLY_LOCAL
