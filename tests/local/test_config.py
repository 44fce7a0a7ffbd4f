"""Settings of training, evaluation and inference."""

import pytest

from dsbs_jax import settings
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import (
    EVAL_SETTINGS,
    INFER_SETTINGS,
    TRAIN_SETTINGS,
    DecodingConfig,
    LoopConfig,
    OptimizerConfig,
    TrainSettings,
)


def make_loop(**fields):
    return LoopConfig(**{"model_dir": "x", "alpha": 0.5, "batch_size": 16, **fields})


@pytest.mark.parametrize("classes", [TRAIN_SETTINGS, EVAL_SETTINGS, INFER_SETTINGS])
def test_each_setting_of_a_command_is_declared_once(classes):
    macros = [info.macro for cls in classes for info in settings.settings_of(cls)]
    assert len(macros) == len(set(macros))


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (make_loop, {"batch_size": 0}, "BATCH_SIZE is 0, expected int >= 1"),
        (make_loop, {"alpha": 1.5}, "ALPHA is 1.5, expected float >= 0 and <= 1"),
        (make_loop, {"num_microbatches": 3}, "BATCH_SIZE is 16, expected a multiple"),
        (OptimizerConfig, {"optimizer": "sgd"}, "OPTIMIZER is 'sgd', expected 'adamw'"),
        (OptimizerConfig, {"schedule": "step"}, "SCHEDULE is 'step', expected"),
        (DecodingConfig, {"batch_size": 0}, "EVAL_BATCH_SIZE is 0"),
        (DecodingConfig, {"length_penalty": -0.5}, "LENGTH_PENALTY is -0.5, expected"),
    ],
)
def test_values_are_checked(make, fields, message):
    with pytest.raises(UserError, match=message):
        make(**fields)


def test_train_settings_from_macros():
    macros = {
        "MODEL_DIR": "x",
        "ALPHA": 0.5,
        "BATCH_SIZE": 16,
        "DATASET": "own",
        "METHOD": "finetune",
        "EMB_DIM": 16,
        "SCHEDULE": "cosine",
        "EVAL_BATCH_SIZE": 8,
        "NUM_PARTITIONS": 2,
        "CHECKPOINT_PATH": "of another command",
    }
    config = TrainSettings.from_macros(macros)
    assert config.loop == make_loop()
    assert config.optimizer == OptimizerConfig(schedule="cosine")
    assert config.decoding == DecodingConfig(batch_size=8)
    assert config.partitioning.num_partitions == 2
    assert config.student == {"EMB_DIM": 16}
    with pytest.raises(UserError, match="ALPHA is required"):
        TrainSettings.from_macros({k: v for k, v in macros.items() if k != "ALPHA"})
