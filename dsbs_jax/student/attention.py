"""Dot-product attention over all queries at once, or over one part after another.

The attention weights of all queries, [B, H, Q, M], grow with the square of the length.
With long inputs they are the largest arrays of a training step. In parts, the weights
of `size` queries exist at a time: the forward pass stores none, and the backward
pass computes those of each part again. Each query still sees all keys, so the softmax
is the same.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

# Terms of an attention's bias: mask and relative positions, each broadcast to [B, H, Q,
# M]. A term for all queries has Q = 1.
Bias = tuple[jax.Array, ...]


def attend(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    bias: Bias,
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> jax.Array:
    """Averages the values by the softmax of the products of queries and keys.

    Args:
        queries: [B, H, Q, K].
        keys: [B, H, M, K].
        values: [B, H, M, K].
        bias: Terms that are added to the logits.
        drop: Dropout of the weights, [B, H, Q, M].

    Returns:
        [B, Q, H, K].
    """
    logits = jnp.einsum("bhqd,bhkd->bhqk", queries, keys)
    for term in bias:
        logits = logits + term
    # In float32 also for bfloat16 activations: the sum over M keys needs it.
    weights = drop(nn.softmax(logits.astype(jnp.float32)).astype(values.dtype))
    return jnp.einsum("bhqk,bhkd->bqhd", weights, values)


def attend_in_parts(
    queries: jax.Array, keys: jax.Array, values: jax.Array, bias: Bias, size: int
) -> jax.Array:
    """Computes `attend` for `size` queries at a time.

    It has no dropout. The caller can apply dropout to the values, which is the same if
    all queries of a head drop the same keys.

    Args:
        queries: [B, H, Q, K]; Q need not be a multiple of `size`.
        keys: [B, H, M, K].
        values: [B, H, M, K].
        bias: Terms that are added to the logits.
        size: Queries of a part.

    Returns:
        [B, Q, H, K].
    """
    length = queries.shape[2]
    parts = math.ceil(length / size)

    def split(array: jax.Array) -> jax.Array:
        # [.., .., Q, ..] -> [parts, .., .., size, ..]; the end removes padding.
        array = jnp.pad(array, [(0, 0), (0, 0), (0, parts * size - length), (0, 0)])
        array = array.reshape(*array.shape[:2], parts, size, array.shape[3])
        return jnp.moveaxis(array, 2, 0)

    split_bias = [split(term) for term in bias if term.shape[2] > 1]
    common_bias = [term for term in bias if term.shape[2] == 1]

    # `prevent_cse` stops XLA from merging the recomputed weights with the first ones.
    # The body of a scan is compiled separately, so XLA cannot merge them anyway.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def attend_part(part: tuple[jax.Array, list[jax.Array]]) -> jax.Array:
        part_queries, part_bias = part
        return attend(part_queries, keys, values, (*common_bias, *part_bias))

    results = jax.lax.map(attend_part, (split(queries), split_bias))
    results = jnp.moveaxis(results, 0, 1)
    return results.reshape(results.shape[0], -1, *results.shape[3:])[:, :length]
