"""The layers of the encoder and of the decoder.

Only umT5 has a position bias in every layer, which the layer adds to the mask; the
other students have one in each stack.
"""

import flax.linen as nn
import jax
from flax.linen.spmd import with_logical_constraint

from dsbs_jax.student.attention import Bias
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.layers import (
    ACTIVATION_AXES,
    MLP,
    Attention,
    RelativePositionBias,
    RMSNorm,
)

# Keys and values of one attention, each [B, H, M, K].
KeysValues = tuple[jax.Array, jax.Array]


def add_relative_bias(
    config: T5Config,
    own: RelativePositionBias | None,
    bias: Bias,
    buckets: jax.Array,
) -> Bias:
    """Adds the relative position bias that a stack or a layer has of its own.

    If all queries are computed at a time, the sum with the mask is the only term: it is
    computed once for all layers of a stack. In parts of the queries, the terms remain
    apart, because the sum has a copy of the position bias for every row of the batch.

    Args:
        config: The student.
        own: The position bias; None if it belongs to the layers of the stack, or to the
            stack of the layer.
        bias: The mask, or mask and position bias of the stack.
        buckets: Buckets of relative positions, int32 [Q, M].

    Returns:
        The terms of the bias.
    """
    if own is None:
        return bias
    if config.attention_queries is not None:
        return (*bias, own(buckets))
    (mask,) = bias
    return (mask + own(buckets),)


class EncoderLayer(nn.Module):
    """Self-attention and MLP, each with a norm before it and a residual connection."""

    config: T5Config

    def setup(self) -> None:
        """Creates the parts, named as in T5X."""
        config = self.config
        in_layers = config.relative_bias_in_layers
        self.relpos_bias = RelativePositionBias(config) if in_layers else None
        self.pre_attention_layer_norm = RMSNorm(config.dtype)
        self.attention = Attention(config)
        self.pre_mlp_layer_norm = RMSNorm(config.dtype)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self, x: jax.Array, bias: Bias, buckets: jax.Array, deterministic: bool
    ) -> jax.Array:
        """Applies the layer.

        Args:
            x: [B, S, D].
            bias: The stack's position bias and mask.
            buckets: Buckets of relative positions, int32 [S, S].
            deterministic: Whether dropout is off.

        Returns:
            [B, S, D].
        """
        bias = add_relative_bias(self.config, self.relpos_bias, bias, buckets)
        y = self.pre_attention_layer_norm(x)
        y = self.attention(y, y, bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        return with_logical_constraint(x, ACTIVATION_AXES)


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's output, and MLP."""

    config: T5Config

    def setup(self) -> None:
        """Creates the parts, named as in T5X."""
        config = self.config
        in_layers = config.relative_bias_in_layers
        self.relpos_bias = RelativePositionBias(config) if in_layers else None
        self.pre_self_attention_layer_norm = RMSNorm(config.dtype)
        self.self_attention = Attention(config)
        self.pre_cross_attention_layer_norm = RMSNorm(config.dtype)
        self.encoder_decoder_attention = Attention(config)
        self.pre_mlp_layer_norm = RMSNorm(config.dtype)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        self_bias: Bias,
        cross_bias: Bias,
        buckets: jax.Array,
        deterministic: bool,
    ) -> jax.Array:
        """Applies the layer to all positions.

        Args:
            x: [B, T, D].
            encoded: The encoder's output, [B, S, D].
            self_bias: The stack's position bias and causal mask.
            cross_bias: Mask of the encoder's positions.
            buckets: Buckets of relative positions, int32 [T, T].
            deterministic: Whether dropout is off.

        Returns:
            [B, T, D].
        """
        self_bias = add_relative_bias(self.config, self.relpos_bias, self_bias, buckets)
        y = self.pre_self_attention_layer_norm(x)
        y = self.self_attention(y, y, self_bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.pre_cross_attention_layer_norm(x)
        y = self.encoder_decoder_attention(y, encoded, cross_bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        return with_logical_constraint(x, ACTIVATION_AXES)

    def cross_keys_values(self, encoded: jax.Array) -> KeysValues:
        """Projects the encoder's output [B, S, D] to keys and values [B, H, S, K]."""
        return self.encoder_decoder_attention.keys_values(encoded)

    def step(
        self,
        x: jax.Array,
        own: KeysValues,
        cross: KeysValues,
        index: jax.Array,
        self_bias: Bias,
        cross_bias: Bias,
        buckets: jax.Array,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the layer to one position, without dropout.

        Args:
            x: [B, 1, D].
            own: Cached keys and values of the decoder's positions, [B, H, T, K].
            cross: Cached keys and values of the encoder's output, [B, H, S, K].
            index: The position, int32 scalar.
            self_bias: The stack's position bias and causal mask of the position.
            cross_bias: Mask of the encoder's positions.
            buckets: Buckets of the position's distances, int32 [1, T].

        Returns:
            The result [B, 1, D], and `own` with this position filled in.
        """
        self_bias = add_relative_bias(self.config, self.relpos_bias, self_bias, buckets)
        y = self.pre_self_attention_layer_norm(x)
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(cached, new, index, axis=2)
            for cached, new in zip(own, self.self_attention.keys_values(y), strict=True)
        )
        x = x + self.self_attention.attend(y, keys, values, self_bias)
        y = self.pre_cross_attention_layer_norm(x)
        x = x + self.encoder_decoder_attention.attend(y, *cross, cross_bias)
        return x + self.mlp(self.pre_mlp_layer_norm(x)), (keys, values)
