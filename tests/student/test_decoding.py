import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student import decoding
from support.students import make_batch, make_examples, make_student

LENGTH = 9


@pytest.fixture(scope="module")
def inputs():
    return make_batch(make_examples(6))["encoder_input_tokens"]


def decode_without_cache(model, params, inputs, length):
    """Decodes greedily; each step runs the decoder on all positions."""
    tokens = np.zeros((len(inputs), length + 1), np.int32)
    total, ended = np.zeros(len(inputs)), np.zeros(len(inputs), bool)
    apply = jax.jit(model.apply)
    for position in range(length):
        logits = apply({"params": params}, inputs, tokens[:, :length])
        log_probs = np.asarray(jax.nn.log_softmax(logits[:, position]))
        best = log_probs.argmax(-1)
        total += np.where(ended, 0, log_probs.max(-1))
        tokens[:, position + 1] = np.where(ended, 0, best)
        ended |= best == decoding.EOS
    return tokens[:, 1:], total


@pytest.mark.slow
def test_cached_and_uncached_decoding_are_equal(student, inputs):
    model, params = student
    tokens, total = decode_without_cache(model, params, inputs, LENGTH)
    decoded = decoding.greedy(model, params, inputs, LENGTH)
    np.testing.assert_array_equal(decoded.tokens, tokens)
    np.testing.assert_allclose(decoded.log_probability, total, atol=1e-4)


@pytest.mark.slow
def test_answers_equal_those_of_t5x(t5x):
    expected = t5x.numbers["padded/greedy_or_beam1_decodes"]
    inputs, length = t5x.numbers["padded/encoder_input_tokens"], expected.shape[1]
    for decode in (decoding.greedy, _one_beam):
        decoded = decode(t5x.model, t5x.params, inputs, length)
        np.testing.assert_array_equal(decoded.tokens, expected)


def _one_beam(model, params, inputs, length):
    # Without a length penalty: with one, the search continues after the end token, as
    # a longer sequence may have a better mean.
    return decoding.beam_search(
        model, params, inputs, length, num_beams=1, length_penalty=0.0
    )


@pytest.mark.slow
def test_one_beam_equals_greedy_decoding(student, inputs):
    model, params = student
    greedy = decoding.greedy(model, params, inputs, LENGTH)
    beam = _one_beam(model, params, inputs, LENGTH)
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)
    np.testing.assert_allclose(beam.log_probability, greedy.log_probability, atol=1e-4)


@pytest.mark.slow
def test_wide_beam_search_equals_exhaustive_search():
    """With 64 beams, no sequence of 3 tokens from a vocabulary of 5 is dropped."""
    model, params = make_student(vocab_size=5)
    inputs = np.asarray([[2, 3, 4, 1], [4, 4, 2, 1], [3, 2, 2, 1]], np.int32)
    length = 3
    # Sequences that the length limit ends, then those with the end token.
    sequences = []
    for body in itertools.product([0, 2, 3, 4], repeat=length):
        sequences.append(body)
    for size in range(length):
        for body in itertools.product([0, 2, 3, 4], repeat=size):
            sequences.append((*body, 1))
    decoded = decoding.beam_search(model, params, inputs, length, num_beams=64)
    apply = jax.jit(model.apply)
    for row, source in enumerate(inputs):
        best = max(
            sequences, key=lambda s: _mean_log_probability(apply, params, source, s)
        )
        tokens = np.asarray(decoded.tokens[row])[: len(best)].tolist()
        assert tuple(tokens) == best


def _mean_log_probability(apply, params, source, sequence):
    tokens = np.zeros((1, 3), np.int32)
    tokens[0, 1 : len(sequence)] = sequence[:-1]
    log_probs = apply({"params": params}, source[None], tokens)[0]
    log_probs = np.asarray(jax.nn.log_softmax(log_probs))
    return float(sum(log_probs[i, t] for i, t in enumerate(sequence))) / len(sequence)


def ending_student():
    """Makes a student that generates the end token first, for every input."""
    model, params = make_student("t5_1_0")
    scale = params["decoder"]["decoder_norm"]["scale"]
    embedding = params["token_embedder"]["embedding"]
    # The embedding is also the output layer. The norm's scale keeps only coordinate 0,
    # which is positive for every input, and there the end token has the largest weight.
    embedding = embedding.at[:, 0].set(0.0).at[decoding.EOS, 0].set(200.0)
    embedding = embedding.at[0, 0].set(50.0)
    params = {
        **params,
        "token_embedder": {"embedding": embedding},
        "decoder": {
            **params["decoder"],
            "decoder_norm": {"scale": jnp.zeros_like(scale).at[0].set(1.0)},
        },
    }
    return model, params


@pytest.mark.parametrize("decode", [decoding.greedy, _one_beam])
def test_decoding_stops_when_all_rows_have_ended(decode, inputs):
    model, params = ending_student()
    decoded = decode(model, params, inputs, LENGTH)
    assert decoded.tokens[:, 0].tolist() == [decoding.EOS] * len(inputs)
    assert not decoded.tokens[:, 1:].any()
    assert int(decoded.steps) < LENGTH


def test_decoding_without_the_end_token_runs_all_steps(inputs):
    model, params = ending_student()
    decoded = decoding.greedy(model, params, inputs, LENGTH, stop_at_eos=False)
    assert int(decoded.steps) == LENGTH


@pytest.mark.parametrize("decode", [decoding.greedy, decoding.beam_search])
@pytest.mark.slow
def test_rows_of_padding_end_without_tokens(student, inputs, decode):
    model, params = student
    with_padding = np.concatenate([inputs, np.zeros_like(inputs[:2])])
    alone = decode(model, params, inputs, LENGTH)
    padded = decode(model, params, with_padding, LENGTH)
    np.testing.assert_array_equal(padded.tokens[:-2], alone.tokens)
    assert not padded.tokens[-2:].any()
    assert padded.log_probability[-2:].tolist() == [0, 0]
    only_padding = decode(model, params, np.zeros_like(inputs), LENGTH)
    assert int(only_padding.steps) == 0
