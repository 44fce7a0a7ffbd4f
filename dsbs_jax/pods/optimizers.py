"""Optimizers that use the learning rate of T5X's trainer, which is the logged one.

T5X's wrapped optax optimizers have their own schedule and step count and ignore the
trainer's learning rate, which T5X nevertheless logs. Here the trainer's schedule is the
only one. T5X's Adafactor uses the trainer's learning rate already.
"""

from typing import Any

import jax
import optax
from t5x import optimizers


class TrainerScheduled(optimizers.OptaxWrapper):
    """An optax optimizer with learning rate 1, scaled by the trainer's rate."""

    def apply_gradient(
        self, hyper_params: Any, params: Any, state: Any, grads: Any
    ) -> tuple[Any, optimizers.OptimizerState]:
        """Applies one update; see the base class."""
        updates, inner = self.optax_optimizer.update(grads, state.param_states, params)
        updates = jax.tree.map(lambda u: hyper_params.learning_rate * u, updates)
        return optax.apply_updates(params, updates), optimizers.OptimizerState(
            step=state.step + 1, param_states=inner
        )


def adamw(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
) -> TrainerScheduled:
    """Returns AdamW after clipping by the global norm, as in the local engine."""
    return TrainerScheduled(
        optax.chain(
            optax.clip_by_global_norm(clip_norm),
            optax.adamw(1.0, b1, b2, eps, weight_decay=weight_decay),
        )
    )
