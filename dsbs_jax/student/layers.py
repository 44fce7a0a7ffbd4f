"""The layers of a T5: embedding, norm, position bias, attention, MLP, output.

Parameters have the names, shapes and logical axis names of T5X's
`examples/t5/layers.py`, so that T5X's checkpoints and sharding rules fit. Logical names
such as "embed" and "heads" say what an axis means; the engine's partitioner maps them
to axes of the device mesh.

Beyond the letters in docs/style.md: Q query positions, M key positions of an attention.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.spmd import with_logical_constraint

from dsbs_jax.student import attention, lora
from dsbs_jax.student.attention import Bias
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.precision import ComputeTypes
from dsbs_jax.student.products import product

Initializer = Callable[..., jax.Array]
# Added to masked attention logits. Softmax gives them weight 0, and a row that is
# completely masked does not become NaN, as it would with -inf.
MASKED = -1e10
ACTIVATION_AXES = ("batch", "length", "embed")


def fan_in(
    scale: float = 1.0,
    distribution: Literal["normal", "truncated_normal"] = "normal",
) -> Initializer:
    """Returns an initializer with variance `scale` / number of inputs."""
    return nn.initializers.variance_scaling(scale, "fan_in", distribution)


def parameter(
    module: nn.Module,
    name: str,
    init: Initializer,
    shape: tuple[int, ...],
    axes: Sequence[str],
) -> jax.Array:
    """Declares a float32 parameter with logical axis names."""
    boxed = module.param(
        name, nn.with_logical_partitioning(init, tuple(axes)), shape, jnp.float32
    )
    # Flax annotates the box that holds the axis names, and returns the array inside.
    return cast(jax.Array, boxed)


class Dense(nn.Module):
    """A linear layer without bias: [..., I] -> [..., features].

    Attributes:
        features: Outputs O.
        axes: Logical names of the kernel's axes [I, O].
        types: Types of the product.
        kernel_init: Initializer of the kernel.
        lora_dropout: Proportion of the adapter's inputs that training drops.
    """

    features: int
    axes: Sequence[str]
    types: ComputeTypes
    kernel_init: Initializer = fan_in(1.0, "truncated_normal")
    lora_dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiplies by the kernel, [..., I] -> [..., O]."""
        shape = (x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape, self.axes)
        result = product(x, kernel, self.types)
        if not self.has_variable("params", lora.A):
            return result
        # An adapter, see `lora`: its B is scaled.
        a: jax.Array = self.get_variable("params", lora.A)
        b: jax.Array = self.get_variable("params", lora.B)
        if self.has_rng("dropout"):
            x = nn.Dropout(self.lora_dropout, deterministic=False)(x)
        return result + product(product(x, a, self.types), b, self.types)


def shared_settings(config: T5Config) -> dict[str, Any]:
    """Returns the attributes that all linear layers of a student have."""
    return {"types": config.types, "lora_dropout": config.lora_dropout}


