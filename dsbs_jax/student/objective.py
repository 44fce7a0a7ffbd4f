"""The two-task objective of distilling step-by-step.

    alpha * mean(label tokens) + (1 - alpha) * mean(rationale tokens)

Each mean is over that task's own target tokens in the whole batch (the released code's
`alpha * L_label + (1 - alpha) * L_rationale`; paper, equation 3, up to a factor). A
loss summed or averaged over all tokens is another one: rationales have many more
tokens than labels.
"""

import jax
import jax.numpy as jnp

from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL, RATIONALE


def check_alpha(alpha: float) -> None:
    """Checks the weight of the label task.

    Raises:
        UserError: The weight is outside 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"ALPHA is {alpha}, expected 0 to 1")


def token_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log-likelihood of each target token.

    Args:
        logits: Float32 [B, T, V].
        targets: Int32 [B, T].

    Returns:
        float32 [B, T], in nats; padding positions hold a number too.
    """
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def task_token_counts(task_ids: jax.Array) -> jax.Array:
    """Target tokens of the label and the rationale task.

    Args:
        task_ids: Int32 [B, T], 0 is padding.

    Returns:
        float32 [2].
    """
    return jnp.stack(
        [jnp.sum(task_ids == task, dtype=jnp.float32) for task in (LABEL, RATIONALE)]
    )


def distillation_loss(
    logits: jax.Array,
    targets: jax.Array,
    task_ids: jax.Array,
    alpha: float,
    token_counts: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The objective of a batch, or the share of a part of it.

    A task without a token contributes 0. Right for packed and padded batches alike.

    Args:
        logits: Float32 [B, T, V].
        targets: Int32 [B, T].
        task_ids: Int32 [B, T], 0 is padding.
        alpha: Weight of the label task, 0 to 1.
        token_counts: Float32 [2], the tokens of each task in the whole batch where this
            is a part of it; the parts' losses then add up to the whole's.

    Returns:
        The loss, a scalar, and metrics that add up over the parts likewise: "loss",
        "label_loss" and "rationale_loss" (nats a token), "label_tokens" and
        "rationale_tokens".
    """
    here = task_token_counts(task_ids)
    counts = jnp.maximum(here if token_counts is None else token_counts, 1.0)
    nats = token_cross_entropy(logits, targets)
    label, rationale = (
        jnp.sum(jnp.where(task_ids == task, nats, 0.0)) / count
        for task, count in zip((LABEL, RATIONALE), counts, strict=True)
    )
    loss = alpha * label + (1.0 - alpha) * rationale
    return loss, {
        "loss": loss,
        "label_loss": label,
        "rationale_loss": rationale,
        "label_tokens": here[0],
        "rationale_tokens": here[1],
    }
