import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student import attention, decoding
from support.students import (
    assert_same_gradients,
    forward,
    gradients,
    make_batch,
    make_examples,
    make_packed,
    make_student,
)


def make(rows=2, heads=3, queries=7, keys=7, width=4):
    """Returns queries, keys, values, and a term of each shape that a bias has."""
    rng = np.random.default_rng(queries)
    shapes = [
        (rows, heads, queries, width),
        (rows, heads, keys, width),
        (rows, heads, keys, width),
        (1, heads, queries, keys),
        (rows, 1, queries, keys),
        (rows, 1, 1, keys),
    ]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def loss_and_gradients(function, arrays, **settings):
    # Weights of the sum, so that each result has its own gradient.
    rows, heads, queries, width = arrays[0].shape
    shape = (rows, queries, heads, width)
    factors = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    def loss(queries, keys, values, *bias):
        result = function(queries, keys, values, bias, **settings)
        assert result.shape == shape
        return jnp.sum(result * factors), result

    return jax.value_and_grad(loss, tuple(range(len(arrays))), has_aux=True)(*arrays)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (6, 11), (1, 3)])
def test_parts_equal_all_queries(queries, keys, size):
    arrays = make(queries=queries, keys=keys)
    (_, expected), expected_gradients = loss_and_gradients(attention.attend, arrays)
    (_, result), in_parts = loss_and_gradients(
        attention.attend_in_parts, arrays, size=size
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    for left, right in zip(in_parts, expected_gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_weights_of_all_queries_are_never_in_memory():
    arrays = make(rows=2, heads=3, queries=24, keys=24)[:3]

    def gradient_text(function, **settings):
        step = jax.jit(lambda *a: loss_and_gradients(function, list(a), **settings))
        return step.lower(*arrays).compile().as_text()

    assert "[2,3,24,24]" in gradient_text(attention.attend)
    in_parts = gradient_text(attention.attend_in_parts, size=8)
    assert "[2,3,8,24]" in in_parts
    # One array, or the stacked parts.
    for shape in ("[2,3,24,24]", "[3,2,3,8,24]", "[6,24,24]"):
        assert shape not in in_parts


@pytest.mark.parametrize(
    ("version", "pack", "layers"),
    [
        ("t5_1_1", True, {}),
        ("umt5", False, {}),
        ("t5_1_1", False, {"scan": True, "remat": "full"}),
    ],
)
@pytest.mark.slow
def test_a_student_has_the_same_loss_gradients_and_answers(version, pack, layers):
    # Scanned layers have dropout keys of their own.
    dropout = {"dropout_rate": 0.0 if layers else 0.2}
    model, params = make_student(version, **dropout)
    other, _ = make_student(version, **dropout, **layers, attention_queries=2)
    examples = make_examples(4)
    batch = make_packed([examples[:2], examples[2:]]) if pack else make_batch(examples)
    key = jax.random.key(3)
    (expected, metrics), (result, other_metrics) = (
        gradients(one, params, batch, 0.5, dropout_key=key) for one in (model, other)
    )
    np.testing.assert_allclose(other_metrics["loss"], metrics["loss"], rtol=1e-6)
    assert_same_gradients(result, expected, 1e-5)
    logits = [forward(one, params, batch) for one in (model, other)]
    np.testing.assert_allclose(*logits, atol=1e-5)
    inputs = make_batch(examples)["encoder_input_tokens"]
    tokens = [decoding.greedy(one, params, inputs, 5).tokens for one in (model, other)]
    np.testing.assert_array_equal(*tokens)
