"""Optimizers that use the learning rate of T5X's trainer, which is the logged one.

T5X's wrapped optax optimizers have their own schedule and step count and ignore the
trainer's learning rate, which T5X nevertheless logs. Here the trainer's schedule is the
only one. T5X's Adafactor uses the trainer's learning rate already.
"""

from typing import Any

import jax
import optax
from t5x import adafactor as t5x_adafactor
from t5x import optimizers

from dsbs_jax.errors import UserError


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


def make_optimizer(
    name: str,
    *,
    b1: float,
    b2: float,
    eps: float,
    lion_b1: float,
    lion_b2: float,
    weight_decay: float,
    clip_norm: float,
    decay_rate: float,
) -> optimizers.OptimizerDef:
    """Returns the optimizer that OPTIMIZER names.

    Args:
        name: "adamw", "lion" or "adafactor".
        b1: See `adamw`.
        b2: See `adamw`.
        eps: See `adamw`.
        lion_b1: See `lion`.
        lion_b2: See `lion`.
        weight_decay: See `adamw` and `lion`.
        clip_norm: See `adamw` and `lion`.
        decay_rate: See `adafactor`.

    Raises:
        UserError: There is no optimizer of this name.
    """
    if name == "adamw":
        return adamw(b1, b2, eps, weight_decay, clip_norm)
    if name == "lion":
        return lion(lion_b1, lion_b2, weight_decay, clip_norm)
    if name == "adafactor":
        return adafactor(decay_rate)
    raise UserError(f"OPTIMIZER is {name!r}, expected 'adamw' or 'adafactor' or 'lion'")


def adamw(
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
) -> TrainerScheduled:
    """Returns AdamW after clipping by the global norm, as in the local engine.

    Args:
        b1: Decay of the mean of gradients.
        b2: Decay of the mean of squared gradients.
        eps: Added to the denominator.
        weight_decay: Weight decay, scaled by the learning rate.
        clip_norm: Largest global norm of the gradients.
    """
    return TrainerScheduled(
        optax.chain(
            optax.clip_by_global_norm(clip_norm),
            optax.adamw(1.0, b1, b2, eps, weight_decay=weight_decay),
        )
    )


def lion(
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
) -> TrainerScheduled:
    """Returns Lion after clipping by the global norm, as in the local engine.

    Args:
        b1: Weight of the mean of gradients in an update's sign.
        b2: Decay of the mean of gradients.
        weight_decay: Weight decay, scaled by the learning rate.
        clip_norm: Largest global norm of the gradients.
    """
    return TrainerScheduled(
        optax.chain(
            optax.clip_by_global_norm(clip_norm),
            optax.lion(1.0, b1, b2, weight_decay=weight_decay),
        )
    )


def adafactor(decay_rate: float = 0.8) -> t5x_adafactor.Adafactor:
    """Returns T5X's Adafactor with the settings of T5's finetuning.

    T5X's rules state by the name of each parameter axis which axes are factored.

    Args:
        decay_rate: Exponent of the decay of second moments.
    """
    return t5x_adafactor.Adafactor(
        decay_rate=decay_rate,
        step_offset=0,
        logical_factor_rules=t5x_adafactor.standard_logical_factor_rules(),
    )
