"""One training step as a pure function."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dsbs_jax.local.alpha_schedule import AlphaSchedule
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.state import TrainState
from dsbs_jax.local.trainable import Frozen, complete
from dsbs_jax.student import mutual_information, objective
from dsbs_jax.student.cross_entropy import num_parts
from dsbs_jax.student.network import Transformer

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
StepFn = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


def gradients(
    model: Transformer,
    params: Any,
    batch: Batch,
    alpha: float | jax.Array,
    num_microbatches: int = 1,
    dropout_key: jax.Array | None = None,
    data_size: int = 1,
    beta: float = 0.0,
    frozen: Frozen | None = None,
) -> tuple[Any, Metrics]:
    """Returns the gradients of the objective over a batch, and its metrics.

    The objective is alpha * mean(label tokens) + (1 - alpha) * mean(rationale tokens).
    Both means divide by the token counts of the complete batch, also in a microbatch.
    The gradients of the microbatches therefore add up to the gradient of the batch.
    Averaging the means of the microbatches would be wrong: the weight of a token would
    then depend on the number of tokens in its microbatch.

    Args:
        model: The student.
        params: Its parameters that are updated, or its adapters.
        batch: int32, [B, S] for encoder features and [B, T] for decoder features; B is
            a multiple of `num_microbatches`.
        alpha: Weight of the label task, 0 to 1.
        num_microbatches: Parts of the batch that are computed one after another.
        dropout_key: Key for dropout; None runs without dropout.
        data_size: Devices over which the rows are spread.
        beta: Weight of the cross-entropy between the pooled distributions of label and
            rationale. Above 0 the rows are pairs (`pairs.batches`), and the logits of a
            microbatch exist at the same time.
        frozen: The weights that are not updated.
    """
    counts = objective.task_token_counts(batch["decoder_task_ids"])
    num_pairs = mutual_information.pair_count(batch["decoder_task_ids"])

    def loss(
        params: Any, part: Batch, key: jax.Array | None
    ) -> tuple[jax.Array, Metrics]:
        tasks = part["decoder_task_ids"]
        params = complete(params, frozen)
        if beta:
            return _pair_loss(model, params, part, key, alpha, counts, beta / num_pairs)
        rows = max(1, len(tasks) // data_size)
        # `apply` returns what the method returns, but Flax types it as variables.
        losses: Any = model.apply(
            {"params": params},
            part["encoder_input_tokens"],
            part["decoder_input_tokens"],
            part["decoder_target_tokens"],
            objective.token_weights(tasks, alpha, counts),
            encoder_segment_ids=part.get("encoder_segment_ids"),
            decoder_segment_ids=part.get("decoder_segment_ids"),
            deterministic=key is None,
            parts=num_parts(rows, tasks.shape[1], model.config.vocab_size),
            rngs=None if key is None else {"dropout": key},
            method=Transformer.weighted_loss,
        )
        total, nats = losses
        return total, {"loss": total, **objective.task_losses(nats, tasks, counts)}

    gradient = jax.grad(loss, has_aux=True)
    if num_microbatches == 1:
        return gradient(params, batch, dropout_key)

    def microbatch(i: int) -> Batch:
        # Every n-th row: [B, ...] -> [B / n, n, ...] -> [B / n, ...]. The rows of a
        # device are consecutive, so each microbatch has rows of all devices. A block of
        # consecutive rows would leave the other devices without work.
        return {
            name: rows.reshape(-1, num_microbatches, *rows.shape[1:])[:, i]
            for name, rows in batch.items()
        }

    def add(i: int, total: tuple) -> tuple:
        # Each microbatch has its own dropout masks.
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, i)
        return jax.tree.map(jnp.add, total, gradient(params, microbatch(i), key))

    shapes = jax.eval_shape(gradient, params, microbatch(0), dropout_key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    # A loop in the compiled program, so that only one microbatch's activations exist.
    return jax.lax.fori_loop(0, num_microbatches, add, zeros)


def _pair_loss(
    model: Transformer,
    params: Any,
    part: Batch,
    key: jax.Array | None,
    alpha: float | jax.Array,
    counts: jax.Array,
    pair_weight: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """Computes the objective of a part of a batch of pairs, from its logits.

    Args:
        model: The student.
        params: Its parameters.
        part: The rows.
        key: Key for dropout, or None.
        alpha: Weight of the label task.
        counts: Float32 [2], `task_token_counts` of the complete batch.
        pair_weight: Weight of the cross-entropy of each pair.
    """
    tasks = part["decoder_task_ids"]
    logits: Any = model.apply(
        {"params": params},
        part["encoder_input_tokens"],
        part["decoder_input_tokens"],
        encoder_segment_ids=part["encoder_segment_ids"],
        decoder_segment_ids=part["decoder_segment_ids"],
        deterministic=key is None,
        rngs=None if key is None else {"dropout": key},
    )
    total, metrics = objective.distillation_loss(
        logits, part["decoder_target_tokens"], tasks, alpha, counts
    )
    pair_loss = pair_weight * mutual_information.pooled_cross_entropy(logits, tasks)
    total += pair_loss
    return total, {**metrics, "loss": total, "pair_loss": pair_loss}


def make_train_step(
    model: Transformer,
    optimizer: optax.GradientTransformation,
    partitioner: Partitioner,
    alpha: float | AlphaSchedule,
    num_microbatches: int = 1,
    beta: float = 0.0,
) -> StepFn:
    """Compiles (state, batch, key) -> (state, metrics).

    The memory of the old state is reused for the new one. The key is the same for all
    steps of a run: each step derives its own key from its number, so that a resumed run
    continues with the same random numbers.

    Args:
        model: The student.
        optimizer: The optimizer.
        partitioner: The mesh.
        alpha: Weight of the label task, 0 to 1, or a function of the updates done.
        num_microbatches: Parts of a batch that are computed one after another.
        beta: As in `gradients`.
    """

    def train_step(
        state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        with partitioner.mesh, nn.logical_axis_rules(partitioner.axis_rules):
            grads, metrics = gradients(
                model,
                state.params,
                batch,
                alpha(state.step) if callable(alpha) else alpha,
                num_microbatches,
                key,
                partitioner.data_size,
                beta,
                state.frozen,
            )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"gradient_norm": optax.global_norm(grads)}
        done = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
        return done, metrics

    return jax.jit(train_step, donate_argnums=0)
