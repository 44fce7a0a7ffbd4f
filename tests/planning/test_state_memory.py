"""The planned memory of a training state is that of the real state."""

import json
import math
import os
import subprocess
import sys

import jax
import pytest

from dsbs_jax.local import optimizers, state
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.planning import programs, state_memory
from dsbs_jax.planning.config import PlanConfig
from support.students import make_student

OPTIMIZERS = ("adamw", "lion", "adafactor")
UPDATED = {
    "all": {},
    "decoder": {"trainable": "decoder"},
    "last layer": {"train_last_layers": 1, "freeze_embedding": True},
    "adapters": {"lora_rank": 2},
}


def states(optimizer, updated, partitioner):
    """Returns the abstract and the real state of a run."""
    model, params = make_student()
    config = OptimizerConfig(optimizer=optimizer)
    made = optimizers.make_optimizer(config, optimizers.make_schedule(config, 10))
    abstract = state.abstract_state(
        model, made, partitioner, TrainableConfig(**updated)
    )
    real = state.init_state(model, made, abstract, jax.random.key(0), params)
    return abstract, real


def allocated(tree, device):
    """Bytes of a tree's arrays on a device."""
    return sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(tree)
        for shard in leaf.addressable_shards
        if shard.device == device
    )


@pytest.mark.parametrize(
    ("optimizer", "updated"),
    [
        ("adamw", "all"),
        ("lion", "all"),
        ("adafactor", "all"),
        ("adamw", "decoder"),
        ("adamw", "last layer"),
        ("adamw", "adapters"),
        ("adafactor", "adapters"),
    ],
)
def test_bytes_are_those_of_the_real_state(optimizer, updated):
    device = jax.local_devices()[0]
    abstract, real = states(optimizer, UPDATED[updated], Partitioner(1, [device]))
    planned = state_memory.of(abstract)
    assert planned.optimizer == allocated(real.opt_state, device) > 0
    assert planned.updated == allocated(real.params, device) > 0
    assert planned.frozen == allocated(real.frozen, device)
    assert bool(planned.frozen) == (updated != "all")


def planned_small(**chosen):
    config = PlanConfig(size="small", topology="v5e:2x2", **chosen)
    devices = jax.local_devices()[:1]
    return state_memory.of(programs.abstract_state(config, devices))


@pytest.mark.slow
def test_the_optimizers_hold_two_copies_one_copy_or_sums_of_what_is_updated():
    # 76,961,152 weights in float32. The counts of AdamW, Lion and their schedules are
    # int32 scalars.
    adamw, lion, adafactor = (planned_small(optimizer=name) for name in OPTIMIZERS)
    assert adamw.updated == lion.updated == adafactor.updated == 4 * 76_961_152
    assert 0 < adamw.optimizer - 2 * adamw.updated <= 16
    assert 0 < lion.optimizer - lion.updated <= 16
    assert adafactor.optimizer < adafactor.updated / 100


def test_frozen_weights_have_no_optimizer_state():
    adapters = planned_small(lora_rank=8)
    # Two factors of 512 and 384 x 8 for the query and the value of each attention: 8
    # in the encoder, 16 in the decoder.
    assert adapters.updated == 4 * 24 * 2 * 8 * (512 + 384)
    assert 0 < adapters.optimizer - 2 * adapters.updated <= 16
    # Kernels are frozen in bfloat16, in which they are multiplied.
    assert 2 * 76_961_152 < adapters.frozen < 4 * 76_961_152
    decoder = planned_small(trainable="decoder")
    assert 0 < decoder.optimizer - 2 * decoder.updated <= 16


# Prints the planned and the allocated bytes of each of four devices.
SCRIPT = """
import json
import jax
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.planning import state_memory
from planning.test_state_memory import UPDATED, allocated, states
for optimizer, updated in (("adamw", "all"), ("adafactor", "adapters")):
    abstract, real = states(optimizer, UPDATED[updated], Partitioner(2))
    planned = state_memory.of(abstract).optimizer
    device_bytes = [allocated(real.opt_state, d) for d in jax.local_devices()]
    complete = sum(leaf.nbytes for leaf in jax.tree.leaves(real.opt_state))
    print(json.dumps([planned, complete, device_bytes]))
"""


@pytest.mark.slow
def test_partitions_share_the_state():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 "
        "--xla_backend_optimization_level=0",
        "PYTHONPATH": os.path.dirname(os.path.dirname(__file__)),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    weights, adapters = map(json.loads, done.stdout.splitlines())
    for planned, complete, device_bytes in (weights, adapters):
        assert device_bytes == [planned] * 4 and planned < complete
    planned, complete, _ = weights
    # Two partitions: all but norms, biases and counts is in halves.
    assert math.isclose(planned, complete / 2, rel_tol=0.1)
