"""The two-task objective of distilling step-by-step.

    loss = alpha * mean(label tokens) + (1 - alpha) * mean(rationale tokens)

Each mean is over the target tokens of that task in the complete batch, as in the
released code (`alpha * L_label + (1 - alpha) * L_rationale`) and, up to a factor, in
the paper's equation 3. A sum or a mean over all tokens is a different objective:
rationales have many more tokens than labels.

An example may have a weight, which `task_ids` describes. The means are then weighted:
sum(weight * nats) / sum(weight).
"""

import jax
import jax.numpy as jnp

from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL, ONE, RATIONALE, TASK_BITS


def check_alpha(alpha: float) -> None:
    """Checks the weight of the label task.

    Raises:
        UserError: The weight is not in 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"ALPHA is {alpha}, expected 0 to 1")


def token_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes the negative log-likelihood of each target token.

    Args:
        logits: Float32 [B, T, V].
        targets: Int32 [B, T].

    Returns:
        float32 [B, T], in nats. Padding positions are not masked.
    """
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def tasks_and_weights(task_ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits ids into tasks, int32, and weights, float32; both of the ids' shape."""
    units = task_ids >> TASK_BITS
    weights = jnp.where(units == 0, 1.0, units.astype(jnp.float32) / ONE)
    return task_ids & (2**TASK_BITS - 1), weights


def task_token_counts(task_ids: jax.Array) -> jax.Array:
    """Sums the weights of the target tokens of the label and of the rationale task.

    Args:
        task_ids: Int32 [B, T], 0 is padding.

    Returns:
        float32 [2]; the numbers of tokens, if all weights are 1.
    """
    tasks, weights = tasks_and_weights(task_ids)
    return jnp.stack(
        [jnp.sum(jnp.where(tasks == task, weights, 0.0)) for task in (LABEL, RATIONALE)]
    )


def token_weights(
    task_ids: jax.Array, alpha: float | jax.Array, token_counts: jax.Array
) -> jax.Array:
    """Computes the weight of each target token in the objective.

    Args:
        task_ids: Int32 [B, T], 0 is padding.
        alpha: Weight of the label task, 0 to 1.
        token_counts: Float32 [2], `task_token_counts` of the complete batch.

    Returns:
        float32 [B, T]: alpha / label tokens, (1 - alpha) / rationale tokens, or 0; for
        an example with a weight, this times its weight.
    """
    tasks, weights = tasks_and_weights(task_ids)
    label, rationale = jnp.array([alpha, 1.0 - alpha]) / _divisors(token_counts)
    return weights * jnp.where(
        tasks == LABEL, label, jnp.where(tasks == RATIONALE, rationale, 0.0)
    )


def task_losses(
    nats: jax.Array, task_ids: jax.Array, token_counts: jax.Array
) -> dict[str, jax.Array]:
    """Computes the loss of each task for a batch, or the contribution of a part of it.

    Args:
        nats: The negative log-likelihood of each target token, float32 [B, T].
        task_ids: Int32 [B, T], 0 is padding.
        token_counts: Float32 [2], `task_token_counts` of the complete batch.

    Returns:
        Metrics that add up over the parts of a batch: "label_loss" and "rationale_loss"
        in nats per token, "label_tokens" and "rationale_tokens", sums of weights.
    """
    tasks, weights = tasks_and_weights(task_ids)
    label, rationale = (
        jnp.sum(jnp.where(tasks == task, weights * nats, 0.0)) / divisor
        for task, divisor in zip(
            (LABEL, RATIONALE), _divisors(token_counts), strict=True
        )
    )
    label_tokens, rationale_tokens = task_token_counts(task_ids)
    return {
        "label_loss": label,
        "rationale_loss": rationale,
        "label_tokens": label_tokens,
        "rationale_tokens": rationale_tokens,
    }


def _divisors(token_counts: jax.Array) -> jax.Array:
    # A task without a token contributes 0 / 1 instead of NaN.
    return jnp.where(token_counts > 0.0, token_counts, 1.0)


def distillation_loss(
    logits: jax.Array,
    targets: jax.Array,
    task_ids: jax.Array,
    alpha: float | jax.Array,
    token_counts: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the objective of a batch, or the contribution of a part of a batch.

    With `token_counts`, each part divides by the token counts of the complete batch, so
    the losses and gradients of all parts (microbatches, devices) add up to those of the
    batch. A task without a token contributes 0. The batch may be padded or packed.

    Args:
        logits: Float32 [B, T, V].
        targets: Int32 [B, T].
        task_ids: Int32 [B, T], the task of each target token; 0 is padding.
        alpha: Weight of the label task, 0 to 1.
        token_counts: Float32 [2], `task_token_counts` of the complete batch; only for
            a part of a batch.

    Returns:
        The loss, float32 scalar, and metrics that add up over the parts too: "loss",
        "label_loss" and "rationale_loss" in nats per token, "label_tokens" and
        "rationale_tokens".
    """
    if token_counts is None:
        token_counts = task_token_counts(task_ids)
    nats = token_cross_entropy(logits, targets)
    metrics = task_losses(nats, task_ids, token_counts)
    loss = alpha * metrics["label_loss"] + (1.0 - alpha) * metrics["rationale_loss"]
    return loss, {"loss": loss, **metrics}
