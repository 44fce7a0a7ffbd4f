"""Optimisers that use the learning rate of T5X's trainer, which is the one it logs.

T5X's own optax optimisers have a schedule of their own, over a count of their own, and
leave the trainer's aside. Here the trainer's is the only one. T5X's Adafactor uses it
already.
"""

from typing import Any

import jax
import optax
from t5x import optimizers


class TrainerScheduled(optimizers.OptaxWrapper):
    """An optax optimiser for a learning rate of 1, scaled by the trainer's."""

    def apply_gradient(
        self, hyper_params: Any, params: Any, state: Any, grads: Any
    ) -> tuple[Any, optimizers.OptimizerState]:
        """One update; see the base class."""
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
    """AdamW after clipping by the global norm, as the local engine's."""
    return TrainerScheduled(
        optax.chain(
            optax.clip_by_global_norm(clip_norm),
            optax.adamw(1.0, b1, b2, eps, weight_decay=weight_decay),
        )
    )
