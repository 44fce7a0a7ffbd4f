"""Adapters compute and differentiate like the weights that they are merged into."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax.local import step
from dsbs_jax.local.trainable import Frozen, complete
from dsbs_jax.student import lora
from dsbs_jax.student.config import T5Config
from support.students import (
    BFLOAT16_PRODUCTS,
    forward,
    gradients,
    make_batch,
    make_examples,
    make_student,
)

SCALE, RANK = 1.7, 3


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


def make_adapters(params, targets=lora.TARGETS):
    """Random adapters of a student, both factors different from 0."""
    rng = np.random.default_rng(3)
    weights, adapters = flat(params), {}
    for name in lora.kernels(weights, targets):
        inputs, outputs = weights[name].shape
        module = lora.module_of(name)
        for factor, shape in ((lora.A, (inputs, RANK)), (lora.B, (RANK, outputs))):
            values = rng.normal(size=shape).astype(np.float32) * 0.2
            adapters[f"{module}/{factor}"] = values
    return traverse_util.unflatten_dict(adapters, sep="/")


def merged(params, adapters):
    weights, factors = dict(flat(params)), flat(adapters)
    for name in weights:
        module = lora.module_of(name)
        if f"{module}/{lora.A}" in factors:
            a, b = (factors[f"{module}/{f}"] for f in (lora.A, lora.B))
            weights[name] = lora.merge(np.asarray(weights[name]), a, b, SCALE)
    return traverse_util.unflatten_dict(weights, sep="/")


@pytest.fixture
def adapted(student):
    model, params = student
    return model, params, make_adapters(params)


BATCH = make_batch(make_examples())


@pytest.mark.slow
def test_adapters_give_the_logits_of_merged_weights(adapted):
    model, params, adapters = adapted
    together = complete(adapters, Frozen(params, SCALE))
    ours = forward(model, together, BATCH)
    expected = forward(model, merged(params, adapters), BATCH)
    assert np.abs(expected - forward(model, params, BATCH)).max() > 0.1
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


def assert_projected(adapters, ours, dense, tolerance):
    """Compares with dA = scale dW B^T and dB = scale A^T dW."""
    dense, factors, ours = flat(dense), flat(adapters), flat(ours)
    assert ours.keys() == factors.keys()
    for name, gradient in ours.items():
        module = lora.module_of(name)
        a, b = (factors[f"{module}/{f}"] for f in (lora.A, lora.B))
        kernel = np.asarray(dense[f"{module}/kernel"])
        expected = kernel @ b.T if name.endswith(lora.A) else a.T @ kernel
        expected = SCALE * expected
        error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
        assert error < tolerance, name


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 2])
def test_gradients_are_those_of_the_weights_projected(adapted, microbatches):
    model, params, adapters = adapted
    frozen = Frozen(params, SCALE)
    ours, _ = gradients(
        model, adapters, BATCH, 0.3, num_microbatches=microbatches, frozen=frozen
    )
    dense, _ = gradients(model, merged(params, adapters), BATCH, 0.3)
    assert_projected(adapters, ours, dense, 2e-5)


@pytest.mark.slow
def test_gradients_of_rounded_products_are_close(monkeypatch):
    model, params = make_student()
    adapters = make_adapters(params)
    dense, _ = gradients(model, merged(params, adapters), BATCH, 0.3)
    monkeypatch.setattr(T5Config, "types", BFLOAT16_PRODUCTS)
    ours, _ = jax.jit(
        lambda adapters: step.gradients(
            model, adapters, BATCH, 0.3, frozen=Frozen(params, SCALE)
        )
    )(adapters)
    # Each factor is rounded by at most 2 ** -9, in up to 30 products one after another.
    assert_projected(adapters, ours, dense, 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"scan": True}, {"remat": "dots"}])
def test_scanned_and_recomputed_layers_have_the_same_gradients(changes):
    model, params = make_student()
    adapters, frozen = make_adapters(params), Frozen(params, SCALE)
    expected, _ = gradients(model, adapters, BATCH, 0.3, frozen=frozen)
    changed, _ = make_student(**changes)
    ours, _ = gradients(changed, adapters, BATCH, 0.3, frozen=frozen)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
        expected,
        ours,
    )


@pytest.mark.slow
def test_dropout_of_adapters_is_for_training_only():
    model, params = make_student(lora_dropout=0.5)
    adapters, frozen = make_adapters(params), Frozen(params, SCALE)

    def loss(key):
        _, metrics = gradients(
            model, adapters, BATCH, 0.3, dropout_key=key, frozen=frozen
        )
        return float(metrics["loss"])

    assert loss(None) == loss(None)
    assert loss(jax.random.key(1)) != loss(jax.random.key(2))


def test_new_adapters_change_nothing():
    shapes = {"m/lora_a": (50, 4), "m/lora_b": (4, 6)}
    adapters = lora.init(shapes, jax.random.key(0))
    assert {name: a.shape for name, a in adapters.items()} == shapes
    assert not adapters["m/lora_b"].any()
    bound = 50**-0.5
    assert 0.9 * bound < float(np.abs(adapters["m/lora_a"]).max()) <= bound
