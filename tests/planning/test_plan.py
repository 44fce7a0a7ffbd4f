"""Plans of wrong runs; the error comes before libtpu is needed."""

import re

import jax
import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.planning import plan, programs, report
from dsbs_jax.planning.chips import slice_of
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.state_memory import StateMemory
from dsbs_jax.settings import settings_of
from dsbs_jax.student.config import T5Config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_microbatches": 3}, "BATCH_SIZE is 128, expected a multiple of"),
        ({"remat": "ful"}, "REMAT is 'ful', expected"),
        ({"precision": "float16"}, "PRECISION is 'float16', expected"),
        ({"size": "smal"}, "size is 'smal', expected one of"),
        ({"optimizer": "adam"}, "OPTIMIZER is 'adam', expected"),
        ({"trainable": "none"}, "TRAINABLE is 'none', expected"),
        ({"lora_targets": ["wx"]}, "LORA_TARGETS is .*'wx'.*, expected"),
        (
            {"lora_rank": 4, "trainable": "decoder"},
            "LORA_RANK is 4, which keeps all weights",
        ),
    ],
)
def test_wrong_run_is_one_error(changes, message):
    config = PlanConfig(**{"size": "small", "topology": "v5e:2x4"} | changes)
    with pytest.raises(UserError, match=message):
        plan.make(config)


@pytest.mark.parametrize("step", ["decode", "both"])
def test_only_the_training_step_of_t5x_is_compiled(step):
    with pytest.raises(UserError, match=f"STEP is '{step}', expected 'train' with"):
        PlanConfig(size="small", topology="v5e:2x4", engine="t5x", step=step)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "OPTIMIZER is 'lion', expected 'adamw' with ENGINE"),
        ({"remat": "offload"}, "REMAT is 'offload', expected 'none', 'dots' or 'full'"),
        ({"lora_rank": 4}, "LORA_RANK is 4, expected 0 with ENGINE='t5x'"),
    ],
)
def test_the_step_of_t5x_has_adamw_for_all_weights(changes, message):
    with pytest.raises(UserError, match=message):
        PlanConfig(
            size="small", topology="v5e:2x4", engine="t5x", step="train", **changes
        )


def test_the_text_has_the_memory_of_the_state():
    config = PlanConfig(size="small", topology="v5e:2x4", optimizer="lion")
    state = StateMemory(updated=3 << 20, frozen=1 << 20, optimizer=(3 << 20) + 4)
    text = report.text(config, slice_of(config.topology), [], [], state)
    assert re.search(
        r"state of a chip +updated weights 3\.00 MiB, frozen weights 1\.00 MiB, "
        r"optimizer lion 3\.00 MiB",
        text,
    )
    assert "state of a chip" not in report.text(
        config, slice_of(config.topology), [], []
    )


@pytest.mark.parametrize(
    ("dims", "parameters"),
    [
        (1, "stored in each copy of the student"),
        (2, "spread over the copies of the student"),
    ],
)
def test_the_text_says_where_parameters_are_stored(dims, parameters):
    config = PlanConfig(
        size="small", topology="v5e:2x4", parameter_partitioning_dims=dims
    )
    text = report.text(config, slice_of(config.topology), [], [])
    assert re.search(rf"^parameters +{parameters}$", text, re.MULTILINE)
    partitioner = programs.partitioner_of(config, jax.local_devices()[:1])
    assert dict(partitioner.axis_rules)["embed"] == (None, "data")[dims - 1]


def test_settings_of_training_have_the_defaults_of_training():
    expected = {
        info.field: info.default
        for config in (OptimizerConfig, TrainableConfig, T5Config)
        for info in settings_of(config)
        if not info.required
    }
    shared = {info.field: info.default for info in settings_of(PlanConfig)}
    # A pod trains in bfloat16, which is not the default of training.
    del shared["precision"]
    common = shared.keys() & expected.keys()
    assert {"optimizer", "lora_targets", "remat", "attention_queries"} <= common
    assert {name: shared[name] for name in common} == {
        name: expected[name] for name in common
    }
