"""The parts of a T5: dense layer, norm, relative position bias, attention, MLP.

Parameters are named and shaped as in T5X's `examples/t5/layers.py`, so that its
checkpoints fit, and carry T5X's logical axis names. Attention is not scaled by
K ** -0.5: T5 folds that into the query's initial values.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsbs_jax.student.config import T5Config

Initializer = Callable[..., jax.Array]
# Added to the attention logits of what is masked: as good as -inf, without its NaN.
MASKED = -1e10
ACTIVATION_AXES = ("batch", "length", "embed")


def fan_in(scale: float = 1.0, distribution: str = "normal") -> Initializer:
    """Variance scaling by the fan-in."""
    return nn.initializers.variance_scaling(scale, "fan_in", distribution)


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The product x @ kernel, [..., in] by [in, out] -> [..., out].

    The gradients are those of `jnp.dot`. The kernel's is written such that it is the
    smaller of its two factors that has to be transposed: on a CPU transposing the
    larger takes longer than a tenth of a training step.
    """
    return jnp.dot(x, kernel)


def _product(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return product(x, kernel), (x, kernel)


def _product_gradients(kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    rows = tuple(range(x.ndim - 1))

    def over_rows(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.dot_general(left, right, ((rows, rows), ((), ())))

    if kernel.shape[0] <= kernel.shape[1]:
        of_kernel = over_rows(x, gradient)
    else:
        of_kernel = over_rows(gradient, x).T
    return jnp.dot(gradient, kernel.T), of_kernel


product.defvjp(_product, _product_gradients)


class Dense(nn.Module):
    """x @ kernel without bias: [..., in] -> [..., features]."""

    features: int
    axes: Sequence[str]
    dtype: str
    init: Initializer = fan_in(1.0, "truncated_normal")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiplies in the compute dtype."""
        kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(self.init, tuple(self.axes)),
            (x.shape[-1], self.features),
            jnp.float32,
        )
        return product(x.astype(self.dtype), kernel.astype(self.dtype))


class RMSNorm(nn.Module):
    """T5's layer norm: no mean, no bias, computed in float32. [..., D] -> [..., D]."""

    dtype: str
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Divides by the root mean square over the last axis."""
        scale = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones, ("embed",)),
            (x.shape[-1],),
            jnp.float32,
        )
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return (x * jax.lax.rsqrt(mean_square + self.epsilon) * scale).astype(
            self.dtype
        )


def relative_buckets(
    queries: int, keys: int, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """The bucket of each key's position relative to each query's: int32 [Q, K].

    Half of the buckets hold one distance each, the other half grow logarithmically up
    to `max_distance` (Raffel et al. 2020, section 2.1). With `bidirectional` keys after
    the query have the upper half of the buckets to themselves.
    """
    distance = np.arange(queries)[:, None] - np.arange(keys)[None, :]
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = np.where(distance < 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(distance, 0)
    exact = buckets // 2
    # In float32, as T5X and Transformers compute it: the edges of buckets depend on it.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / np.log(
        max_distance / exact
    )
    large = exact + (ratio * (buckets - exact)).astype(np.int32)
    large = np.minimum(large, buckets - 1)
    return (offset + np.where(distance < exact, distance, large)).astype(np.int32)


class RelativePositionBias(nn.Module):
    """A learned bias for each head and relative position, shared by all layers."""

    config: T5Config
    bidirectional: bool

    @nn.compact
    def __call__(self, queries: int, keys: int) -> jax.Array:
        """Returns the bias, compute dtype [1, H, Q, K]."""
        config = self.config
        table = self.param(
            "rel_embedding",
            nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
                ("heads", "relpos_buckets"),
            ),
            (config.num_heads, config.relative_buckets),
            jnp.float32,
        )
        index = relative_buckets(
            queries,
            keys,
            self.bidirectional,
            config.relative_buckets,
            config.relative_max_distance,
        )
        return table[:, index][None].astype(config.dtype)


class Attention(nn.Module):
    """Multi-head attention, from [B, Q, D] over [B, K, D]; no bias terms."""

    config: T5Config

    def setup(self) -> None:
        """Names the projections as T5X does."""
        config = self.config
        width = config.num_heads * config.head_dim
        kernel = ("embed", "joined_kv")
        # T5 divides the query's initial values by sqrt(head_dim) and never the logits.
        scaled = fan_in(1.0 / config.head_dim)
        self.query = Dense(width, kernel, config.dtype, scaled)
        self.key = Dense(width, kernel, config.dtype, fan_in())
        self.value = Dense(width, kernel, config.dtype, fan_in())
        self.out = Dense(config.emb_dim, kernel[::-1], config.dtype, fan_in())
        # The same for all queries of a head, as in T5X: cheaper random numbers.
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def _heads(self, x: jax.Array) -> jax.Array:
        x = x.reshape(*x.shape[:2], self.config.num_heads, self.config.head_dim)
        return nn.with_logical_constraint(
            x.swapaxes(1, 2), ("batch", "heads", "length", "kv")
        )

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Projects [B, K, D] to keys and values, each [B, H, K, head_dim].

        Heads come first, as the products need them: decoding keeps these between its
        steps, and would otherwise transpose them in every one.
        """
        return self._heads(self.key(x)), self._heads(self.value(x))

    def attend(
        self,
        x: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        bias: jax.Array,
        deterministic: bool = True,
    ) -> jax.Array:
        """Attends from [B, Q, D] to given keys and values.

        Args:
            x: Queries' inputs.
            keys: [B, H, K, head_dim].
            values: [B, H, K, head_dim].
            bias: Added to the logits, broadcast to [B, H, Q, K].
            deterministic: Without dropout.

        Returns:
            [B, Q, D].
        """
        queries = self._heads(self.query(x))
        logits = jnp.einsum("bhqd,bhkd->bhqk", queries, keys) + bias
        weights = nn.softmax(logits.astype(jnp.float32)).astype(self.config.dtype)
        weights = self.dropout(weights, deterministic=deterministic)
        mixed = jnp.einsum("bhqk,bhkd->bqhd", weights, values)
        return self.out(mixed.reshape(*mixed.shape[:2], -1))

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array,
        bias: jax.Array,
        deterministic: bool = True,
    ) -> jax.Array:
        """Attends from x [B, Q, D] to context [B, K, D]."""
        return self.attend(x, *self.keys_values(context), bias, deterministic)


class MLP(nn.Module):
    """Feed-forward block, gated with two activations. [..., D] -> [..., D]."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        """Applies the block."""
        config = self.config
        names = (
            ["wi"]
            if len(config.mlp_activations) == 1
            else [f"wi_{i}" for i in range(len(config.mlp_activations))]
        )
        hidden = None
        for name, activation in zip(names, config.mlp_activations, strict=True):
            part = Dense(config.mlp_dim, ("embed", "mlp"), config.dtype, name=name)(x)
            part = part if activation == "linear" else getattr(nn, activation)(part)
            hidden = part if hidden is None else hidden * part
        hidden = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))(
            hidden, deterministic=deterministic
        )
        hidden = nn.with_logical_constraint(hidden, ("batch", "length", "mlp"))
        return Dense(config.emb_dim, ("mlp", "embed"), config.dtype, name="wo")(hidden)
