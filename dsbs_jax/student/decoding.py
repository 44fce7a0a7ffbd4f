"""Greedy and beam decoding with a cache.

Both stop as soon as every row has ended, so short answers are fast. N is the number of
beams, C = 2 * N the number of candidates in a step of beam search.
"""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from dsbs_jax.student.network import Cache, Transformer

EOS = 1
# Score of a beam that must not be chosen: lower than any sum of log-probabilities.
_NEVER = -1e9


class Decoded(NamedTuple):
    """The result of decoding.

    Attributes:
        tokens: Int32 [B, T], with the end token, and 0 after it.
        log_probability: Float32 [B], sum over the generated tokens, in nats.
        steps: Int32 scalar, the number of decoder steps.
    """

    tokens: jax.Array
    log_probability: jax.Array
    steps: jax.Array


def _start(model: Transformer, params: Any, inputs: jax.Array, length: int) -> Cache:
    """Encodes inputs, int32 [B, S], and creates the cache for `length` tokens."""
    cache = model.apply(
        {"params": params}, inputs, length, method=Transformer.start_decoding
    )
    # `apply` returns what the method returns, but Flax types it as variables.
    return cast(Cache, cache)


def _decode_step(
    model: Transformer, params: Any, tokens: jax.Array, cache: Cache, step: jax.Array
) -> tuple[jax.Array, Cache]:
    """Returns the logits after `tokens` [B], float32 [B, V], and the new cache."""
    result = model.apply(
        {"params": params}, tokens, cache, step, method=Transformer.decode_step
    )
    return cast(tuple[jax.Array, Cache], result)


class _Greedy(NamedTuple):
    """State of greedy decoding.

    Attributes:
        step: Int32 scalar.
        last: Int32 [B], the decoder's next input.
        tokens: Int32 [B, T].
        ended: Bool [B].
        total: Float32 [B], sum of the tokens' log-probabilities.
        cache: The decoder's cache.
    """

    step: jax.Array
    last: jax.Array
    tokens: jax.Array
    ended: jax.Array
    total: jax.Array
    cache: Cache


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
    """Generates the most likely token in each step.

    Args:
        model: The student.
        params: The student's parameters.
        encoder_input_tokens: Int32 [B, S]; a row of padding ends at once.
        max_decode_length: T, the largest number of new tokens. Hugging Face's
            `max_length` also counts the start token, so it is T + 1.
        stop_at_eos: False always generates T tokens, for timing.
    """
    batch = encoder_input_tokens.shape[0]

    def unfinished(state: _Greedy) -> jax.Array:
        return (state.step < max_decode_length) & ~jnp.all(state.ended)

    def advance(state: _Greedy) -> _Greedy:
        step, last, tokens, ended, total, cache = state
        logits, cache = _decode_step(model, params, last, cache, step)
        best, log_probability = _most_likely(logits)
        # Rows that have ended are computed with the others, and padded.
        best = jnp.where(ended, 0, best)
        total = total + jnp.where(ended, 0.0, log_probability)
        tokens = jax.lax.dynamic_update_slice_in_dim(
            tokens, best[:, None], step, axis=1
        )
        if stop_at_eos:
            ended = ended | (best == EOS)
        return _Greedy(step + 1, best, tokens, ended, total, cache)

    state = _Greedy(
        step=jnp.zeros((), jnp.int32),
        last=jnp.zeros(batch, jnp.int32),
        tokens=jnp.zeros((batch, max_decode_length), jnp.int32),
        ended=~jnp.any(encoder_input_tokens > 0, axis=1),
        total=jnp.zeros(batch, jnp.float32),
        cache=_start(model, params, encoder_input_tokens, max_decode_length),
    )
    state = jax.lax.while_loop(unfinished, advance, state)
    return Decoded(state.tokens, state.total, state.step)


