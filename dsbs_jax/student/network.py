"""The T5 encoder-decoder, v1.0 and v1.1, with T5X's parameter tree.

Masks look at keys alone: a padding query computes something, which nothing reads. The
relative position bias and the masks are added up once a stack, not once a layer.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from dsbs_jax.student.config import T5Config
from dsbs_jax.student.layers import (
    ACTIVATION_AXES,
    MASKED,
    MLP,
    Attention,
    Dense,
    RelativePositionBias,
    RMSNorm,
)


def mask_bias(allowed: jax.Array, dtype: str) -> jax.Array:
    """0 where `allowed` [...] (bool), a large negative number elsewhere."""
    return jnp.where(allowed, 0.0, MASKED).astype(dtype)


class EncoderLayer(nn.Module):
    """Self-attention and MLP, each normed before and added to its input."""

    config: T5Config

    def setup(self) -> None:
        """Names the parts as T5X does."""
        config = self.config
        self.pre_attention_layer_norm = RMSNorm(config.dtype)
        self.attention = Attention(config)
        self.pre_mlp_layer_norm = RMSNorm(config.dtype)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(self, x: jax.Array, bias: jax.Array, deterministic: bool) -> jax.Array:
        """[B, S, D] -> [B, S, D], with an attention bias [B or 1, H, S, S]."""
        y = self.pre_attention_layer_norm(x)
        y = self.attention(y, y, bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        return nn.with_logical_constraint(x, ACTIVATION_AXES)


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder, and MLP."""

    config: T5Config

    def setup(self) -> None:
        """Names the parts as T5X does."""
        config = self.config
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
        self_bias: jax.Array,
        cross_bias: jax.Array,
        deterministic: bool,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D], reading `encoded` [B, S, D]."""
        y = self.pre_self_attention_layer_norm(x)
        y = self.self_attention(y, y, self_bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.pre_cross_attention_layer_norm(x)
        y = self.encoder_decoder_attention(y, encoded, cross_bias, deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
        x = x + self.dropout(y, deterministic=deterministic)
        return nn.with_logical_constraint(x, ACTIVATION_AXES)

    def cross_keys_values(self, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys and values of the encoder's output, each [B, H, S, head_dim]."""
        return self.encoder_decoder_attention.keys_values(encoded)

    def step(
        self,
        x: jax.Array,
        own: tuple[jax.Array, jax.Array],
        cross: tuple[jax.Array, jax.Array],
        index: jax.Array,
        self_bias: jax.Array,
        cross_bias: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """One position: [B, 1, D] -> [B, 1, D], with its own keys and values added."""
        y = self.pre_self_attention_layer_norm(x)
        new = self.self_attention.keys_values(y)
        own = tuple(
            jax.lax.dynamic_update_slice_in_dim(kept, part, index, axis=2)
            for kept, part in zip(own, new, strict=True)
        )
        x = x + self.self_attention.attend(y, *own, self_bias)
        y = self.pre_cross_attention_layer_norm(x)
        x = x + self.encoder_decoder_attention.attend(y, *cross, cross_bias)
        return x + self.mlp(self.pre_mlp_layer_norm(x)), own


def _apply_layers(
    stack: nn.Module, x: jax.Array, *context: jax.Array, deterministic: bool
) -> jax.Array:
    """Applies a stack's layers one after another: [B, L, D] -> [B, L, D].

    With `config.scan` one layer is compiled, and run over all layers' parameters, which
    are put together in the step: the parameters keep their names and shapes.
    """
    config = stack.config
    if not config.scan or stack.is_initializing():
        for layer in stack.layers:
            x = layer(x, *context, deterministic)
        return x

    def one(x: jax.Array, part: tuple) -> tuple[jax.Array, None]:
        params, key = part
        layer = stack.layer_type(config, parent=None)
        rngs = None if key is None else {"dropout": key}
        return layer.apply(
            {"params": params}, x, *context, deterministic, rngs=rngs
        ), None

    every = [layer.variables["params"] for layer in stack.layers]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    keys = None
    if not deterministic:
        keys = jax.random.split(stack.make_rng("dropout"), len(every))
    body = jax.checkpoint(one, prevent_cse=False) if config.remat else one
    return jax.lax.scan(body, x, (params, keys))[0]


class Embedding(nn.Module):
    """Token embeddings, [..] int32 -> [.., D]."""

    config: T5Config

    def setup(self) -> None:
        """Makes the table, [V, D]."""
        self.embedding = self.param(
            "embedding",
            nn.with_logical_partitioning(
                nn.initializers.normal(1.0), ("vocab", "embed")
            ),
            (self.config.vocab_size, self.config.emb_dim),
            jnp.float32,
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Looks tokens up."""
        return jnp.take(self.embedding.astype(self.config.dtype), tokens, axis=0)

    def attend(self, x: jax.Array) -> jax.Array:
        """Logits [.., V] of [.., D] against the table, scaled by D ** -0.5."""
        table = self.embedding.astype(self.config.dtype)
        return jnp.dot(x * self.config.emb_dim**-0.5, table.T)


class Encoder(nn.Module):
    """The encoder stack."""

    config: T5Config
    layer_type = EncoderLayer

    def setup(self) -> None:
        """Names the parts as T5X does."""
        config = self.config
        self.relpos_bias = RelativePositionBias(config, bidirectional=True)
        layer = self.layer_type
        if config.remat:
            layer = nn.remat(layer, static_argnums=(3,))
        self.layers = [layer(config) for _ in range(config.num_encoder_layers)]
        self.encoder_norm = RMSNorm(config.dtype)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self, x: jax.Array, allowed: jax.Array, deterministic: bool
    ) -> jax.Array:
        """[B, S, D] -> [B, S, D]; `allowed` is bool [B, 1, 1 or S, S]."""
        x = self.dropout(x, deterministic=deterministic)
        bias = self.relpos_bias(x.shape[1], x.shape[1])
        bias = bias + mask_bias(allowed, self.config.dtype)
        x = _apply_layers(self, x, bias, deterministic=deterministic)
        return self.dropout(self.encoder_norm(x), deterministic=deterministic)


class Cache(NamedTuple):
    """What decoding keeps between steps; a tuple over the layers each.

    Attributes:
        own: Keys and values of the tokens so far, each [B, H, T, head_dim].
        cross: Keys and values of the encoder's output, each [B, H, S, head_dim].
        cross_bias: Masks the encoder's padding, [B, 1, 1, S].
    """

    own: tuple
    cross: tuple
    cross_bias: jax.Array


class Decoder(nn.Module):
    """The decoder stack, up to the logits of an untied output."""

    config: T5Config
    layer_type = DecoderLayer

    def setup(self) -> None:
        """Names the parts as T5X does."""
        config = self.config
        self.relpos_bias = RelativePositionBias(config, bidirectional=False)
        layer = self.layer_type
        if config.remat:
            layer = nn.remat(layer, static_argnums=(5,))
        self.layers = [layer(config) for _ in range(config.num_decoder_layers)]
        self.decoder_norm = RMSNorm(config.dtype)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        if not config.logits_via_embedding:
            self.logits_dense = Dense(
                config.vocab_size, ("embed", "vocab"), config.dtype
            )

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        own_allowed: jax.Array,
        cross_allowed: jax.Array,
        deterministic: bool,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D or V]; masks are bool [B or 1, 1, .., ..]."""
        x = self.dropout(x, deterministic=deterministic)
        self_bias = self.relpos_bias(x.shape[1], x.shape[1])
        self_bias = self_bias + mask_bias(own_allowed, self.config.dtype)
        cross_bias = mask_bias(cross_allowed, self.config.dtype)
        context = (encoded, self_bias, cross_bias)
        x = _apply_layers(self, x, *context, deterministic=deterministic)
        x = self.dropout(self.decoder_norm(x), deterministic=deterministic)
        return x if self.config.logits_via_embedding else self.logits_dense(x)

    def start(self, encoded: jax.Array, cross_allowed: jax.Array, length: int) -> Cache:
        """An empty cache for `length` tokens, with the encoder's part filled in."""
        config = self.config
        shape = (encoded.shape[0], config.num_heads, length, config.head_dim)
        empty = jnp.zeros(shape, config.dtype)
        return Cache(
            own=tuple((empty, empty) for _ in self.layers),
            cross=tuple(layer.cross_keys_values(encoded) for layer in self.layers),
            cross_bias=mask_bias(cross_allowed, config.dtype),
        )

    def step(
        self, x: jax.Array, cache: Cache, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """One position: [B, 1, D] -> [B, 1, D or V], and the cache after it."""
        length = cache.own[0][0].shape[2]
        bias = self.relpos_bias(length, length)
        bias = jax.lax.dynamic_slice_in_dim(bias, index, 1, axis=2)
        bias = bias + mask_bias(jnp.arange(length) <= index, self.config.dtype)
        own = []
        for layer, kept, cross in zip(self.layers, cache.own, cache.cross, strict=True):
            x, kept = layer.step(x, kept, cross, index, bias, cache.cross_bias)
            own.append(kept)
        x = self.decoder_norm(x)
        x = x if self.config.logits_via_embedding else self.logits_dense(x)
        return x, cache._replace(own=tuple(own))


class Transformer(nn.Module):
    """The student."""

    config: T5Config

    def setup(self) -> None:
        """Names the parts as T5X does."""
        self.token_embedder = Embedding(self.config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def _logits(self, x: jax.Array) -> jax.Array:
        if self.config.logits_via_embedding:
            x = self.token_embedder.attend(x)
        x = nn.with_logical_constraint(x, ("batch", "length", "vocab"))
        return x.astype(jnp.float32)

    def encode(
        self,
        tokens: jax.Array,
        segment_ids: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Encodes int32 tokens [B, S] (0 is padding) to [B, S, D]."""
        if segment_ids is None:
            allowed = (tokens > 0)[:, None, None, :]
        else:
            allowed = _same_segment(segment_ids, segment_ids)
        return self.encoder(self.token_embedder(tokens), allowed, deterministic)

    def __call__(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        *,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Logits for teacher-forced decoding.

        Relative positions need no position ids in a packed row: what is masked aside,
        distances within an example are distances within the row.

        Args:
            encoder_input_tokens: Int32 [B, S], 0 is padding.
            decoder_input_tokens: Int32 [B, T], the targets shifted right, 0 first.
            encoder_segment_ids: Int32 [B, S], which of the packed examples, from 1.
            decoder_segment_ids: Int32 [B, T], the same for the decoder.
            deterministic: Without dropout; otherwise an rng "dropout" is needed.

        Returns:
            float32 [B, T, V].
        """
        encoded = self.encode(encoder_input_tokens, encoder_segment_ids, deterministic)
        length = decoder_input_tokens.shape[1]
        own_allowed = jnp.tril(jnp.ones((length, length), bool))[None, None]
        if decoder_segment_ids is None:
            cross_allowed = (encoder_input_tokens > 0)[:, None, None, :]
        else:
            own_allowed = own_allowed & _same_segment(
                decoder_segment_ids, decoder_segment_ids
            )
            cross_allowed = _same_segment(decoder_segment_ids, encoder_segment_ids)
        return self._logits(
            self.decoder(
                self.token_embedder(decoder_input_tokens),
                encoded,
                own_allowed,
                cross_allowed,
                deterministic,
            )
        )

    def start_decoding(self, encoder_input_tokens: jax.Array, length: int) -> Cache:
        """Encodes int32 [B, S] and makes a cache for decoding `length` tokens."""
        encoded = self.encode(encoder_input_tokens)
        allowed = (encoder_input_tokens > 0)[:, None, None, :]
        return self.decoder.start(encoded, allowed, length)

    def decode_step(
        self, tokens: jax.Array, cache: Cache, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Logits after one more token.

        Args:
            tokens: Int32 [B], the token at position `index` of the decoder's input.
            cache: Of the positions before.
            index: Int32 scalar.

        Returns:
            float32 [B, V] and the cache with this position.
        """
        x = self.token_embedder(tokens[:, None])
        x, cache = self.decoder.step(x, cache, index)
        return self._logits(x)[:, 0], cache


def parameter_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Shapes of the student's parameters by their path parted by "/"."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    made = jax.eval_shape(Transformer(config).init, key, tokens, tokens)
    flat = traverse_util.flatten_dict(nn.unbox(made["params"]), sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _same_segment(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Whether query and key are of the same packed example: bool [B, 1, Q, K]."""
    same = queries[:, :, None] == keys[:, None, :]
    return (same & (keys > 0)[:, None, :])[:, None]
