import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from dsbs_jax.student import decoding, layers, objective
from support.students import (
    VERSIONS,
    forward,
    gradients,
    make_batch,
    make_examples,
    make_packed,
    make_student,
)


def flat_shapes(params):
    flat = traverse_util.flatten_dict(params, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def test_parameters_have_t5x_names_and_shapes(t5x):
    lines = (t5x.folder / "parameters.txt").read_text().splitlines()
    expected = {
        name: tuple(int(n) for n in shape.strip("(),").split(",") if n)
        for name, shape in (line.split(" ", 1) for line in lines)
    }
    tokens = jnp.ones((1, 2), jnp.int32)
    model = t5x.model
    params = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)["params"]
    assert flat_shapes(nn.unbox(params)) == expected


@pytest.mark.parametrize("mode", ["padded", "packed"])
@pytest.mark.slow
def test_logits_loss_and_gradient_equal_those_of_t5x(t5x, mode):
    batch = {
        k.split("/")[1]: v for k, v in t5x.numbers.items() if k.startswith(f"{mode}/")
    }
    weights, targets = batch["decoder_loss_weights"], batch["decoder_target_tokens"]

    def loss(params):
        logits = forward(t5x.model, params, batch)
        nats = objective.token_cross_entropy(logits, targets)
        # T5X's z-loss, which this project's objective does not have.
        nats += 1e-4 * jnp.square(jax.nn.logsumexp(logits, axis=-1))
        return jnp.sum(weights * nats), logits

    (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(t5x.params)
    not_padding = targets > 0
    np.testing.assert_allclose(
        logits[not_padding], batch["logits"][not_padding], atol=2e-5
    )
    expected = batch["summed_loss_with_z_loss_1e-4"]
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    norm = optax.global_norm(grads)
    np.testing.assert_allclose(norm, batch["gradient_norm"], rtol=1e-5)


def test_logits_do_not_depend_on_later_targets(student):
    model, params = student
    batch = make_batch(make_examples(2))
    embedding = params["token_embedder"]["embedding"]

    def logits_at(position, decoder_inputs):
        changed = {**batch, "decoder_input_tokens": decoder_inputs}
        return forward(model, params, changed)[0, position]

    before = batch["decoder_input_tokens"].copy()
    for position in range(7):
        after = before.copy()
        after[0, position + 1 :] = (after[0, position + 1 :] + 5) % len(embedding)
        np.testing.assert_array_equal(
            logits_at(position, before), logits_at(position, after)
        )
        after = before.copy()
        after[0, position] = (after[0, position] + 5) % len(embedding)
        # The position's own input does change them.
        difference = logits_at(position, before) - logits_at(position, after)
        assert np.abs(difference).max() > 1e-4


@pytest.mark.slow
def test_logits_do_not_depend_on_padding_or_other_rows(student):
    model, params = student
    examples = make_examples(4)
    narrow, wide = make_batch(examples), make_batch(examples, source=30, target=20)
    logits = forward(model, params, narrow)
    padded = forward(model, params, wide)[:, : logits.shape[1]]
    alone = forward(model, params, {k: v[2:3] for k, v in narrow.items()})
    not_padding = narrow["decoder_target_tokens"] > 0
    np.testing.assert_allclose(padded[not_padding], logits[not_padding], atol=1e-5)
    row = not_padding[2]
    np.testing.assert_allclose(alone[0][row], logits[2][row], atol=1e-5)


@pytest.mark.slow
def test_packed_examples_have_the_logits_of_separate_rows(student):
    model, params = student
    examples = make_examples(4)
    separate = forward(model, params, make_batch(examples))
    pairs = list(zip(examples[::2], examples[1::2], strict=True))
    packed = forward(model, params, make_packed(pairs))
    for row, pair in enumerate(pairs):
        start = 0
        for number, (_, targets, _) in enumerate(pair):
            end = start + len(targets)
            expected = separate[2 * row + number, : len(targets)]
            np.testing.assert_allclose(packed[row, start:end], expected, atol=1e-5)
            start = end


def test_segment_ids_for_one_side_only_are_an_error():
    model, params = make_student()
    batch = make_packed([make_examples(2)])
    del batch["decoder_segment_ids"]
    with pytest.raises(ValueError, match="segment ids are given for one side only"):
        forward(model, params, batch)


@pytest.mark.slow
def test_bfloat16_activations_keep_float32_parameters_and_logits():
    model, params = make_student(precision="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    batch = make_batch(make_examples(2))
    bfloat16 = forward(model, params, batch)
    assert bfloat16.dtype == jnp.float32
    float32 = forward(make_student()[0], params, batch)
    assert 0 < np.abs(bfloat16 - float32).max() < 0.2


@pytest.mark.slow
def test_dropout_depends_on_its_key_only():
    model, params = make_student(dropout_rate=0.5)
    batch = make_batch(make_examples(2))
    args = batch["encoder_input_tokens"], batch["decoder_input_tokens"]

    def run(seed):
        key = {"dropout": jax.random.key(seed)}
        return model.apply({"params": params}, *args, deterministic=False, rngs=key)

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3


def assert_same_student(model, other, params, **options):
    """Checks that two models have the same losses, gradients and greedy answers."""
    batch = make_batch(make_examples())
    expected, actual = (
        gradients(m, params, batch, 0.5, **options) for m in (model, other)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        actual,
        expected,
    )
    inputs = batch["encoder_input_tokens"]
    tokens = [decoding.greedy(m, params, inputs, 5).tokens for m in (model, other)]
    np.testing.assert_array_equal(*tokens)


@pytest.mark.parametrize("version", sorted(VERSIONS))
@pytest.mark.parametrize("remat", ["dots", "offload", "full"])
@pytest.mark.slow
def test_remat_does_not_change_loss_and_gradients(version, remat):
    model, params = make_student(version, dropout_rate=0.2)
    other, same = make_student(version, dropout_rate=0.2, remat=remat)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    assert_same_student(model, other, params, dropout_key=jax.random.key(3))


@pytest.mark.parametrize("version", sorted(VERSIONS))
@pytest.mark.parametrize("remat", ["none", "dots", "offload", "full"])
@pytest.mark.slow
def test_scanned_layers_do_not_change_loss_and_gradients(version, remat):
    model, params = make_student(version)
    other, same = make_student(version, scan=True, remat=remat)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    assert_same_student(model, other, params)


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_remat_recomputes_more_products_the_less_it_stores(scan, precision):
    batch = make_batch(make_examples())

    def products(remat):
        model, params = make_student(
            "t5_1_1", scan=scan, remat=remat, precision=precision
        )
        step = jax.make_jaxpr(lambda p: gradients(model, p, batch, 0.5)[0])
        return str(step(params)).count("dot_general[")

    none, dots, full = map(products, ("none", "dots", "full"))
    assert none < dots < full
    assert products(False) == none
    assert products(True) == full


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_offloaded_products_are_in_the_memory_of_the_host(scan):
    batch = make_batch(make_examples())

    def copies_to_host(remat):
        model, params = make_student("t5_1_1", scan=scan, remat=remat)
        step = jax.make_jaxpr(lambda p: gradients(model, p, batch, 0.5)[0])
        return str(step(params)).lower().count("host")

    assert copies_to_host("offload") > copies_to_host("dots") == 0


@pytest.mark.slow
def test_dropout_of_scanned_layers_depends_on_its_key():
    model, params = make_student("t5_1_1", dropout_rate=0.5, scan=True)
    batch = make_batch(make_examples())
    losses = [
        float(gradients(model, params, batch, 0.5, dropout_key=key)[1]["loss"])
        for key in (jax.random.key(0), jax.random.key(1), jax.random.key(0))
    ]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]
    jaxpr = jax.make_jaxpr(
        lambda p: gradients(model, p, batch, 0.5, dropout_key=jax.random.key(0))[0]
    )(params)
    assert " scan[" in str(jaxpr)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.slow
def test_relative_buckets_equal_their_definition(bidirectional):
    """Half of a direction's buckets are exact, the others grow logarithmically."""

    def bucket(distance):
        if bidirectional:
            buckets, offset = 16, 16 if distance < 0 else 0
            distance = abs(distance)
        else:
            buckets, offset = 32, 0
            distance = max(distance, 0)
        exact = buckets // 2
        if distance < exact:
            return offset + distance
        ratio = math.log(distance / exact) / math.log(128 / exact)
        return offset + min(exact + int(ratio * (buckets - exact)), buckets - 1)

    distance = np.arange(200)[:, None] - np.arange(200)
    table = layers.relative_buckets(distance, bidirectional, 32, 128)
    for query, key in np.random.default_rng(0).integers(0, 200, (2000, 2)):
        assert table[query, key] == bucket(int(query - key)), (query, key)