def _most_likely(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Finds the most likely token of each row.

    The result equals `jnp.argmax`, which is the first of equal logits. It is computed
    by two plain reductions: the maximum, then the smallest index with this value. A CPU
    computes them three times as fast as argmax, which reduces pairs of value and index.

    Args:
        logits: Float32 [B, V].

    Returns:
        The tokens, int32 [B], and their log-probabilities, float32 [B].
    """
    highest = jnp.max(logits, axis=-1, keepdims=True)
    indices = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    last = logits.shape[-1] - 1
    best = jnp.min(jnp.where(logits == highest, indices, last), axis=-1)
    return best, highest[:, 0] - jax.nn.logsumexp(logits, axis=-1)


class _Beams(NamedTuple):
    """State of beam search; scores are log-probabilities in nats.

    Attributes:
        step: Int32 scalar.
        tokens: Running beams, int32 [B, N, T].
        scores: Log-probabilities of the running beams, float32 [B, N], best first.
        done_tokens: Finished beams, int32 [B, N, T].
        done_scores: Length-normalized scores of the finished beams, float32 [B, N],
            best first; `_NEVER` where there are fewer than N.
        done_totals: Log-probabilities of the finished beams, float32 [B, N].
        open: Bool [B], whether a better finished beam is still possible.
        cache: The decoder's cache, with B * N rows: row b * N + n is beam n of row b.
    """

    step: jax.Array
    tokens: jax.Array
    scores: jax.Array
    done_tokens: jax.Array
    done_scores: jax.Array
    done_totals: jax.Array
    open: jax.Array
    cache: Cache


class _Candidates(NamedTuple):
    """The best C continuations of a row's running beams, best first.

    Attributes:
        tokens: Int32 [B, C, T], with the new token.
        scores: Log-probabilities, float32 [B, C].
        sources: Int32 [B, C], the beam that each one continues.
        ends: Bool [B, C], whether it ends with this step.
    """

    tokens: jax.Array
    scores: jax.Array
    sources: jax.Array
    ends: jax.Array


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
    """Decodes with the beam search of Hugging Face's `generate` (early_stopping=False).

    Each step extends the N running beams of a row by one token. The best N
    continuations without the end token are the next running beams. Continuations with
    the end token are finished beams. The N best finished beams of all steps are kept,
    ranked by log-probability / length ** `length_penalty`. A row is complete when its
    best running beam, normalized in the same way, is not better than the worst of N
    finished beams.

    Args:
        model: The student.
        params: The student's parameters.
        encoder_input_tokens: Int32 [B, S]; a row of padding ends at once.
        max_decode_length: T, the largest number of new tokens.
        num_beams: N.
        length_penalty: 0 or more; a larger value prefers longer results.
    """
    length = max_decode_length

    def unfinished(beams: _Beams) -> jax.Array:
        return (beams.step < length) & jnp.any(beams.open)

    def advance(beams: _Beams) -> _Beams:
        last = _last_tokens(beams).reshape(-1)
        logits, cache = _decode_step(model, params, last, beams.cache, beams.step)
        candidates = _extend(beams, logits)
        penalty = (beams.step + 1).astype(jnp.float32) ** length_penalty
        return _select(beams._replace(cache=cache), candidates, penalty)

    cache = _start(model, params, encoder_input_tokens, length)
    beams = _first_beams(encoder_input_tokens, cache, length, num_beams)
    beams = jax.lax.while_loop(unfinished, advance, beams)
    return Decoded(beams.done_tokens[:, 0], beams.done_totals[:, 0], beams.step)


def _first_beams(
    encoder_input_tokens: jax.Array, cache: Cache, length: int, n: int
) -> _Beams:
    """Creates the state before the first step."""
    batch = encoder_input_tokens.shape[0]
    # All beams are the same before the first step. Only beam 0 may be continued, or all
    # N beams would choose the same tokens.
    scores = jnp.where(jnp.arange(n) == 0, 0.0, _NEVER)
    no_tokens = jnp.zeros((batch, n, length), jnp.int32)
    return _Beams(
        step=jnp.zeros((), jnp.int32),
        tokens=no_tokens,
        scores=jnp.broadcast_to(scores, (batch, n)),
        done_tokens=no_tokens,
        done_scores=jnp.full((batch, n), _NEVER),
        done_totals=jnp.zeros((batch, n)),
        open=jnp.any(encoder_input_tokens > 0, axis=1),
        cache=jax.tree.map(lambda x: jnp.repeat(x, n, axis=0), cache),
    )


def _last_tokens(beams: _Beams) -> jax.Array:
    """Returns the decoder's inputs, int32 [B, N]; the first is the start token 0."""
    previous = jax.lax.dynamic_index_in_dim(
        beams.tokens, jnp.maximum(beams.step - 1, 0), axis=2, keepdims=False
    )
    return jnp.where(beams.step > 0, previous, 0)


def _extend(beams: _Beams, logits: jax.Array) -> _Candidates:
    """Finds the best continuations of the running beams.

    Args:
        beams: The running beams.
        logits: Float32 [B * N, V], of the next token.
    """
    batch, n, length = beams.tokens.shape
    log_probs = jax.nn.log_softmax(logits).reshape(batch, n, -1)
    vocabulary = log_probs.shape[-1]
    totals = (log_probs + beams.scores[:, :, None]).reshape(batch, -1)
    # At most N of the candidates end, one for each beam. Of 2 * N candidates, at least
    # N can therefore be running beams.
    scores, flat = jax.lax.top_k(totals, 2 * n)
    sources, new = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
    tokens = jax.lax.dynamic_update_slice_in_dim(
        _take(beams.tokens, sources), new[:, :, None], beams.step, axis=2
    )
    # In the last step every beam ends, with or without the end token.
    ends = (new == EOS) | (beams.step + 1 == length)
    return _Candidates(tokens, scores, sources, ends)


def _select(beams: _Beams, candidates: _Candidates, penalty: jax.Array) -> _Beams:
    """Chooses the running and the finished beams after a step.

    Args:
        beams: The beams before the step, with the cache after it.
        candidates: The continuations.
        penalty: Length after the step ** length penalty, float32 scalar.
    """
    n = beams.scores.shape[1]
    scores, chosen = jax.lax.top_k(
        jnp.where(candidates.ends, _NEVER, candidates.scores), n
    )
    # A candidate that ends is finished only if it is among the best N, and if its row
    # is not complete yet, as in Hugging Face's search.
    finishes = candidates.ends & (jnp.arange(2 * n) < n) & beams.open[:, None]
    normalized = jnp.where(finishes, candidates.scores / penalty, _NEVER)
    all_scores = jnp.concatenate([beams.done_scores, normalized], axis=1)
    all_tokens = jnp.concatenate([beams.done_tokens, candidates.tokens], axis=1)
    all_totals = jnp.concatenate([beams.done_totals, candidates.scores], axis=1)
    done_scores, kept = jax.lax.top_k(all_scores, n)
    can_improve = scores[:, 0] / penalty > done_scores[:, -1]
    return _Beams(
        step=beams.step + 1,
        tokens=_take(candidates.tokens, chosen),
        scores=scores,
        done_tokens=_take(all_tokens, kept),
        done_scores=done_scores,
        done_totals=_take(all_totals, kept),
        open=beams.open & can_improve,
        cache=_reorder(beams.cache, _take(candidates.sources, chosen)),
    )


def _reorder(cache: Cache, sources: jax.Array) -> Cache:
    """Reorders the cache so that each beam has the cache of the beam that it extends.

    Only the decoder's keys and values differ between the beams of a row.

    Args:
        cache: The cache of B * N beams.
        sources: Int32 [B, N]. For each beam, the index of the beam that it extends.
    """
    batch, n = sources.shape

    def reorder(x: jax.Array) -> jax.Array:
        return _take(x.reshape(batch, n, *x.shape[1:]), sources).reshape(x.shape)

    return cache._replace(own=jax.tree.map(reorder, cache.own))


def _take(array: jax.Array, index: jax.Array) -> jax.Array:
    """Picks beams: array [B, M, ...], index int32 [B, N] -> [B, N, ...]."""
    index = index.reshape(*index.shape, *[1] * (array.ndim - 2))
    return jnp.take_along_axis(array, index, axis=1)
