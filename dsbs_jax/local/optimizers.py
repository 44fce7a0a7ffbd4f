"""Optimizers and learning-rate schedules of the local engine."""

from typing import Any

import jax
import optax
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.local.config import OptimizerConfig
from dsbs_jax.student import stacked_layers


def make_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates done.

    Args:
        config: Schedule, peak and warmup.
        total_steps: Updates of the run, at which a decaying schedule reaches 0.

    Raises:
        UserError: The warmup is longer than the run, or leaves no step for the cosine.
    """
    longest = total_steps - (config.schedule == "cosine")
    if config.warmup_steps > longest:
        raise UserError(
            f"WARMUP_STEPS is {config.warmup_steps}, expected 0 to {longest}, because "
            f"TRAIN_STEPS is {total_steps} and SCHEDULE is {config.schedule!r}"
        )
    if config.schedule == "linear":
        return linear_decay(config.learning_rate, total_steps, config.warmup_steps)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=config.learning_rate,
            warmup_steps=config.warmup_steps,
            decay_steps=total_steps,
        )
    return _after_warmup(
        optax.constant_schedule(config.learning_rate),
        config.learning_rate,
        config.warmup_steps,
    )


def linear_decay(
    learning_rate: float, total_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Returns a linear warmup from 0, then a linear decay to 0 at `total_steps`.

    Without warmup this is the schedule of the released code.

    Args:
        learning_rate: The peak.
        total_steps: Updates of the run.
        warmup_steps: Updates until the peak, at most `total_steps`.
    """
    decay = optax.linear_schedule(learning_rate, 0.0, total_steps - warmup_steps)
    return _after_warmup(decay, learning_rate, warmup_steps)


def _after_warmup(
    schedule: optax.Schedule, learning_rate: float, warmup_steps: int
) -> optax.Schedule:
    if not warmup_steps:
        return schedule
    warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns the optimizer that the settings name.

    AdamW after clipping by the global norm is the optimizer of the released code.
    Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) has T5's settings for finetuning.
    Lion (Chen et al. 2023, arXiv 2302.06675) updates by the sign of its mean of
    gradients, and has no mean of squares.

    Args:
        config: The optimizer and its hyperparameters.
        schedule: The learning rate.
    """
    if config.optimizer == "adafactor":
        return _adafactor(schedule, config.adafactor_decay_rate)
    decay = config.weight_decay
    if config.optimizer == "lion":
        update = optax.lion(
            schedule, config.lion_b1, config.lion_b2, weight_decay=decay
        )
    else:
        betas = config.adam_b1, config.adam_b2
        update = optax.adamw(schedule, *betas, config.adam_eps, weight_decay=decay)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def _adafactor(
    schedule: optax.Schedule, decay_rate: float
) -> optax.GradientTransformation:
    """Returns `optax.adafactor`, which sees the layers of a stacked array apart.

    It limits an update by the root mean square of the gradients of one parameter, and
    scales it by that of the parameter. The factored moments are the same for a stacked
    array, because Adafactor reduces the two longest axes, of at least 128 entries: the
    axis of the layers is shorter.
    """
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=decay_rate),
        _for_each_layer(optax.clip_by_block_rms(1.0)),
        optax.scale_by_learning_rate(schedule, flip_sign=False),
        _for_each_layer(optax.scale_by_param_block_rms()),
        optax.scale(-1),
    )


def _for_each_layer(
    transform: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Applies a transformation without state to each layer of stacked arrays."""

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> Any:
        def of_array(path: tuple[str, ...], update: Any, param: Any) -> Any:
            def change(update: Any, param: Any) -> Any:
                return transform.update(update, state, param)[0]

            stacked = stacked_layers.is_stacked("/".join(path))
            return (jax.vmap(change) if stacked else change)(update, param)

        flat = traverse_util.flatten_dict(params)
        changed = {
            path: of_array(path, array, flat[path])
            for path, array in traverse_util.flatten_dict(updates).items()
        }
        return traverse_util.unflatten_dict(changed), state

    return optax.GradientTransformation(transform.init, update)
