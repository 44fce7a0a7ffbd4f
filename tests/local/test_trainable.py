"""Weights that are not trained keep their values and have no optimizer state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.local import optimizers, state, step, trainable
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from support.students import make_batch, make_examples, make_student

SETTINGS = OptimizerConfig(learning_rate=0.01, schedule="constant")


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def start(config, **changes):
    """Returns the student, and the state before the first step."""
    model, params = make_student(**changes)
    optimizer = optimizers.make_optimizer(
        SETTINGS, optimizers.make_schedule(SETTINGS, 10)
    )
    partitioner = Partitioner(1, jax.local_devices()[:1])
    abstract = state.abstract_state(model, optimizer, partitioner, config)
    params = jax.tree.map(np.array, params)
    # The first step reuses the memory of the weights that it is given.
    given = jax.tree.map(jnp.array, params)
    made = state.init_state(model, optimizer, abstract, jax.random.key(0), given)
    train_step = step.make_train_step(model, optimizer, partitioner, 0.3)
    return made, params, train_step


PARTS = {
    "encoder": ({"trainable": "encoder"}, lambda n: n.startswith("encoder/")),
    "decoder": ({"trainable": "decoder"}, lambda n: n.startswith("decoder/")),
    "last": (
        {"train_last_layers": 1},
        lambda n: (
            "layers_1/" in n
            or n.endswith("_norm/scale")
            and n.count("/") == 2
            or "logits_dense" in n
        ),
    ),
    "embedding": ({"freeze_embedding": True}, lambda n: "token_embedder" not in n),
    "both": (
        {"trainable": "encoder", "train_last_layers": 2},
        lambda n: n.startswith("encoder/") and "relpos_bias" not in n,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_only_the_chosen_weights_change(part):
    values, is_trained = PARTS[part]
    made, before, train_step = start(TrainableConfig(**values))
    trained = {name for name in flat(before) if is_trained(name)}
    assert 0 < len(trained) < len(flat(before))
    assert flat(made.params).keys() == trained
    moments = [leaf for leaf in jax.tree.leaves(made.opt_state) if leaf.ndim]
    assert len(moments) == 2 * len(trained)
    batch = make_batch(make_examples())
    made, _ = train_step(made, batch, jax.random.key(0))
    after = flat(made.weights)
    assert after.keys() == flat(before).keys()
    for name, value in flat(before).items():
        assert np.array_equal(after[name], value) == (name not in trained), name


@pytest.mark.slow
def test_lora_trains_adapters_of_the_targets():
    config = TrainableConfig(lora_rank=4, lora_alpha=8, lora_targets=("key", "wo"))
    made, before, train_step = start(config)
    names = flat(made.params)
    # Two encoder layers with one attention, two decoder layers with two.
    assert len(names) == 2 * (2 * (1 + 1) + 2 * (2 + 1))
    assert all("/key/lora_" in name or "/wo/lora_" in name for name in names)
    assert made.frozen.scale == 2.0
    losses = []
    for _ in range(8):
        made, metrics = train_step(made, make_batch(make_examples()), jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 0.05
    assert made.opt_state is not None
    jax.tree.map(np.testing.assert_array_equal, made.weights, before)


@pytest.mark.slow
def test_frozen_kernels_have_the_type_of_products():
    model, _ = make_student(precision="bfloat16")
    optimizer = optimizers.make_optimizer(
        SETTINGS, optimizers.make_schedule(SETTINGS, 10)
    )
    partitioner = Partitioner(1, jax.local_devices()[:1])
    config = TrainableConfig(lora_rank=2)
    abstract = state.abstract_state(model, optimizer, partitioner, config)
    for name, leaf in flat(abstract.frozen.weights).items():
        expected = "bfloat16" if name.endswith("/kernel") else "float32"
        assert leaf.dtype == expected, name
    assert {leaf.dtype.name for leaf in jax.tree.leaves(abstract.params)} == {"float32"}


def test_all_weights_are_trained_by_default():
    made, before, _ = start(TrainableConfig())
    assert made.frozen is None
    assert flat(made.params).keys() == flat(before).keys()
    assert trainable.complete(made.params, None) is made.params


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_last_layers": 3}, "TRAIN_LAST_LAYERS is 3, expected at most"),
        ({"lora_rank": 2, "lora_targets": ("wi",)}, "LORA_TARGETS is .* wi_0 and wi_1"),
    ],
)
def test_settings_that_do_not_fit_the_student_are_named(values, message):
    with pytest.raises(UserError, match=message):
        start(TrainableConfig(**values))


@pytest.mark.parametrize(
    "values",
    [{"trainable": "encoder"}, {"train_last_layers": 1}, {"freeze_embedding": True}],
)
def test_lora_keeps_all_weights(values):
    with pytest.raises(UserError, match="LORA_RANK is 2, which keeps all weights"):
        TrainableConfig(lora_rank=2, **values)
