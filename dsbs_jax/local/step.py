"""One training step, as a pure function."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dsbs_jax.local.partitioning import LOGICAL_AXIS_RULES, Partitioner
from dsbs_jax.local.state import TrainState
from dsbs_jax.student import objective

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
StepFn = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


def forward(
    model: nn.Module, params: Any, batch: Batch, dropout_key: jax.Array | None = None
) -> jax.Array:
    """The student's logits for a batch: float32 [B, T, V].

    Args:
        model: The student.
        params: Its parameters.
        batch: Int32 features, [B, S] for the encoder's and [B, T] for the decoder's.
        dropout_key: None runs without dropout.
    """
    return model.apply(
        {"params": params},
        batch["encoder_input_tokens"],
        batch["decoder_input_tokens"],
        encoder_segment_ids=batch.get("encoder_segment_ids"),
        decoder_segment_ids=batch.get("decoder_segment_ids"),
        deterministic=dropout_key is None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )


def gradients(
    model: nn.Module,
    params: Any,
    batch: Batch,
    alpha: float,
    num_microbatches: int = 1,
    dropout_key: jax.Array | None = None,
) -> tuple[Any, Metrics]:
    """Gradients of the objective over the whole batch, and its metrics.

    The batch is cut into microbatches whose gradients add up to the whole's: each
    token is weighed by the token counts of the whole batch.

    Args:
        model: The student.
        params: Its parameters.
        batch: See `forward`; B has to divide by `num_microbatches`.
        alpha: Weight of the label task, 0 to 1.
        num_microbatches: Parts that are computed one after another.
        dropout_key: None runs without dropout.
    """
    counts = objective.task_token_counts(batch["decoder_task_ids"])

    def loss(params: Any, part: Batch, key: jax.Array | None) -> tuple:
        logits = forward(model, params, part, key)
        return objective.distillation_loss(
            logits,
            part["decoder_target_tokens"],
            part["decoder_task_ids"],
            alpha,
            token_counts=counts,
        )

    gradient = jax.grad(loss, has_aux=True)
    if num_microbatches == 1:
        return gradient(params, batch, dropout_key)

    def part(i: int) -> Batch:
        # Every n-th row, so that each part spans all devices of the data axis.
        return {
            k: v.reshape(-1, num_microbatches, *v.shape[1:])[:, i]
            for k, v in batch.items()
        }

    def add(i: int, total: tuple) -> tuple:
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, i)
        return jax.tree.map(jnp.add, total, gradient(params, part(i), key))

    shapes = jax.eval_shape(gradient, params, part(0), dropout_key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_microbatches, add, zeros)


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    partitioner: Partitioner,
    alpha: float,
    num_microbatches: int = 1,
) -> StepFn:
    """Compiles (state, batch, key) -> (state, metrics); the state's memory is reused.

    The key is the run's: each step folds its number in.
    """

    def train_step(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        with partitioner.mesh, nn.logical_axis_rules(LOGICAL_AXIS_RULES):
            grads, metrics = gradients(
                model, state.params, batch, alpha, num_microbatches, key
            )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics |= {"gradient_norm": optax.global_norm(grads)}
        return (
            TrainState(
                state.step + 1, optax.apply_updates(state.params, updates), opt_state
            ),
            metrics,
        )

    return jax.jit(train_step, donate_argnums=0)
