"""Greedy and beam decoding with a cache, ending as soon as every row has ended."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dsbs_jax.student.network import Cache, Transformer

EOS = 1
# Stands for a beam that must not be chosen.
_NEVER = -1e9


class Decoded(NamedTuple):
    """What decoding found.

    Attributes:
        tokens: Int32 [B, T], the end of sequence included, 0 behind it.
        log_probability: Float32 [B], sum over the generated tokens, in nats.
        steps: Int32 scalar, decoder steps that were run.
    """

    tokens: jax.Array
    log_probability: jax.Array
    steps: jax.Array


@functools.partial(
    jax.jit, static_argnames=("model", "max_decode_length", "stop_at_eos")
)
def greedy(
    model: Transformer,
    params: Any,
    encoder_input_tokens: jax.Array,
    max_decode_length: int,
    stop_at_eos: bool = True,
) -> Decoded:
    """Takes the most likely token at each step.

    Args:
        model: The student.
        params: Its parameters.
        encoder_input_tokens: Int32 [B, S]; a row of padding has ended at once.
        max_decode_length: T, new tokens at most; Hugging Face's `max_length` counts the
            start token too and is one more.
        stop_at_eos: False always generates T tokens, for timing.
    """
    batch = encoder_input_tokens.shape[0]
    variables = {"params": params}
    cache = model.apply(
        variables,
        encoder_input_tokens,
        max_decode_length,
        method=Transformer.start_decoding,
    )

    def unfinished(state: tuple) -> jax.Array:
        step, _, _, ended, _, _ = state
        return (step < max_decode_length) & ~jnp.all(ended)

    def advance(state: tuple) -> tuple:
        step, last, tokens, ended, total, cache = state
        logits, cache = model.apply(
            variables, last, cache, step, method=Transformer.decode_step
        )
        best, log_prob = _most_likely(logits)
        best = jnp.where(ended, 0, best)
        total = total + jnp.where(ended, 0.0, log_prob)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, best[:, None], step, axis=1
        )
        if stop_at_eos:
            ended = ended | (best == EOS)
        return step + 1, best, tokens, ended, total, cache

    state = (
        jnp.zeros((), jnp.int32),
        jnp.zeros(batch, jnp.int32),
        jnp.zeros((batch, max_decode_length), jnp.int32),
        ~jnp.any(encoder_input_tokens > 0, axis=1),
        jnp.zeros(batch, jnp.float32),
        cache,
    )
    steps, _, tokens, _, total, _ = jax.lax.while_loop(unfinished, advance, state)
    return Decoded(tokens, total, steps)


def _most_likely(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The most likely token and its log-probability: int32 and float32 [B] of [B, V].

    Of several equal ones the first, as by `jnp.argmax`, but in two plain reductions,
    which a CPU does three times as fast as a search for value and place at once.
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    places = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    best = jnp.min(jnp.where(logits == highest, places, logits.shape[-1] - 1), axis=-1)
    return best, highest[:, 0] - jax.nn.logsumexp(logits, axis=-1)


class _Beams(NamedTuple):
    """State of a beam search; scores are sums of log-probabilities.

    Attributes:
        step: Int32 scalar.
        tokens: Int32 [B, N, T], of the beams that go on.
        scores: Float32 [B, N], theirs, best first.
        done_tokens: Int32 [B, N, T], of ended beams.
        done_scores: Float32 [B, N], length-normalised, best first.
        done_totals: Float32 [B, N], the same before they are normalised.
        open: Bool [B], whether a better ended beam may yet come.
        cache: Rows [B * N].
    """

    step: jax.Array
    tokens: jax.Array
    scores: jax.Array
    done_tokens: jax.Array
    done_scores: jax.Array
    done_totals: jax.Array
    open: jax.Array
    cache: Cache


def _take(array: jax.Array, index: jax.Array) -> jax.Array:
    """Picks beams: [B, M, ...] by int32 [B, N] -> [B, N, ...]."""
    index = index.reshape(*index.shape, *[1] * (array.ndim - 2))
    return jnp.take_along_axis(array, index, axis=1)


@functools.partial(
    jax.jit,
    static_argnames=("model", "max_decode_length", "num_beams", "length_penalty"),
)
def beam_search(
    model: Transformer,
    params: Any,
    encoder_input_tokens: jax.Array,
    max_decode_length: int,
    num_beams: int = 4,
    length_penalty: float = 1.0,
) -> Decoded:
    """Beam search as Hugging Face's `generate` does it, with early_stopping=False.

    Each step keeps the best `num_beams` of the continuations that have not ended; ended
    ones are ranked by their log-probability over length ** `length_penalty`. A row is
    closed when its best going beam, so normalised, is no better than its worst of
    `num_beams` ended ones.

    Args:
        model: The student.
        params: Its parameters.
        encoder_input_tokens: Int32 [B, S]; a row of padding has ended at once.
        max_decode_length: T, new tokens at most.
        num_beams: N.
        length_penalty: 0 or more; the larger, the longer the result.
    """
    batch, length, n = encoder_input_tokens.shape[0], max_decode_length, num_beams
    variables = {"params": params}
    cache = model.apply(
        variables, encoder_input_tokens, length, method=Transformer.start_decoding
    )
    cache = jax.tree.map(lambda x: jnp.repeat(x, n, axis=0), cache)

    def unfinished(beams: _Beams) -> jax.Array:
        return (beams.step < length) & jnp.any(beams.open)

    def advance(beams: _Beams) -> _Beams:
        step = beams.step
        last = jnp.where(
            step > 0,
            jax.lax.dynamic_index_in_dim(
                beams.tokens, jnp.maximum(step - 1, 0), axis=2, keepdims=False
            ),
            0,
        )
        logits, cache = model.apply(
            variables,
            last.reshape(-1),
            beams.cache,
            step,
            method=Transformer.decode_step,
        )
        log_probs = jax.nn.log_softmax(logits).reshape(batch, n, -1)
        vocabulary = log_probs.shape[-1]
        totals = (log_probs + beams.scores[:, :, None]).reshape(batch, -1)
        # Twice as many as needed, so that n are left should n of them end.
        scores, flat = jax.lax.top_k(totals, 2 * n)
        source, token = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
        tokens = _take(beams.tokens, source)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, token[:, :, None], step, axis=2
        )
        ends = (token == EOS) | (step + 1 == length)

        going_scores, chosen = jax.lax.top_k(jnp.where(ends, _NEVER, scores), n)
        own = jax.tree.map(
            lambda x: _take(
                x.reshape(batch, n, *x.shape[1:]), _take(source, chosen)
            ).reshape(x.shape),
            cache.own,
        )
        penalty = (step + 1).astype(jnp.float32) ** length_penalty
        may_end = ends & (jnp.arange(2 * n) < n) & beams.open[:, None]
        ended = jnp.where(may_end, scores / penalty, _NEVER)
        all_scores = jnp.concatenate([beams.done_scores, ended], axis=1)
        done_scores, kept = jax.lax.top_k(all_scores, n)
        all_tokens = jnp.concatenate([beams.done_tokens, tokens], axis=1)
        all_totals = jnp.concatenate([beams.done_totals, scores], axis=1)
        better = going_scores[:, 0] / penalty > done_scores[:, -1]
        return _Beams(
            step + 1,
            _take(tokens, chosen),
            going_scores,
            _take(all_tokens, kept),
            done_scores,
            _take(all_totals, kept),
            beams.open & better,
            cache._replace(own=own),
        )

    first = jnp.where(jnp.arange(n) == 0, 0.0, _NEVER)
    none = jnp.zeros((batch, n, length), jnp.int32)
    beams = _Beams(
        jnp.zeros((), jnp.int32),
        none,
        jnp.broadcast_to(first, (batch, n)),
        none,
        jnp.full((batch, n), _NEVER),
        jnp.zeros((batch, n)),
        jnp.any(encoder_input_tokens > 0, axis=1),
        cache,
    )
    beams = jax.lax.while_loop(unfinished, advance, beams)
    return Decoded(beams.done_tokens[:, 0], beams.done_totals[:, 0], beams.step)
