"""Span corruption against T5's definition, by properties and by a worked example."""

import collections
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import mixtures, span_corruption
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL

HIGHEST = 99


def half_even(value):
    """Rounds an exact fraction, halves to the even number."""
    low = math.floor(value)
    rest = value - low
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1)
    return low + up


def runs_of(mask):
    return [(value, len([*run])) for value, run in itertools.groupby(mask)]


@st.composite
def masks(draw):
    length = draw(st.integers(2, 700))
    seeds = draw(st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=4))
    mask = span_corruption.noise_mask(
        tf.constant(length), tf.reshape(tf.constant(seeds, tf.int32), [2, 2])
    )
    return length, mask.numpy()


@settings(max_examples=60)
@given(masks())
def test_counts_of_noise_tokens_and_spans_are_those_of_t5(drawn):
    length, mask = drawn
    noise = min(max(half_even(Fraction(15, 100) * length), 1), length - 1)
    spans = max(half_even(Fraction(noise, 3)), 1)
    runs = runs_of(mask)
    assert mask.shape == (length,)
    assert mask.sum() == noise
    # Kept and noise spans alternate, and the first is kept.
    assert [value for value, _ in runs] == [False, True] * spans
    assert span_corruption.noise_counts(length) == (noise, spans)


def test_masks_of_all_lengths_have_the_noise_that_is_counted():
    lengths = np.arange(2, 2_000, dtype=np.int32)
    noise, spans = span_corruption._noise_counts(tf.constant(lengths))
    counted = [span_corruption.noise_counts(int(length)) for length in lengths]
    assert counted == list(zip(noise.numpy(), spans.numpy(), strict=True))


@settings(max_examples=60)
@given(masks())
def test_inputs_and_targets_reconstruct_the_text(drawn):
    length, mask = drawn
    # Token ids below those of the sentinels.
    tokens = np.arange(length) + 10
    highest = 5_000
    inputs, targets = (
        span_corruption.replace_spans(
            tf.constant(tokens, tf.int32), tf.constant(chosen), highest
        )
        .numpy()
        .tolist()
        for chosen in (mask, ~mask)
    )
    spans = sum(value for value, _ in runs_of(mask))
    sentinels = [highest - n for n in range(spans)]
    assert [t for t in inputs if t > 1_000] == sentinels
    assert [t for t in targets if t > 1_000] == sentinels
    assert len(inputs) + len(targets) == length + 2 * spans
    # Each sentinel of the inputs is replaced by what follows it in the targets.
    assert targets[0] == highest
    pieces = collections.defaultdict(list)
    for token in targets:
        if token > 1_000:
            current = token
        else:
            pieces[current].append(token)
    text = [t for token in inputs for t in pieces.get(token, [token])]
    assert text == tokens.tolist()


def test_worked_example():
    tokens = tf.constant([10, 11, 12, 13, 14, 15, 16])
    mask = tf.constant([False, True, True, False, False, True, False])
    replaced = span_corruption.replace_spans(tokens, mask, HIGHEST)
    assert replaced.numpy().tolist() == [10, 99, 13, 14, 98, 16]


@pytest.mark.slow
def test_all_divisions_into_spans_are_equally_likely():
    # 6 items in 3 parts: 10 divisions.
    seeds = tf.random.stateless_uniform(
        [4_000, 2], [1, 2], maxval=2**31 - 1, dtype=tf.int32
    )

    def parts(seed):
        return span_corruption._random_parts(tf.constant(6), tf.constant(3), seed)

    drawn = tf.map_fn(parts, seeds, fn_output_signature=tf.TensorSpec([3], tf.int32))
    counts = collections.Counter(map(tuple, drawn.numpy().tolist()))
    assert set(counts) == {
        p for p in itertools.product(range(1, 5), repeat=3) if sum(p) == 6
    }
    # Expected 400 each, with a standard deviation of 19.
    assert all(abs(count - 400) < 5 * 19 for count in counts.values())


