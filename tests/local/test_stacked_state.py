"""Training whose state has one array for all layers of a stack (SCAN_LAYERS)."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import traverse_util

from dsbs_jax import weights
from dsbs_jax.local import checkpoints, optimizers, state, step, trainable
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import lora, stacked_layers
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import orbax_format, run_checkpoints
from dsbs_jax.weights.loading import load_params
from dsbs_jax.weights.overlay import Arrays


def optimizer_of(name):
    config = OptimizerConfig(optimizer=name, learning_rate=1e-2, weight_decay=0.1)
    return optimizers.make_optimizer(config, optimizers.make_schedule(config, 10))


def names_of(tree):
    return set(traverse_util.flatten_dict(tree, sep="/"))


def trained(model, optimizer, batch, updated, stacked):
    """Trains for three steps; returns the losses, all weights and the state."""
    partitioner = Partitioner(devices=jax.devices()[:1])
    abstract = state.abstract_state(model, optimizer, partitioner, updated, stacked)
    key = jax.random.key(0)
    now = state.init_state(model, optimizer, abstract, key)
    assert jax.tree.map(jax.numpy.shape, now) == jax.tree.map(
        lambda n: n.shape, abstract
    )
    run = step.make_train_step(model, optimizer, partitioner, 0.5)
    losses = []
    for _ in range(3):
        now, metrics = run(now, partitioner.put_batch(batch), key)
        losses.append(float(metrics["loss"]))
    complete = trainable.complete(now.params, now.frozen)
    return losses, stacked_layers.unstack(complete), now


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "updated", "student"),
    [
        ("adamw", {}, {"dropout_rate": 0.1}),
        ("lion", {}, {"relative_bias_in_layers": True}),
        ("adafactor", {}, {"remat": "dots"}),
        ("adamw", {"lora_rank": 2}, {"precision": "mixed"}),
        ("adamw", {"trainable": "encoder"}, {}),
        ("adafactor", {"freeze_embedding": True}, {}),
    ],
    ids=str,
)
def test_stacked_state_trains_as_separate_layers(
    make_model, make_batch, optimizer, updated, student
):
    model = make_model(scan=True, num_encoder_layers=2, num_decoder_layers=3, **student)
    updated = TrainableConfig(**updated)
    assert state.stacks_layers(model, updated)
    optimizer = optimizer_of(optimizer)
    runs = [
        trained(model, optimizer, make_batch(), updated, stacked)
        for stacked in (None, False)
    ]
    (losses, weights, stacked), (expected, expected_weights, apart) = runs
    assert any(map(stacked_layers.is_stacked, names_of(stacked.params)))
    assert not any(map(stacked_layers.is_stacked, names_of(apart.params)))
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert losses[2] < losses[0]
    assert names_of(weights) == names_of(expected_weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        weights,
        expected_weights,
    )


def test_layers_of_which_some_are_updated_keep_their_own_arrays(make_model):
    model = make_model(scan=True, num_encoder_layers=2, num_decoder_layers=2)
    updated = TrainableConfig(train_last_layers=1)
    abstract = state.abstract_state(model, optax.adam(1), Partitioner(), updated)
    assert "encoder/layers_1/mlp/wo/kernel" in names_of(abstract.params)
    assert "encoder/layers_0/mlp/wo/kernel" in names_of(abstract.frozen.weights)


def test_adafactor_is_that_of_optax():
    """The kernels are long enough for factored moments, and one is square."""
    rng = np.random.default_rng(0)

    def tree(scale):
        return {
            "a": {"kernel": scale * rng.normal(size=(128, 128)).astype(np.float32)},
            "b": {"kernel": scale * rng.normal(size=(130, 256)).astype(np.float32)},
            "scale": scale * rng.normal(size=16).astype(np.float32),
        }

    params = tree(1.0)
    config = OptimizerConfig(optimizer="adafactor")
    schedule = optax.constant_schedule(1e-2)
    ours = optimizers.make_optimizer(config, schedule)
    theirs = optax.adafactor(schedule, decay_rate=config.adafactor_decay_rate)
    states = ours.init(params), theirs.init(params)
    # Checkpoints have this structure.
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for scale in (1e-3, 2.0, 0.5):
        gradients = tree(scale)
        updates = [
            optimizer.update(gradients, state, params)
            for optimizer, state in zip((ours, theirs), states, strict=True)
        ]
        states = tuple(state for _, state in updates)
        jax.tree.map(np.testing.assert_array_equal, *updates)


def test_adafactor_sees_the_layers_of_a_stacked_array_apart():
    """Layers of different scale, and kernels long enough for factored moments."""
    rng = np.random.default_rng(0)
    partitioner = Partitioner(devices=jax.devices()[:1])

    def tree(scale):
        def kernel(i):
            values = scale * 10**i * rng.normal(size=(128, 128))
            return jax.device_put(values.astype(np.float32), partitioner.replicated)

        return {
            "encoder": {f"layers_{i}": {"wo": {"kernel": kernel(i)}} for i in (0, 1)}
        }

    params = tree(1.0)
    stacked = stacked_layers.stack_abstract(jax.tree.map(_abstract, params))
    optimizer = optimizer_of("adafactor")
    apart_state = optimizer.init(params)
    stacked_state = optimizer.init(stacked_layers.convert(params, stacked))
    for scale in (1.0, 1e-3):
        gradients = tree(scale)
        apart, apart_state = optimizer.update(gradients, apart_state, params)
        together, stacked_state = optimizer.update(
            stacked_layers.convert(gradients, stacked),
            stacked_state,
            stacked_layers.convert(params, stacked),
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
            stacked_layers.unstack(together),
            apart,
        )


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


class CountingReader(Arrays):
    """Records how many numbers each call reads."""

    def __init__(self, arrays):
        super().__init__("here", arrays)
        self.sizes = []

    def read(self, name, index=()):
        part = super().read(name, index)
        self.sizes.append((name, part.size))
        return part


def test_weights_are_stacked_when_they_are_read(make_model):
    """The reader has no stacked array, and each layer is read once."""
    model = make_model(scan=True, num_encoder_layers=2, num_decoder_layers=3)
    partitioner = Partitioner(devices=jax.devices()[:1])
    abstract = state.abstract_state(model, optax.adam(1), partitioner)
    plain = Transformer(dataclasses.replace(model.config, scan=False))
    apart = state.abstract_state(plain, optax.adam(1), partitioner)
    params = state.init_params(plain, apart, jax.random.key(3))
    arrays = {
        name: np.asarray(leaf)
        for name, leaf in traverse_util.flatten_dict(params, sep="/").items()
    }
    reader = CountingReader(arrays)
    loaded = load_params(reader, abstract.params)
    jax.tree.map(
        np.testing.assert_array_equal,
        loaded,
        stacked_layers.convert(params, abstract.params),
    )
    assert sorted(reader.sizes) == sorted((n, a.size) for n, a in arrays.items())


class CountedChunks:
    """An `ArrayReader` that records what it reads."""

    def __init__(self, arrays):
        self._arrays, self.read_names = arrays, []
        self.location = arrays.location

    def shapes(self):
        return self._arrays.shapes()

    def read(self, name, index=()):
        self.read_names.append(name)
        return self._arrays.read(name, index)


@pytest.mark.parametrize("updated", [{}, {"lora_rank": 2}], ids=str)
def test_stacked_checkpoints_are_read_layer_by_layer(
    make_model, tmp_path, monkeypatch, updated
):
    """Parts of each layer, and adapters over weights that are stacked too."""
    model = make_model(scan=True, num_encoder_layers=2, num_decoder_layers=3)
    updated = TrainableConfig(**updated)
    optimizer, partitioner = optax.adam(1), Partitioner(devices=jax.devices()[:1])
    abstract = state.abstract_state(model, optimizer, partitioner, updated)
    now = state.init_state(model, optimizer, abstract, jax.random.key(0))
    if now.frozen is not None:
        # A step changes B, which is 0 at first.
        now = now.replace(params=jax.tree.map(lambda n: n + 0.1, now.params))
        overlay = run_checkpoints.Overlay(now.frozen.scale)
        checkpoints.write_base(tmp_path, now.weights, overlay)
    saved = checkpoints.Checkpoints(tmp_path / "checkpoints")
    saved.save(now, 1.0)
    assert saved.is_stacked(0)
    saved.close()
    opened = []

    def counted(*args, **kwargs):
        opened.append(CountedChunks(open_item(*args, **kwargs)))
        return opened[-1]

    open_item = orbax_format.open_item
    monkeypatch.setattr(orbax_format, "open_item", counted)
    reader = weights.open_checkpoint(str(tmp_path))
    expected = trainable.weights(now.params, now.frozen)
    expected = traverse_util.flatten_dict(stacked_layers.unstack(expected), sep="/")
    merged = now.frozen.scale if now.frozen else 0.0
    factors = traverse_util.flatten_dict(stacked_layers.unstack(now.params), sep="/")
    names = sorted(expected, key=lambda n: stacked_layers.place(n, ())[0])
    assert reader.shapes() == {n: leaf.shape for n, leaf in expected.items()}
    for name in names:
        value = np.asarray(expected[name])
        module = lora.module_of(name)
        if merged and f"{module}/{lora.A}" in factors:
            a, b = (np.asarray(factors[f"{module}/{n}"]) for n in (lora.A, lora.B))
            value = lora.merge(value, a, b, merged)
        part = tuple(slice(1, size - 1) for size in value.shape)
        np.testing.assert_allclose(reader.read(name, part), value[part], rtol=1e-6)
    # Each array is read once for all layers. The factors of an adapter, which are
    # small, are read one after the other for each layer.
    for arrays in opened:
        read = [name for name in arrays.read_names if not lora.is_adapter(name)]
        assert len(read) == len(set(read))
