import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsbs_jax.local import state, step
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.task_ids import LABEL, RATIONALE

# Alpha is an argument of the compiled function, so that all tests use the same one.
gradients = jax.jit(step.gradients, static_argnums=(0, 4))


@pytest.fixture(scope="module")
def model(make_model):
    return make_model()


@pytest.fixture(scope="module")
def params(model, make_batch):
    tokens = jnp.asarray(make_batch()["encoder_input_tokens"])
    return nn.unbox(jax.jit(model.init)(jax.random.key(1), tokens, tokens)["params"])


def assert_close(a, b, rtol=1e-4, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def rows(batch, chosen):
    return {name: value[chosen] for name, value in batch.items()}


@pytest.mark.parametrize(("alpha", "parts"), [(0.3, 2), (1.0, 2), (0.0, 2), (0.3, 4)])
@pytest.mark.slow
def test_microbatches_add_up_to_the_batch(model, params, make_batch, alpha, parts):
    batch = make_batch()
    # The microbatches have different numbers of tokens of each task.
    batch["decoder_task_ids"][:3] = np.minimum(batch["decoder_task_ids"][:3], 1)
    expected, metrics = gradients(model, params, batch, alpha, 1)
    summed, summed_metrics = gradients(model, params, batch, alpha, parts)
    assert_close(summed, expected)
    assert_close(summed_metrics, metrics)
    assert optax.global_norm(expected) > 1e-3


@pytest.mark.slow
def test_mean_over_halves_would_be_another_loss(model, params, make_batch):
    """Averages the means of the halves, which is not the objective of the batch."""
    batch = make_batch()
    halves = [rows(batch, np.s_[:4]), rows(batch, np.s_[4:])]
    mean = np.mean([gradients(model, params, h, 0.5, 1)[1]["loss"] for h in halves])
    expected = gradients(model, params, batch, 0.5, 1)[1]["loss"]
    assert abs(mean - expected) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "task"), [(1.0, LABEL), (0.0, RATIONALE)])
def test_alpha_of_0_or_1_trains_one_task(model, params, make_batch, alpha, task):
    batch = make_batch()
    own = (batch["decoder_task_ids"] == task).any(axis=1)
    both, _ = gradients(model, params, batch, alpha, 1)
    alone, metrics = gradients(model, params, rows(batch, own), alpha, 1)
    assert_close(both, alone)
    other = "rationale" if task == LABEL else "label"
    assert metrics[f"{other}_loss"] == 0 and metrics[f"{other}_tokens"] == 0


@pytest.mark.slow
def test_dropout_depends_on_the_key_and_the_microbatch(make_model, params, make_batch):
    model, batch = make_model(dropout_rate=0.5), make_batch(rows=2)
    batch = rows(batch, [0, 0])
    key = jax.random.key(0)
    keys = [jax.random.fold_in(key, i) for i in range(2)]
    parts = [gradients(model, params, rows(batch, [0]), 1.0, 1, k) for k in keys]
    losses = [float(metrics["label_loss"]) for _, metrics in parts]
    _, both = gradients(model, params, batch, 1.0, 2, key)
    # The same row with both keys, and with the first key again.
    assert abs(losses[0] - losses[1]) > 1e-3
    _, again = gradients(model, params, rows(batch, [0]), 1.0, 1, keys[0])
    assert float(again["label_loss"]) == losses[0]
    np.testing.assert_allclose(both["label_loss"], np.mean(losses), rtol=1e-5)


@pytest.fixture(scope="module")
def trained(model, make_batch):
    """Trains a few steps: losses, last state, first parameters, abstract state."""
    partitioner = Partitioner(1, jax.local_devices()[:1])
    optimizer = optax.adam(1e-2)
    abstract = state.abstract_state(model, optimizer, partitioner)
    now = state.init_state(model, optimizer, abstract, jax.random.key(0))
    start = jax.device_get(now.params)
    train_step = step.make_train_step(model, optimizer, partitioner, alpha=0.5)
    losses = []
    batch = partitioner.put_batch(make_batch())
    for _ in range(10):
        now, metrics = train_step(now, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    return losses, now, start, abstract


@pytest.mark.slow
def test_loss_decreases(trained):
    losses, now, start, _ = trained
    assert losses[-1] < 0.8 * losses[0]
    assert int(now.step) == len(losses)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), now.params, start)
    assert min(jax.tree.leaves(moved)) > 0


def test_state_has_the_shapes_and_shardings_of_the_abstract_state(trained):
    _, now, _, abstract = trained

    def same(real, promised):
        assert real.shape == promised.shape
        assert real.dtype == promised.dtype
        assert real.sharding.is_equivalent_to(promised.sharding, real.ndim)

    jax.tree.map(same, now, abstract)


@pytest.mark.slow
def test_first_step_applies_the_optimizer_to_the_gradients(model, make_batch):
    partitioner = Partitioner(1, jax.local_devices()[:1])
    optimizer, batch = optax.sgd(0.5), make_batch()
    abstract = state.abstract_state(model, optimizer, partitioner)
    now = state.init_state(model, optimizer, abstract, jax.random.key(3))
    start = jax.tree.map(jnp.copy, now.params)
    train_step = step.make_train_step(model, optimizer, partitioner, alpha=0.5)
    after, metrics = train_step(now, batch, jax.random.key(0))
    grads, expected = gradients(model, start, batch, 0.5, 1)
    assert_close(after.params, jax.tree.map(lambda p, g: p - 0.5 * g, start, grads))
    np.testing.assert_allclose(
        metrics["gradient_norm"], optax.global_norm(grads), rtol=1e-5
    )
    assert_close({name: metrics[name] for name in expected}, expected)
