"""Tests of the cross-entropy between pooled distributions."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from dsbs_jax.student import mutual_information
from dsbs_jax.task_ids import LABEL, ONE, RATIONALE, TASK_BITS

IDS = np.array(
    [
        [LABEL, LABEL, RATIONALE, RATIONALE, RATIONALE, 0],
        [LABEL, RATIONALE, 0, 0, 0, 0],
        # A row of one task is not a pair.
        [LABEL, LABEL, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)
LOGITS = np.random.default_rng(0).normal(size=(*IDS.shape, 7)).astype(np.float32)


def expected_cross_entropy(logits, ids):
    total = 0.0
    for row, tasks in zip(special.softmax(logits.astype(float), -1), ids, strict=True):
        pooled = []
        for task in (LABEL, RATIONALE):
            if (tasks == task).any():
                largest = row[tasks == task].max(axis=0)
                pooled.append(largest / largest.sum())
        if len(pooled) == 2:
            total -= (pooled[0] * np.log(pooled[1])).sum()
    return total


def test_cross_entropy_is_that_of_the_formula():
    found = mutual_information.pooled_cross_entropy(jnp.array(LOGITS), jnp.array(IDS))
    np.testing.assert_allclose(found, expected_cross_entropy(LOGITS, IDS), rtol=1e-5)
    assert mutual_information.pair_count(jnp.array(IDS)) == 2.0
    assert mutual_information.pair_count(jnp.array(IDS[2:])) == 1.0


def test_label_has_no_gradient_and_all_gradients_are_finite():
    gradient = jax.grad(mutual_information.pooled_cross_entropy)
    grads = np.asarray(gradient(jnp.array(LOGITS), jnp.array(IDS)))
    assert np.isfinite(grads).all()
    assert not grads[(IDS != RATIONALE)].any()
    assert np.abs(grads[:2][IDS[:2] == RATIONALE]).sum() > 0


def test_weights_of_examples_do_not_change_the_pairs():
    weighted = np.where(IDS == RATIONALE, RATIONALE + (ONE // 2 << TASK_BITS), IDS)
    both = [
        mutual_information.pooled_cross_entropy(jnp.array(LOGITS), jnp.array(ids))
        for ids in (IDS, weighted)
    ]
    assert both[0] == both[1]
