"""The weight of the label loss as a function of the step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsbs_jax.local.config import LoopConfig

# Updates done -> alpha, float32 scalar.
AlphaSchedule = Callable[[jax.Array], jax.Array]


def make_alpha(config: LoopConfig) -> float | AlphaSchedule:
    """Returns ALPHA, or a function of the number of updates done.

    With t = updates / TRAIN_STEPS, which is 0 at the first update:

        linear: ALPHA + (ALPHA_END - ALPHA) * t
        cosine: ALPHA + (ALPHA_END - ALPHA) * (1 - cos(pi * t)) / 2

    Args:
        config: The schedule, both values and the steps of the run.
    """
    start, end, steps = config.alpha, config.alpha_end, config.train_steps
    if config.alpha_schedule == "constant" or end is None:
        return start

    def alpha(updates: jax.Array) -> jax.Array:
        done = jnp.minimum(updates / steps, 1.0)
        if config.alpha_schedule == "cosine":
            done = (1.0 - jnp.cos(math.pi * done)) / 2.0
        return start + (end - start) * done

    return alpha
