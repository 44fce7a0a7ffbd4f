"""Tests of the settings of the data."""

import re
import subprocess
import sys

import pytest
from tolerance import names

from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.splits import Subsample
from dsbs_jax.errors import UserError


def make(**settings):
    return DataConfig(**{"dataset": "cqa", "method": "finetune", **settings})


def test_defaults():
    config = make()
    assert config.vocabulary_path.startswith("gs://t5-data/vocabs/")
    assert (config.teacher, config.data_files, config.test_dataset) == (None,) * 3
    assert config.subsample == Subsample(1.0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "setp_by_step"},
            "METHOD is 'setp_by_step', expected 'finetune' or",
        ),
        ({"dataset": ""}, "DATASET is '', expected"),
        ({"data_files": 3}, "DATA_FILES is 3, expected"),
        ({"subsample_fraction": 0}, "SUBSAMPLE_FRACTION is 0, expected"),
        ({"subsample_fraction": 1.5}, "SUBSAMPLE_FRACTION is 1.5, expected"),
        ({"subsample_seed": -1}, "SUBSAMPLE_SEED is -1, expected int >= 0"),
        (
            {"label_rate": 0, "rationale_rate": 0},
            "RATIONALE_RATE is 0.0, .* one of them",
        ),
        (
            {"task_feature_lengths": {"inputs": 8}},
            "TASK_FEATURE_LENGTHS: targets is No",
        ),
        (
            {"task_feature_lengths": {"inputs": "8"}},
            "TASK_FEATURE_LENGTHS is {'inputs'",
        ),
    ],
)
def test_wrong_values_are_reported(settings, message):
    with pytest.raises(UserError, match=message):
        make(**settings)


def test_settings_are_read_without_tensorflow():
    """Commands list their settings with --help, which must not take seconds."""
    code = "import dsbs_jax.data.data_config, sys; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("name", "_"), names.SECTION.accepted)
def test_names_that_seqio_accepts(name, _):
    assert DataConfig(dataset=name, method="finetune", teacher=name).dataset == name


@pytest.mark.parametrize(("name", "reason"), names.SECTION.refused)
@pytest.mark.parametrize("field", ["dataset", "teacher", "test_dataset"])
def test_names_that_seqio_refuses_are_one_error(field, name, reason):
    values = {"dataset": "own", "method": "finetune", field: name}
    message = f"{field.upper()} is '.*', {re.escape(reason)}"
    with pytest.raises(UserError, match=message):
        DataConfig(**values)
