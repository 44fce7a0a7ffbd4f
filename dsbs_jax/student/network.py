"""The T5 encoder-decoder, v1.0, v1.1 and umT5, with T5X's parameter tree.

Masks depend on the key alone. A padding query computes a value that nothing reads.
Relative position bias and mask are added once for each stack, not once for each layer,
except in umT5 (`stack_layers`).
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.linen.spmd import with_logical_constraint

from dsbs_jax.student.config import T5Config
from dsbs_jax.student.cross_entropy import weighted_cross_entropy
from dsbs_jax.student.layers import (
    MASKED,
    Embedding,
    Output,
    RelativePositionBias,
    RMSNorm,
    position_buckets,
)
from dsbs_jax.student.products import product
from dsbs_jax.student.stack_layers import (
    DecoderLayer,
    EncoderLayer,
    KeysValues,
    add_relative_bias,
)
from dsbs_jax.student.stacks import apply_layers, recomputed


def mask_bias(allowed: jax.Array, dtype: str) -> jax.Array:
    """Turns a mask into an attention bias.

    Args:
        allowed: Bool, of any shape: whether a query may attend to a key.
        dtype: Type of the result.

    Returns:
        0 where attention is allowed, a large negative number elsewhere.
    """
    return jnp.where(allowed, 0.0, MASKED).astype(dtype)


def padding_mask(tokens: jax.Array) -> jax.Array:
    """Returns which keys are not padding: int32 [B, S] -> bool [B, 1, 1, S]."""
    return (tokens > 0)[:, None, None, :]


def segment_mask(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns which queries and keys belong to the same example of a packed row.

        queries [1 1 2 0], keys [1 2 0]
        -> [[1 0 0], [1 0 0], [0 1 0], [0 0 0]]

    Args:
        queries: Segment ids of the queries, int32 [B, Q]; 0 is padding.
        keys: Segment ids of the keys, int32 [B, M].

    Returns:
        bool [B, 1, Q, M].
    """
    same = queries[:, :, None] == keys[:, None, :]
    return (same & (keys > 0)[:, None, :])[:, None]


class Encoder(nn.Module):
    """The encoder stack."""

    config: T5Config
    layer_type = EncoderLayer

    def setup(self) -> None:
        """Creates the parts, named as in T5X."""
        config = self.config
        in_layers = config.relative_bias_in_layers
        self.relpos_bias = None if in_layers else RelativePositionBias(config)
        # `deterministic` is a Python bool and must stay one.
        layer = recomputed(self.layer_type, config, static_argnums=(4,))
        self.layers = [layer(config) for _ in range(config.num_encoder_layers)]
        self.encoder_norm = RMSNorm(config.dtype)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self, x: jax.Array, allowed: jax.Array, deterministic: bool
    ) -> jax.Array:
        """Encodes embedded tokens.

        Args:
            x: [B, S, D].
            allowed: Mask, bool [B, 1, S or 1, S].
            deterministic: Whether dropout is off.

        Returns:
            [B, S, D].
        """
        x = self.dropout(x, deterministic=deterministic)
        buckets = position_buckets(self.config, x.shape[1], bidirectional=True)
        mask = (mask_bias(allowed, self.config.dtype),)
        bias = add_relative_bias(self.config, self.relpos_bias, mask, buckets)
        x = apply_layers(self, x, bias, buckets, deterministic=deterministic)
        return self.dropout(self.encoder_norm(x), deterministic=deterministic)


class Cache(NamedTuple):
    """Arrays that decoding keeps between steps.

    Attributes:
        own: For each layer, keys and values of the decoder's positions, [B, H, T, K];
            positions that are not decoded yet hold zeros.
        cross: For each layer, keys and values of the encoder's output, [B, H, S, K].
        cross_bias: Mask of the encoder's padding, [B, 1, 1, S].
    """

    own: tuple[KeysValues, ...]
    cross: tuple[KeysValues, ...]
    cross_bias: jax.Array


