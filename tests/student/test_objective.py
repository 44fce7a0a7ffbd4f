import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student import objective
from dsbs_jax.task_ids import CONTEXT, LABEL, ONE, RATIONALE, TASK_BITS
from support.students import (
    assert_same_gradients,
    forward,
    gradients,
    make_batch,
    make_examples,
    make_packed,
)


def mean_loss_gradient(model, params, examples):
    """Computes the gradient of the mean over all target tokens of these rows."""
    batch = make_batch(examples)
    targets = batch["decoder_target_tokens"]

    def loss(params):
        nats = objective.token_cross_entropy(forward(model, params, batch), targets)
        return jnp.sum(jnp.where(targets > 0, nats, 0)) / jnp.sum(targets > 0)

    return jax.jit(jax.grad(loss))(params)


@pytest.mark.parametrize(("alpha", "task"), [(1.0, 1), (0.0, 2)])
@pytest.mark.slow
def test_alpha_0_and_1_give_the_gradient_of_one_task_alone(student, alpha, task):
    model, params = student
    examples = make_examples()
    grads, _ = gradients(model, params, make_batch(examples), alpha)
    alone = [example for example in examples if example[2] == task]
    assert_same_gradients(grads, mean_loss_gradient(model, params, alone))


@pytest.mark.slow
def test_gradient_is_the_weighted_sum_of_both_tasks(student):
    model, params = student
    batch = make_batch(make_examples())
    mixed, label, rationale = (
        gradients(model, params, batch, alpha)[0] for alpha in (0.3, 1.0, 0.0)
    )
    expected = jax.tree.map(lambda a, b: 0.3 * a + 0.7 * b, label, rationale)
    assert_same_gradients(mixed, expected)


def test_weight_multiplies_a_token_in_the_mean_of_its_task():
    half = RATIONALE + (ONE // 2 << TASK_BITS)
    ids = jnp.array([[LABEL, RATIONALE, half, 0]])
    nats = jnp.array([[8.0, 3.0, 6.0, 100.0]])
    counts = objective.task_token_counts(ids)
    np.testing.assert_array_equal(counts, [1.0, 1.5])
    losses = objective.task_losses(nats, ids, counts)
    assert losses["label_loss"] == 8.0
    assert losses["rationale_loss"] == (3.0 + 0.5 * 6.0) / 1.5
    weights = objective.token_weights(ids, 0.25, counts)
    expected = 0.25 * losses["label_loss"] + 0.75 * losses["rationale_loss"]
    np.testing.assert_allclose(jnp.sum(weights * nats), expected, rtol=1e-6)


def test_context_has_no_loss():
    ids = jnp.array([[CONTEXT, CONTEXT, RATIONALE, LABEL]])
    nats = jnp.array([[100.0, 100.0, 3.0, 8.0]])
    counts = objective.task_token_counts(ids)
    np.testing.assert_array_equal(counts, [1.0, 1.0])
    losses = objective.task_losses(nats, ids, counts)
    assert (losses["label_loss"], losses["rationale_loss"]) == (8.0, 3.0)
    np.testing.assert_allclose(
        objective.token_weights(ids, 0.25, counts), [[0.0, 0.0, 0.75, 0.25]]
    )


def test_mean_of_equal_weights_is_that_of_weight_1():
    plain = jnp.array([[RATIONALE, RATIONALE]])
    nats = jnp.array([[3.0, 6.0]])
    for ids in (plain, plain + (ONE // 4 << TASK_BITS)):
        counts = objective.task_token_counts(ids)
        assert objective.task_losses(nats, ids, counts)["rationale_loss"] == 4.5


@pytest.mark.slow
def test_packed_batch_has_the_losses_and_gradients_of_the_unpacked(student):
    model, params = student
    examples = make_examples()
    pairs = list(zip(examples[::2], examples[1::2], strict=True))
    packed = gradients(model, params, make_packed(pairs), 0.5)
    unpacked = gradients(model, params, make_batch(examples), 0.5)
    for name in unpacked[1]:
        np.testing.assert_allclose(packed[1][name], unpacked[1][name], rtol=1e-5)
    assert_same_gradients(packed[0], unpacked[0], tolerance=1e-5)


@pytest.mark.slow
def test_task_without_tokens_contributes_nothing(student):
    model, params = student
    labels = [example for example in make_examples() if example[2] == 1]
    grads, metrics = gradients(model, params, make_batch(labels), 0.5)
    assert metrics["rationale_loss"] == metrics["rationale_tokens"] == 0
    assert metrics["loss"] == 0.5 * metrics["label_loss"]
    half = jax.tree.map(
        lambda leaf: leaf / 2, mean_loss_gradient(model, params, labels)
    )
    assert_same_gradients(grads, half)
    _, metrics = gradients(model, params, make_batch([([2], [0], 0)]), 0.5)
    assert all(value == 0 for value in metrics.values())


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.slow
def test_microbatches_add_up_to_the_batch(student, parts):
    model, params = student
    # The parts have different numbers of tokens, so the mean of their means is wrong.
    examples = make_examples(4) + make_examples(8, seed=1)[::2]
    batch = make_batch(examples)
    complete = gradients(model, params, batch, 0.5)
    split = gradients(model, params, batch, 0.5, num_microbatches=parts)
    for name in complete[1]:
        np.testing.assert_allclose(split[1][name], complete[1][name], rtol=1e-5)
    assert_same_gradients(split[0], complete[0], tolerance=1e-5)


@pytest.mark.slow
def test_worked_example():
    """Equal logits: each of the two label tokens and the rationale token has log(V)."""
    targets = jnp.asarray([[3, 1, 0], [2, 0, 0]])
    task_ids = jnp.asarray([[1, 1, 0], [2, 0, 0]])
    loss, metrics = objective.distillation_loss(
        jnp.zeros((2, 3, 8)), targets, task_ids, alpha=0.25
    )
    np.testing.assert_allclose(loss, np.log(8), rtol=1e-6)
    assert metrics["label_tokens"] == 2 and metrics["rationale_tokens"] == 1