@pytest.mark.parametrize("inputs", [16, 64, 512])
@pytest.mark.parametrize("targets", [8, 114])
def test_longest_text_fits_and_the_next_does_not(inputs, targets):
    lengths = {"inputs": inputs, "targets": targets}
    longest = span_corruption.longest_text(lengths, 100)

    def sizes(tokens):
        noise, spans = span_corruption.noise_counts(tokens)
        return tokens - noise + spans + 1, noise + spans + 1

    assert all(a <= b for a, b in zip(sizes(longest), (inputs, targets), strict=True))
    over = sizes(longest + 1)
    assert over[0] > inputs or over[1] > targets


def test_longest_text_of_t5():
    # T5 reads 568 tokens for 512 of inputs and 114 of targets.
    lengths = {"inputs": 512, "targets": 114}
    assert span_corruption.longest_text(lengths, 100) == 568


def test_a_text_never_needs_more_sentinels_than_there_are():
    lengths = {"inputs": 512, "targets": 114}
    longest = span_corruption.longest_text(lengths, 4)
    assert span_corruption.noise_counts(longest)[1] == 4


def test_lengths_that_no_text_fits_are_reported():
    with pytest.raises(UserError, match="expected at least 4 and 3 for pretraining"):
        span_corruption.longest_text({"inputs": 3, "targets": 8}, 100)


TEXTS = [
    "Jar 1: 3 red, 4 blue marbles.</s>The jar has more blue marbles.",
    " ".join(["one jar with many red marbles and few blue marbles"] * 6),
    "x",
]


@pytest.fixture(scope="module")
def data(loaded_vocabulary):
    config = DataConfig(
        dataset="texts",
        method="pretrain",
        data_files="unused",
        task_feature_lengths={"inputs": 32, "targets": 16, "task_ids": 16},
    )
    records = [Record(f"{i}", text) for i, text in enumerate(TEXTS)]
    spec, parts = mixtures._of_texts("texts", records)
    return mixtures.assemble(config, spec, parts, loaded_vocabulary)


def examples(data, epochs=1, seed=0):
    dataset = data.test_task.get_dataset(
        dict(data.task_feature_lengths),
        "train",
        shuffle=False,
        num_epochs=epochs,
        seed=seed,
    )
    return [*dataset.as_numpy_iterator()]


def restored(example, vocabulary):
    """Puts the spans of the targets back into the inputs."""
    sentinels = set(range(vocabulary.vocab_size - 100, vocabulary.vocab_size))
    pieces, current = collections.defaultdict(list), None
    for token in example["targets"].tolist():
        if token in sentinels:
            current = token
        elif token > 1:
            pieces[current].append(token)
    inputs = [t for t in example["inputs"].tolist() if t > 1]
    return [t for token in inputs for t in pieces.get(token, [token])]


def test_task_has_the_texts_in_parts_that_fit(data, loaded_vocabulary):
    assert (data.mixture.name, data.test_task.name) == ("texts_pretrain", "texts_spans")
    assert data.test_task.info.task_id == LABEL
    found = collections.defaultdict(list)
    for example in examples(data):
        assert example["inputs"][-1] == example["targets"][-1] == 1
        assert len(example["inputs"]) <= 32 and len(example["targets"]) <= 16
        assert set(example["task_ids"]) == {LABEL}
        assert len(example["task_ids"]) == len(example["targets"])
        found[example["id"].decode()] += restored(example, loaded_vocabulary)
    # A text of one token is skipped.
    expected = {
        f"{i}": [*loaded_vocabulary.encode(text.replace("</s>", " "))]
        for i, text in enumerate(TEXTS)
    }
    assert {k: v for k, v in expected.items() if len(v) > 1} == dict(found)


def test_each_pass_has_other_spans_and_a_seed_repeats_them(data):
    def tokens(**given):
        return [e["inputs"].tolist() for e in examples(data, **given)]

    two = tokens(epochs=2)
    half = len(two) // 2
    assert two[:half] != two[half:]
    assert two == tokens(epochs=2)
    assert two != tokens(epochs=2, seed=1)