class RMSNorm(nn.Module):
    """T5's layer norm, which subtracts no mean and adds no bias.

    It is computed in float32 also for bfloat16 activations.

    Attributes:
        dtype: Type of the result.
        epsilon: Added to the mean square.
    """

    dtype: str
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Divides by the root mean square of the last axis, [..., D] -> [..., D]."""
        shape = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones, shape, ("embed",))
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        normed = x * jax.lax.rsqrt(mean_square + self.epsilon) * scale
        return normed.astype(self.dtype)


def relative_buckets(
    distance: np.ndarray, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """Returns the bucket of each distance between a query and a key.

    The first half of the buckets hold one distance each, the second half grow
    logarithmically up to `max_distance` (Raffel et al. 2020, section 2.1). With 8
    buckets for past keys and a maximum distance of 16:

        distance  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17
        bucket    0  1  2  3  4  4  5  5  6  6  6  6  7  7  7  7  7  7

    Args:
        distance: The query's position minus the key's, int of any shape.
        bidirectional: Whether keys after the query use the upper half of the buckets,
            as in the encoder; otherwise they share bucket 0, and are masked anyway.
        buckets: Number of buckets.
        max_distance: Distance from which all keys share the last bucket.

    Returns:
        int32, of the shape of `distance`.
    """
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = np.where(distance < 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(distance, 0)
    exact = buckets // 2
    # The logarithm is float32 as in T5X and Transformers: at the edge of a bucket, a
    # distance would fall into another one in float64.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / np.log(
        max_distance / exact
    )
    large = exact + (ratio * (buckets - exact)).astype(np.int32)
    large = np.minimum(large, buckets - 1)
    return (offset + np.where(distance < exact, distance, large)).astype(np.int32)


def position_buckets(config: T5Config, length: int, bidirectional: bool) -> jax.Array:
    """Returns the buckets of the relative positions of a sequence, int32 [M, M].

    Args:
        config: The student.
        length: M, positions of the sequence.
        bidirectional: True in the encoder, False in the decoder.
    """
    # With NumPy, so that the buckets are a constant of a compiled program.
    positions = np.arange(length)
    buckets = relative_buckets(
        positions[:, None] - positions[None, :],
        bidirectional,
        config.relative_buckets,
        config.relative_max_distance,
    )
    return jnp.asarray(buckets)


class RelativePositionBias(nn.Module):
    """A learned bias for each head and bucket of relative positions."""

    config: T5Config

    def setup(self) -> None:
        """Declares the table, [H, buckets]."""
        self.rel_embedding = parameter(
            self,
            "rel_embedding",
            nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
            (self.config.num_heads, self.config.relative_buckets),
            ("heads", "relpos_buckets"),
        )

    def __call__(self, buckets: jax.Array) -> jax.Array:
        """Looks up buckets, int32 [Q, M] -> compute dtype [1, H, Q, M]."""
        return self.rel_embedding[:, buckets][None].astype(self.config.dtype)


class Attention(nn.Module):
    """Multi-head attention without bias terms."""

    config: T5Config

    def setup(self) -> None:
        """Creates the projections, named as in T5X."""
        config = self.config
        width = config.num_heads * config.head_dim
        axes = ("embed", "joined_kv")
        # T5 does not divide the attention logits by sqrt(K). The division is part of
        # the query kernel's initial values instead.
        query_init = fan_in(1.0 / config.head_dim)
        common = shared_settings(config)
        self.query = Dense(width, axes, kernel_init=query_init, **common)
        self.key = Dense(width, axes, kernel_init=fan_in(), **common)
        self.value = Dense(width, axes, kernel_init=fan_in(), **common)
        self.out = Dense(config.emb_dim, axes[::-1], kernel_init=fan_in(), **common)
        # As in T5X, all queries of a head drop the same keys: fewer random numbers.
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def _split_heads(self, x: jax.Array) -> jax.Array:
        """[B, M, H * K] -> [B, H, M, K]."""
        x = x.reshape(*x.shape[:2], self.config.num_heads, self.config.head_dim)
        return with_logical_constraint(
            x.swapaxes(1, 2), ("batch", "heads", "length", "kv")
        )

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Projects x [B, M, D] to keys and values, each [B, H, M, K].

        Heads come before positions because the products in `attend` need that order.
        Decoding stores keys and values in its cache, and would otherwise transpose the
        complete cache in every step.
        """
        return self._split_heads(self.key(x)), self._split_heads(self.value(x))

    def attend(
        self,
        x: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        bias: Bias,
        deterministic: bool = True,
    ) -> jax.Array:
        """Attends to given keys and values.

        Args:
            x: Inputs of the queries, [B, Q, D].
            keys: [B, H, M, K].
            values: [B, H, M, K].
            bias: Position bias and mask, or their sum.
            deterministic: Whether dropout is off.

        Returns:
            [B, Q, D].
        """
        queries = self._split_heads(self.query(x))
        drop = functools.partial(self.dropout, deterministic=deterministic)
        size = self.config.attention_queries
        if size is None or queries.shape[2] <= size:
            mixed = attention.attend(queries, keys, values, bias, drop)
        else:
            # All queries of a head drop the same keys, so the values can be dropped
            # instead of the weights.
            kept = drop(jnp.ones((*keys.shape[:2], 1, keys.shape[2]), values.dtype))
            values = values * kept.swapaxes(2, 3)
            mixed = attention.attend_in_parts(queries, keys, values, bias, size)
        return self.out(mixed.reshape(*mixed.shape[:2], -1))

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array,
        bias: Bias,
        deterministic: bool = True,
    ) -> jax.Array:
        """Attends from x [B, Q, D] to context [B, M, D]; bias as in `attend`."""
        return self.attend(x, *self.keys_values(context), bias, deterministic)


class MLP(nn.Module):
    """The feed-forward block.

    T5 v1.1:  (gelu(x @ wi_0) * (x @ wi_1)) @ wo
    T5 v1.0:  relu(x @ wi) @ wo
    """

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        """Applies the block, [B, T, D] -> [B, T, D]."""
        config = self.config
        activations = config.mlp_activations
        gated = len(activations) > 1
        names = [f"wi_{i}" for i in range(len(activations))] if gated else ["wi"]
        common = shared_settings(config)
        hidden = None
        for name, activation in zip(names, activations, strict=True):
            part = Dense(config.mlp_dim, ("embed", "mlp"), name=name, **common)(x)
            part = part if activation == "linear" else getattr(nn, activation)(part)
            hidden = part if hidden is None else hidden * part
        hidden = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))(
            hidden, deterministic=deterministic
        )
        hidden = with_logical_constraint(hidden, ("batch", "length", "mlp"))
        return Dense(config.emb_dim, ("mlp", "embed"), name="wo", **common)(hidden)


class Embedding(nn.Module):
    """The embedding of tokens, and the output layer of a tied student."""

    config: T5Config

    def setup(self) -> None:
        """Declares the table, [V, D]."""
        self.embedding = parameter(
            self,
            "embedding",
            nn.initializers.normal(1.0),
            (self.config.vocab_size, self.config.emb_dim),
            ("vocab", "embed"),
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Looks up tokens, int32 [B, T] -> [B, T, D]."""
        return jnp.take(self.embedding, tokens, axis=0).astype(
            self.config.types.residual
        )


class Output(nn.Module):
    """The weights of the output layer of an untied student."""

    config: T5Config

    def setup(self) -> None:
        """Declares the weights, [D, V]."""
        self.kernel = parameter(
            self,
            "kernel",
            fan_in(1.0, "truncated_normal"),
            (self.config.emb_dim, self.config.vocab_size),
            ("embed", "vocab"),
        )
