"""Cross-entropy between what a student predicts and how it explains it.

The mutual information of the label task and the rationale task of an input is maximized
by the cross-entropy between the distributions of tokens of both (Chen et al. 2024,
arXiv 2403.03348). A row is a pair: it has the tokens of both tasks.
"""

import jax
import jax.numpy as jnp

from dsbs_jax.student.objective import tasks_and_weights
from dsbs_jax.task_ids import LABEL, RATIONALE

# Logarithm of the probability of tokens at positions of other tasks; finite, so that
# the gradients of rows without such a position are finite.
_NEVER = -1e9


def pair_count(task_ids: jax.Array) -> jax.Array:
    """Counts the rows with tokens of both tasks; at least 1, because it is a divisor.

    Args:
        task_ids: Int32 [B, T], the task of each target token; 0 is padding.

    Returns:
        float32 scalar.
    """
    return jnp.maximum(1.0, jnp.sum(_is_pair(task_ids), dtype=jnp.float32))


def pooled_cross_entropy(logits: jax.Array, task_ids: jax.Array) -> jax.Array:
    """Sums the cross-entropy between the pooled distributions of each pair.

    The probability of a token in a pooled distribution is proportional to its largest
    probability at any position of the task:

        p(v) = max over t of p_t(v), divided by the sum over v
        cross-entropy = - sum over v of p_label(v) * log p_rationale(v)

    The distribution of the label is a target and has no gradient, as in the authors'
    code.

    Args:
        logits: Float32 [B, T, V].
        task_ids: Int32 [B, T], the task of each target token; 0 is padding.

    Returns:
        float32 scalar, in nats; rows without tokens of both tasks add 0.
    """
    tasks, _ = tasks_and_weights(task_ids)
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)

    def pool(task: int) -> jax.Array:
        here = (tasks == task)[..., None]
        largest = jnp.max(jnp.where(here, log_probabilities, _NEVER), axis=1)
        return jax.nn.log_softmax(largest, axis=-1)

    target = jax.lax.stop_gradient(jnp.exp(pool(LABEL)))
    nats = -jnp.sum(target * pool(RATIONALE), axis=-1)
    return jnp.sum(jnp.where(_is_pair(task_ids), nats, 0.0))


def _is_pair(task_ids: jax.Array) -> jax.Array:
    """Returns whether a row has tokens of both tasks, bool [B]."""
    tasks, _ = tasks_and_weights(task_ids)
    return jnp.any(tasks == LABEL, axis=1) & jnp.any(tasks == RATIONALE, axis=1)
