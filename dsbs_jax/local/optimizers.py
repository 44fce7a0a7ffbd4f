"""Optimisers and learning-rate schedules, as gin binds them."""

import optax

from dsbs_jax.errors import UserError


def linear_decay(
    learning_rate: float, total_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """A linear warm-up from 0, then a linear decay to 0 at `total_steps`.

    Without warm-up this is the schedule of the released code.

    Args:
        learning_rate: The peak.
        total_steps: Steps of the whole run.
        warmup_steps: Steps until the peak.

    Raises:
        UserError: The warm-up is longer than the run.
    """
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(
            f"warmup_steps is {warmup_steps}, expected 0 to total_steps, {total_steps}"
        )
    decay = optax.linear_schedule(learning_rate, 0.0, total_steps - warmup_steps)
    if not warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])


def adamw(
    schedule: optax.Schedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm: the released code's optimiser."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, b1, b2, eps, weight_decay=weight_decay),
    )


def adafactor(
    schedule: optax.Schedule, decay_rate: float = 0.8
) -> optax.GradientTransformation:
    """Adafactor (Shazeer & Stern 2018) with T5's settings for finetuning."""
    return optax.adafactor(schedule, decay_rate=decay_rate)