class Decoder(nn.Module):
    """The decoder stack, with the output layer of an untied student."""

    config: T5Config
    layer_type = DecoderLayer

    def setup(self) -> None:
        """Creates the parts, named as in T5X."""
        config = self.config
        in_layers = config.relative_bias_in_layers
        self.relpos_bias = None if in_layers else RelativePositionBias(config)
        # `deterministic` is a Python bool and must stay one.
        layer = recomputed(self.layer_type, config, static_argnums=(6,))
        self.layers = [layer(config) for _ in range(config.num_decoder_layers)]
        self.decoder_norm = RMSNorm(config.dtype)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        if not config.logits_via_embedding:
            self.logits_dense = Output(config)

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        own_allowed: jax.Array,
        cross_allowed: jax.Array,
        deterministic: bool,
        buckets: jax.Array | None = None,
    ) -> jax.Array:
        """Decodes all positions at once.

        Args:
            x: Embedded tokens, [B, T, D].
            encoded: The encoder's output, [B, S, D].
            own_allowed: Mask of the decoder's positions, bool [B or 1, 1, T, T].
            cross_allowed: Mask of the encoder's positions, bool [B, 1, T or 1, S].
            deterministic: Whether dropout is off.
            buckets: Buckets of relative positions, int32 [T, T]; None for positions in
                order.

        Returns:
            The inputs of the output layer, [B, T, D].
        """
        x = self.dropout(x, deterministic=deterministic)
        if buckets is None:
            buckets = self._buckets(x.shape[1])
        mask = (mask_bias(own_allowed, self.config.dtype),)
        self_bias = add_relative_bias(self.config, self.relpos_bias, mask, buckets)
        cross_bias = (mask_bias(cross_allowed, self.config.dtype),)
        context = (encoded, self_bias, cross_bias, buckets)
        x = apply_layers(self, x, *context, deterministic=deterministic)
        return self.dropout(self.decoder_norm(x), deterministic=deterministic)

    def _buckets(self, length: int) -> jax.Array:
        """Returns the buckets of positions in order, int32 [T, T]."""
        return position_buckets(self.config, length, bidirectional=False)

    def start(self, encoded: jax.Array, cross_allowed: jax.Array, length: int) -> Cache:
        """Creates the cache for decoding.

        Args:
            encoded: The encoder's output, [B, S, D].
            cross_allowed: Mask of the encoder's positions, bool [B, 1, 1, S].
            length: T, the largest number of tokens.
        """
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
        """Decodes one position.

        Args:
            x: The position's embedded token, [B, 1, D].
            cache: Cache of the positions before `index`.
            index: The position, int32 scalar.

        Returns:
            The inputs of the output layer, [B, 1, D], and the cache with this position.
        """
        length = cache.own[0][0].shape[2]
        # The buckets of all T positions are a constant of the compiled step.
        buckets = jax.lax.dynamic_slice_in_dim(self._buckets(length), index, 1)
        mask = mask_bias(jnp.arange(length) <= index, self.config.dtype)
        terms = (mask[None, None, None],)
        bias = add_relative_bias(self.config, self.relpos_bias, terms, buckets)
        own = []
        for layer, cached, cross in zip(
            self.layers, cache.own, cache.cross, strict=True
        ):
            x, keys_values = layer.step(
                x, cached, cross, index, bias, (cache.cross_bias,), buckets
            )
            own.append(keys_values)
        return self.decoder_norm(x), cache._replace(own=tuple(own))


