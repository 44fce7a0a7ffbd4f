import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student import cross_entropy, objective
from dsbs_jax.student.precision import ComputeTypes
from support.students import BFLOAT16_PRODUCTS

FLOAT32 = ComputeTypes("float32", "float32", "float32")


def make(rows=3, positions=11, width=16, vocab_size=53, scale=1.0):
    rng = np.random.default_rng(rows + positions)
    x = jnp.asarray(rng.normal(size=(rows, positions, width)) * scale, jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(width, vocab_size)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, vocab_size, (rows, positions)), jnp.int32)
    weights = rng.random((rows, positions)) * (rng.random((rows, positions)) > 0.3)
    return x, kernel, targets, jnp.asarray(weights, jnp.float32)


def with_all_logits(x, kernel, targets, weights):
    nats = objective.token_cross_entropy(x @ kernel, targets)
    return jnp.sum(nats * weights), nats


@functools.partial(jax.jit, static_argnames=("types", "parts"))
def in_parts(x, kernel, targets, weights, types=FLOAT32, parts=1):
    return cross_entropy.weighted_cross_entropy(
        x, kernel, targets, weights, types, parts
    )


def gradients(function, arrays, factor=1.0, **settings):
    def loss(x, kernel, weights):
        total, nats = function(x, kernel, arrays[2], weights, **settings)
        return factor * total, nats

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
        arrays[0], arrays[1], arrays[3]
    )


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 11])
@pytest.mark.parametrize(("rows", "positions"), [(3, 11), (1, 1), (5, 8), (2, 13)])
def test_loss_and_gradients_are_those_of_all_logits(rows, positions, parts):
    arrays = make(rows, positions)
    (expected, expected_nats), expected_gradients = gradients(with_all_logits, arrays)
    (found, nats), found_gradients = gradients(
        in_parts, arrays, parts=min(parts, positions)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(nats, expected_nats, rtol=1e-5, atol=1e-6)
    for left, right in zip(found_gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_value_without_gradients_is_the_same():
    arrays = make()
    for parts in (1, 3):
        total, nats = in_parts(*arrays, parts=parts)
        (expected, expected_nats), _ = gradients(in_parts, arrays, parts=parts)
        np.testing.assert_allclose(total, expected, rtol=1e-6)
        np.testing.assert_allclose(nats, expected_nats, rtol=1e-6)


def test_gradients_scale_with_the_gradient_of_the_sum():
    arrays = make()
    _, one = gradients(in_parts, arrays, parts=2)
    _, three = gradients(in_parts, arrays, factor=3.0, parts=2)
    for left, right in zip(three, one, strict=True):
        np.testing.assert_allclose(left, 3 * right, rtol=1e-6)


def test_tokens_without_weight_have_no_gradient():
    x, kernel, targets, _ = make()
    weights = jnp.zeros(targets.shape)
    _, (x_gradient, kernel_gradient, _) = gradients(
        in_parts, (x, kernel, targets, weights), parts=2
    )
    assert not x_gradient.any()
    assert not kernel_gradient.any()


@pytest.mark.parametrize("types", [FLOAT32, BFLOAT16_PRODUCTS])
@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_large_and_small_activations_are_finite(types, scale):
    arrays = make(scale=scale)
    (total, nats), found = gradients(in_parts, arrays, types=types, parts=2)
    assert np.isfinite(total)
    assert np.isfinite(nats).all()
    assert all(np.isfinite(gradient).all() for gradient in found)


def test_mixed_gradients_are_close_to_float32():
    arrays = make(8, 16, 32, 211)
    (expected, _), exact = gradients(in_parts, arrays, parts=2)
    (found, _), close = gradients(in_parts, arrays, types=BFLOAT16_PRODUCTS, parts=2)
    np.testing.assert_allclose(found, expected, rtol=5e-3)
    for left, right in zip(close, exact, strict=True):
        error = jnp.linalg.norm(left - right) / jnp.linalg.norm(right)
        assert error < 0.02


def test_logits_of_all_positions_are_never_in_memory():
    arrays = make(4, 12, 16, 301)

    def gradient_text(parts):
        step = jax.jit(lambda *a: gradients(in_parts, a, parts=parts))
        return step.lower(*arrays).compile().as_text()

    # 4 rows of 12 positions, and a third of it.
    assert "[48,301]" in gradient_text(1)
    for shape in ("[48,301]", "[4,12,301]", "[12,4,301]"):
        assert shape not in gradient_text(3)
    assert "[16,301]" in gradient_text(3)


@pytest.mark.parametrize(
    ("rows", "positions", "vocab_size", "expected"),
    [
        (8, 80, 32_128, 2),
        (16, 64, 32_128, 2),
        (1, 1, 1000, 1),
        (10_000, 7, 250_000, 7),
        (32, 96, 512, 1),
    ],
)
def test_number_of_parts_follows_from_the_memory(rows, positions, vocab_size, expected):
    parts = cross_entropy.num_parts(rows, positions, vocab_size)
    assert parts == expected
    longest = -(-positions // parts)
    if longest > 1:
        assert 4 * rows * longest * vocab_size <= cross_entropy.LOGIT_BYTES
