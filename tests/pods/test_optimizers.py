import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.local import optimizers as local_optimizers  # noqa: E402
from dsbs_jax.local.config import OptimizerConfig  # noqa: E402
from dsbs_jax.pods import optimizers  # noqa: E402


def updates(optimizer, params, gradients, rates):
    """Returns the parameters after each step; `rates` are the trainer's rates."""
    state, after = optimizer.init_state(params), []
    for gradient, rate in zip(gradients, rates, strict=True):
        hyper = optimizer.update_hyper_params(learning_rate=rate)
        params, state = optimizer.apply_gradient(hyper, params, state, gradient)
        after.append(params)
    return after


def random_gradients(count, scale):
    keys = jax.random.split(jax.random.key(0), count)
    return [{"w": scale * jax.random.normal(key, (3, 4))} for key in keys]


@pytest.mark.parametrize("scale", [0.01, 10.0])
@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_updates_match_the_local_engine_with_the_trainers_rate(name, scale):
    schedule = local_optimizers.linear_decay(0.1, 5, warmup_steps=2)
    gradients = random_gradients(5, scale)
    params = {"w": jnp.ones((3, 4))}
    after_steps = updates(
        getattr(optimizers, name)(weight_decay=0.1),
        params,
        gradients,
        [schedule(i) for i in range(5)],
    )
    config = OptimizerConfig(optimizer=name, weight_decay=0.1)
    local = local_optimizers.make_optimizer(config, schedule)
    state = local.init(params)
    for gradient, after in zip(gradients, after_steps, strict=True):
        change, state = local.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, change)
        np.testing.assert_allclose(after["w"], params["w"], rtol=1e-5, atol=1e-6)


def test_the_first_adamw_step_has_the_length_of_the_rate():
    gradient = [{"w": jnp.array([3.0, -0.5])}]
    (after,) = updates(optimizers.adamw(), {"w": jnp.zeros(2)}, gradient, [0.02])
    np.testing.assert_allclose(after["w"], [-0.02, 0.02], rtol=1e-5)


def test_a_rate_of_0_changes_only_the_state():
    params = {"w": jnp.ones(2)}
    optimizer = optimizers.adamw()
    state = optimizer.init_state(params)
    hyper = optimizer.update_hyper_params(learning_rate=0.0)
    after, state = optimizer.apply_gradient(hyper, params, state, {"w": jnp.ones(2)})
    np.testing.assert_array_equal(after["w"], params["w"])
    assert state.step == 1


COMMON = {"weight_decay": 0.2, "clip_norm": 0.5}
ADAM = {"b1": 0.8, "b2": 0.9, "eps": 1e-6, **COMMON}
LION = {"b1": 0.7, "b2": 0.8, **COMMON}
ALL = {**ADAM, "lion_b1": 0.7, "lion_b2": 0.8, "decay_rate": 0.6}


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion"])
def test_names_select_an_optimizer_with_its_settings(name):
    own = {"adamw": ADAM, "lion": LION, "adafactor": {"decay_rate": 0.6}}[name]
    by_name = optimizers.make_optimizer(name, **ALL)
    expected, default = getattr(optimizers, name)(**own), getattr(optimizers, name)()
    if name == "adafactor":
        assert by_name.hyper_params == expected.hyper_params != default.hyper_params
        return
    params, gradients = {"w": jnp.ones((3, 4))}, random_gradients(3, 10.0)
    after = [
        updates(optimizer, params, gradients, [0.1] * 3)[-1]["w"]
        for optimizer in (by_name, expected, default)
    ]
    np.testing.assert_array_equal(after[0], after[1])
    assert float(jnp.abs(after[0] - after[2]).max()) > 1e-3


def test_an_unknown_name_is_an_error():
    with pytest.raises(UserError, match="OPTIMIZER is 'sgd', expected 'adamw' or"):
        optimizers.make_optimizer("sgd", **ALL)
