import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import optimizers
from dsbs_jax.local.config import OptimizerConfig


def test_decay_is_linear_to_zero():
    schedule = optimizers.linear_decay(2.0, total_steps=8)
    np.testing.assert_allclose(
        [float(schedule(s)) for s in range(10)],
        [2, 1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25, 0, 0],
        atol=1e-6,
    )


def test_warmup_is_linear_to_the_peak():
    schedule = optimizers.linear_decay(1.0, total_steps=6, warmup_steps=2)
    np.testing.assert_allclose(
        [float(schedule(s)) for s in range(8)],
        [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("schedule", "warmup_steps"),
    [
        ("linear", -1),
        ("linear", 7),
        ("cosine", -1),
        ("cosine", 6),
        ("cosine", 7),
        ("constant", -1),
        ("constant", 7),
    ],
)
def test_warmup_has_to_fit_into_the_run(schedule, warmup_steps):
    with pytest.raises(UserError, match=f"WARMUP_STEPS is {warmup_steps}, expected"):
        config = OptimizerConfig(schedule=schedule, warmup_steps=warmup_steps)
        optimizers.make_schedule(config, 6)


@pytest.mark.parametrize(
    ("schedule", "warmup_steps"), [("linear", 6), ("cosine", 5), ("constant", 6)]
)
def test_longest_warmup_reaches_the_peak(schedule, warmup_steps):
    config = OptimizerConfig(
        schedule=schedule, warmup_steps=warmup_steps, learning_rate=1.0
    )
    rate = optimizers.make_schedule(config, 6)
    np.testing.assert_allclose(float(rate(warmup_steps)), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0]),
        ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1]),
        ("cosine", [0, 0.5, 1, 0.8536, 0.5, 0.1464, 0, 0]),
    ],
)
def test_schedules_after_a_warmup(schedule, expected):
    config = OptimizerConfig(schedule=schedule, warmup_steps=2, learning_rate=1.0)
    learning_rate = optimizers.make_schedule(config, 6)
    values = [float(learning_rate(step)) for step in range(8)]
    np.testing.assert_allclose(values, expected, atol=1e-4)


def make_optimizer(learning_rate, **fields):
    schedule = optax.constant_schedule(learning_rate)
    return optimizers.make_optimizer(OptimizerConfig(**fields), schedule)


def test_adamw_follows_its_formula():
    """Clips first, corrects the bias, and decouples the weight decay."""
    params = {"w": jnp.asarray([1.0, -2.0, 3.0])}
    optimizer = make_optimizer(
        0.1, adam_b1=0.9, adam_b2=0.99, adam_eps=1e-6, weight_decay=0.5
    )
    state = optimizer.init(params)
    first = second = np.zeros(3)
    w = np.asarray(params["w"])
    for t, g in enumerate(([3.0, 0.0, -4.0], [0.1, 0.2, 0.2]), 1):
        step, state = optimizer.update({"w": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, step)
        g = np.asarray(g) / max(1.0, np.linalg.norm(g))
        first = 0.9 * first + 0.1 * g
        second = 0.99 * second + 0.01 * g**2
        direction = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.99**t)) + 1e-6)
        w = w - 0.1 * (direction + 0.5 * w)
    np.testing.assert_allclose(params["w"], w, rtol=1e-5)


def test_lion_follows_its_formula():
    """Clips first, moves by the sign of a mean, and decouples the weight decay."""
    params = {"w": jnp.asarray([1.0, -2.0, 3.0])}
    fields = {"lion_b1": 0.6, "lion_b2": 0.9, "weight_decay": 0.5}
    optimizer = make_optimizer(0.1, optimizer="lion", **fields)
    state = optimizer.init(params)
    mean = np.zeros(3)
    w = np.asarray(params["w"])
    for g in ([3.0, 0.5, -4.0], [-0.2, -0.9, 0.3]):
        step, state = optimizer.update({"w": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, step)
        g = np.asarray(g) / max(1.0, np.linalg.norm(g))
        w = w - 0.1 * (np.sign(0.6 * mean + 0.4 * g) + 0.5 * w)
        mean = 0.9 * mean + 0.1 * g
    np.testing.assert_allclose(params["w"], w, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "copies"), [("adamw", 2), ("lion", 1), ("adafactor", 0)]
)
def test_state_holds_copies_of_the_parameters(name, copies):
    """Adafactor stores sums of rows and columns of large matrices only."""
    params = {"w": jnp.ones((256, 128))}
    state = make_optimizer(0.1, optimizer=name).init(params)
    values = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert 0 <= values - copies * 256 * 128 < 1_000


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion"])
def test_optimizers_minimize(name):
    optimizer = make_optimizer(0.02 if name == "lion" else 0.05, optimizer=name)
    target = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)

    def loss(params):
        return jnp.mean((params["w"] - target) ** 2)

    @jax.jit
    def step(params, state):
        step, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, step), state

    params = {"w": jnp.ones((3, 4))}
    state = optimizer.init(params)
    start = loss(params)
    for _ in range(100):
        params, state = step(params, state)
    assert loss(params) < 0.1 * start