class Transformer(nn.Module):
    """The student: a T5 encoder-decoder."""

    config: T5Config

    def setup(self) -> None:
        """Creates the parts, named as in T5X."""
        self.token_embedder = Embedding(self.config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def _output_layer(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the factors of the logits: [B, T, D], scaled, and [D, V].

        A tied student multiplies by its embedding. T5 scales by D ** -0.5 then, because
        the table has entries of variance 1.
        """
        if self.config.logits_via_embedding:
            table = self.token_embedder.embedding
            return x * self.config.emb_dim**-0.5, table.T
        return x, self.decoder.logits_dense.kernel

    def _logits(self, x: jax.Array) -> jax.Array:
        """[B, T, D] -> float32 [B, T, V]."""
        logits = product(*self._output_layer(x), self.config.types)
        logits = with_logical_constraint(logits, ("batch", "length", "vocab"))
        return logits.astype(jnp.float32)

    def encode(
        self,
        tokens: jax.Array,
        segment_ids: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Encodes tokens.

        Args:
            tokens: Int32 [B, S], 0 is padding.
            segment_ids: Int32 [B, S], the number of each token's example in a packed
                row, from 1; 0 is padding.
            deterministic: Whether dropout is off.

        Returns:
            [B, S, D].
        """
        if segment_ids is None:
            allowed = padding_mask(tokens)
        else:
            allowed = segment_mask(segment_ids, segment_ids)
        return self.encoder(self.token_embedder(tokens), allowed, deterministic)

    def _decoded(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None,
        decoder_segment_ids: jax.Array | None,
        deterministic: bool,
    ) -> jax.Array:
        """Computes the inputs of the output layer, [B, T, D]; as in `__call__`."""
        encoded = self.encode(encoder_input_tokens, encoder_segment_ids, deterministic)
        length = decoder_input_tokens.shape[1]
        own_allowed = jnp.tril(jnp.ones((length, length), bool))[None, None]
        if decoder_segment_ids is None or encoder_segment_ids is None:
            if decoder_segment_ids is not encoder_segment_ids:
                raise ValueError("segment ids are given for one side only")
            cross_allowed = padding_mask(encoder_input_tokens)
        else:
            own_allowed = own_allowed & segment_mask(
                decoder_segment_ids, decoder_segment_ids
            )
            cross_allowed = segment_mask(decoder_segment_ids, encoder_segment_ids)
        return self.decoder(
            self.token_embedder(decoder_input_tokens),
            encoded,
            own_allowed,
            cross_allowed,
            deterministic,
        )

    def __call__(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        *,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Computes the logits of all target positions (teacher forcing).

        A packed row needs no position ids: T5's positions are relative, and the
        distance of two tokens of an example is the same in the row. Other pairs are
        masked.

        Args:
            encoder_input_tokens: Int32 [B, S], 0 is padding.
            decoder_input_tokens: Int32 [B, T], the targets shifted right, 0 first.
            encoder_segment_ids: Int32 [B, S], the number of each token's example in a
                packed row, from 1; 0 is padding.
            decoder_segment_ids: Int32 [B, T], the same for the decoder; both or neither
                are given.
            deterministic: Whether dropout is off; if not, an rng "dropout" is needed.

        Returns:
            float32 [B, T, V].
        """
        x = self._decoded(
            encoder_input_tokens,
            decoder_input_tokens,
            encoder_segment_ids,
            decoder_segment_ids,
            deterministic,
        )
        return self._logits(x)

    def weighted_loss(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        targets: jax.Array,
        weights: jax.Array,
        *,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
        deterministic: bool = True,
        parts: int = 1,
    ) -> tuple[jax.Array, jax.Array]:
        """Computes the weighted cross-entropy of the targets without all logits.

        Args:
            encoder_input_tokens: As in `__call__`, like the next one, the segment ids
                and `deterministic`.
            decoder_input_tokens: Int32 [B, T].
            targets: Int32 [B, T].
            weights: The weight of each target token, float32 [B, T]; 0 for padding.
            encoder_segment_ids: Int32 [B, S].
            decoder_segment_ids: Int32 [B, T].
            deterministic: Whether dropout is off.
            parts: Parts of the positions whose logits exist at the same time.

        Returns:
            The sum of weight * nats, float32 scalar, and the nats of each token,
            float32 [B, T], which have no gradient.
        """
        x = self._decoded(
            encoder_input_tokens,
            decoder_input_tokens,
            encoder_segment_ids,
            decoder_segment_ids,
            deterministic,
        )
        return weighted_cross_entropy(
            *self._output_layer(x), targets, weights, self.config.types, parts
        )

    def tree_logits(
        self,
        encoded: jax.Array,
        encoder_input_tokens: jax.Array,
        node_tokens: jax.Array,
        ancestors: jax.Array,
        position_buckets: jax.Array,
    ) -> jax.Array:
        """Computes the logits after each node of a tree of target prefixes.

        A node is a prefix of one or more targets. It attends to itself and to its
        ancestors, which are the prefix's tokens, at the distances that they have in the
        prefix. Its logits are therefore those that `__call__` computes for the prefix,
        and targets with a common prefix share its computation.

        Args:
            encoded: The encoder's output, [B, S, D].
            encoder_input_tokens: Int32 [B, S], 0 is padding.
            node_tokens: The last token of each of M prefixes, 0 of the empty one, int32
                [M].
            ancestors: Which prefixes (second axis) begin a prefix (first axis), bool
                [M, M]; a prefix begins itself.
            position_buckets: Buckets of the distances between prefixes in tokens, int32
                [M, M].

        Returns:
            float32 [B, M, V].
        """
        x = self.token_embedder(node_tokens[None])
        x = jnp.broadcast_to(x, (encoded.shape[0], *x.shape[1:]))
        return self._logits(
            self.decoder(
                x,
                encoded,
                ancestors[None, None],
                padding_mask(encoder_input_tokens),
                True,
                position_buckets,
            )
        )

    def start_decoding(self, encoder_input_tokens: jax.Array, length: int) -> Cache:
        """Encodes the inputs and creates the cache for decoding.

        Args:
            encoder_input_tokens: Int32 [B, S], 0 is padding.
            length: T, the largest number of tokens.
        """
        encoded = self.encode(encoder_input_tokens)
        return self.decoder.start(encoded, padding_mask(encoder_input_tokens), length)

    def decode_step(
        self, tokens: jax.Array, cache: Cache, index: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Computes the logits after one more token.

        Args:
            tokens: Int32 [B], the decoder's input at position `index`.
            cache: Cache of the positions before `index`.
            index: The position, int32 scalar.

        Returns:
            float32 [B, V], and the cache with this position.
        """
        x = self.token_embedder(tokens[:, None])
        x, cache = self.decoder.step(x, cache, index)
        return self._logits(x)[:, 0], cache


def parameter_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the student's parameters, by parameter name.

    A parameter's name is its path joined by "/". No array is created.
    """
    return dict(_traced_shapes(config))


@functools.cache
def _traced_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
    """Traces the network, which takes seconds for many layers, once for a config."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables: Any = jax.eval_shape(Transformer(config).init, key, tokens, tokens)
    flat = traverse_util.flatten_dict(nn.unbox(variables["params"]), sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}
