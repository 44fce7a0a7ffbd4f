"""Cross-entropy of the output layer without the logits of all tokens.

The logits of a batch, [B, T, V], are the largest array of a training step. Here they
exist for a part of the positions at a time. The gradients of a part are computed
directly after its logits, because the gradient of a weighted sum needs only the
weights, which are known: so nothing is stored or computed again for the backward pass.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dsbs_jax.student.precision import ComputeTypes
from dsbs_jax.student.products import sum_over_rows, wide_dot, wide_sum_over_rows

# Most bytes of a part's float32 logits on one device.
LOGIT_BYTES = 2**26


class _Part(NamedTuple):
    """Positions of all rows; x [B, P, D], the others [B, P]."""

    x: jax.Array
    targets: jax.Array
    weights: jax.Array


def num_parts(rows: int, positions: int, vocab_size: int) -> int:
    """Returns into how many parts the positions are split.

    Args:
        rows: Rows of a batch on one device.
        positions: T, positions of a row.
        vocab_size: V.
    """
    most = max(1, LOGIT_BYTES // (4 * vocab_size * rows))
    return math.ceil(positions / most)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def weighted_cross_entropy(
    x: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    types: ComputeTypes,
    parts: int,
) -> tuple[jax.Array, jax.Array]:
    """Computes the weighted sum of the target tokens' negative log-likelihoods.

    Only the sum has a gradient.

    Args:
        x: Inputs of the output layer, [B, T, D].
        kernel: Weights of the output layer, float32 [D, V].
        targets: Int32 [B, T].
        weights: Float32 [B, T]; 0 for padding.
        types: The types of the products.
        parts: Parts of the positions that are computed one after another.

    Returns:
        The sum, float32 scalar, and the values of all tokens in nats, float32 [B, T].
    """
    factor = kernel.astype(types.factors)

    def add(total: None, part: _Part) -> tuple[None, jax.Array]:
        logits = _logits(part.x.astype(types.factors), factor)
        return total, _nats(logits, part.targets)[0]

    nats = _over_parts(add, None, _Part(x, targets, weights), parts)[1]
    return jnp.sum(nats * weights), nats


def _forward(
    x: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    types: ComputeTypes,
    parts: int,
) -> tuple[tuple[jax.Array, jax.Array], tuple]:
    factor = kernel.astype(types.factors)

    def add(total: jax.Array, part: _Part) -> tuple[jax.Array, tuple]:
        part_x = part.x.astype(types.factors)
        logits = _logits(part_x, factor)
        nats, totals = _nats(logits, part.targets)
        # The gradient of the logits: weight * (probability - 1 for the target).
        probabilities = jnp.exp(logits - totals[..., None])
        tokens = jnp.arange(logits.shape[-1], dtype=jnp.int32)
        is_target = part.targets[..., None] == tokens
        gradient = (probabilities - is_target) * part.weights[..., None]
        gradient = gradient.astype(types.factors)
        x_gradient, kernel_gradient = _gradients(part_x, factor, gradient, types)
        return total + kernel_gradient, (nats, x_gradient.astype(x.dtype))

    kernel_gradient, (nats, x_gradient) = _over_parts(
        add, jnp.zeros(kernel.shape, jnp.float32), _Part(x, targets, weights), parts
    )
    result = jnp.sum(nats * weights), nats
    return result, (x_gradient, kernel_gradient.astype(kernel.dtype), nats)


def _backward(
    types: ComputeTypes, parts: int, residuals: tuple, gradients: tuple
) -> tuple[jax.Array, jax.Array, None, jax.Array]:
    x_gradient, kernel_gradient, nats = residuals
    of_sum = gradients[0]
    return (
        (x_gradient * of_sum).astype(x_gradient.dtype),
        (kernel_gradient * of_sum).astype(kernel_gradient.dtype),
        None,
        nats * of_sum,
    )


weighted_cross_entropy.defvjp(_forward, _backward)


def _logits(x: jax.Array, factor: jax.Array) -> jax.Array:
    """[B, P, D], [D, V] -> float32 [B, P, V]."""
    rows = wide_dot(x.reshape(-1, x.shape[-1]), factor)
    return rows.reshape(*x.shape[:-1], -1)


def _nats(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the negative log-likelihoods, and the logits' log-sums; [B, P]."""
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    totals = jax.nn.logsumexp(logits, axis=-1)
    return totals - chosen, totals


def _gradients(
    x: jax.Array, factor: jax.Array, gradient: jax.Array, types: ComputeTypes
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of x [B, P, D] and of the weights [D, V], float32."""
    rows = x.reshape(-1, x.shape[-1])
    columns = gradient.reshape(-1, gradient.shape[-1])
    x_gradient = wide_dot(columns, factor, transpose_right=True).reshape(x.shape)
    if types.factors == "float32":
        return x_gradient, sum_over_rows(rows, columns)
    return x_gradient, wide_sum_over_rows(rows, columns)


def _over_parts(
    add: Callable[[Any, _Part], tuple[Any, Any]], total: Any, arrays: _Part, parts: int
) -> tuple[Any, Any]:
    """Scans over parts of the positions, and joins what each part returns.

    Args:
        add: Takes a total and a part, and returns the new total and arrays [B, P, ...].
        total: The first total.
        arrays: All positions.
        parts: Number of parts.

    Returns:
        The last total, and the arrays of all positions, [B, T, ...].
    """
    if parts == 1:
        return add(total, arrays)
    length = arrays.targets.shape[1]
    size = math.ceil(length / parts)
    parts = math.ceil(length / size)

    def split(array: jax.Array) -> jax.Array:
        # [B, T, ...] -> [parts, B, P, ...]; added positions have weight 0.
        padding = [(0, 0), (0, parts * size - length)] + [(0, 0)] * (array.ndim - 2)
        array = jnp.pad(array, padding)
        array = array.reshape(array.shape[0], parts, size, *array.shape[2:])
        return jnp.moveaxis(array, 1, 0)

    def join(array: jax.Array) -> jax.Array:
        array = jnp.moveaxis(array, 0, 1)
        return array.reshape(array.shape[0], -1, *array.shape[3:])[:, :length]

    total, results = jax.lax.scan(add, total, jax.tree.map(split, arrays))
    return total, jax.tree.map(join, results)
