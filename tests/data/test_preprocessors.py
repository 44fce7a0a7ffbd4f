"""Tests of the preprocessors."""

import jax.numpy as jnp
import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import preprocessors
from dsbs_jax.data.records import Record
from dsbs_jax.data.row_schema import record_columns
from dsbs_jax.data.tasks import output_features
from dsbs_jax.student import objective
from dsbs_jax.task_ids import MAX_WEIGHT, ONE, RATIONALE, TASK_BITS

RECORDS = [
    Record("a", "2 + 2", "4", "4", "two and two"),
    Record("b", "2 + 3", "5", "6", None),
    Record("c", "3 + 3", None, "6", "twice three"),
    Record("d", "4 + 4", "8", None, None),
]


@pytest.fixture
def dataset():
    return tf.data.Dataset.from_tensor_slices(record_columns(RECORDS, "sage"))


@pytest.fixture(scope="module")
def loaded(loaded_vocabulary):
    return loaded_vocabulary


def texts(dataset, **arguments):
    made = preprocessors.text_to_text(dataset, **arguments)
    return [
        {name: value.decode() for name, value in row.items()}
        for row in made.as_numpy_iterator()
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"label": "label"}, {"a": "4", "b": "5", "d": "8"}),
        ({"label": "sage_label"}, {"a": "4", "b": "6", "c": "6"}),
        ({"rationale": "sage_rationale"}, {"a": "two and two", "c": "twice three"}),
        (
            {"rationale": "sage_rationale", "label": "label"},
            {"a": "two and two So the answer is 4"},
        ),
        (
            {"rationale": "sage_rationale", "label": "sage_label"},
            {
                "a": "two and two So the answer is 4",
                "c": "twice three So the answer is 6",
            },
        ),
    ],
)
def test_rows_without_a_needed_field_are_skipped(dataset, arguments, expected):
    made = texts(dataset, prefix="predict: ", **arguments)
    assert {row["id"]: row["targets"] for row in made} == expected
    inputs = {record.id: f"predict: {record.input}" for record in RECORDS}
    assert all(row["inputs"] == inputs[row["id"]] for row in made)
    assert all(set(row) == {"id", "inputs", "targets"} for row in made)


def test_segments_are_separated_by_the_end_of_sequence(loaded):
    ids = preprocessors.encode_segments(
        tf.constant("explain: 4 red.</s>more are blue"), loaded
    ).numpy()
    first = loaded.encode("explain: 4 red.")
    second = loaded.encode("more are blue")
    assert ids.dtype == np.int32
    assert ids.tolist() == [*first, 1, *second]
    # SentencePiece itself splits the separator into pieces.
    assert ids.tolist() != loaded.encode("explain: 4 red.</s>more are blue")


def test_text_without_a_separator_is_encoded_unchanged(loaded):
    text = "Jar 3: 4 red, 8 white marbles."
    ids = preprocessors.encode_segments(tf.constant(text), loaded)
    assert ids.numpy().tolist() == loaded.encode(text)


@settings(max_examples=25, deadline=None)
@given(
    segments=st.lists(
        st.text(alphabet="abc 123.,é", max_size=8), min_size=1, max_size=4
    )
)
def test_every_separator_becomes_one_end_of_sequence(loaded, segments):
    ids = preprocessors.encode_segments(tf.constant("</s>".join(segments)), loaded)
    expected = []
    for segment in segments:
        expected += [*loaded.encode(segment), 1]
    assert ids.numpy().tolist() == expected[:-1]


@settings(max_examples=50, deadline=None)
@given(
    text=st.lists(st.sampled_from(["</s>", " ", "\n", "\u2028", "é", "ab", "7", "🙂"]))
)
def test_text_is_encoded_without_tensorflow_as_with_it(loaded, text):
    joined = "".join(text)
    ids = preprocessors.encode_segments(tf.constant(joined), loaded).numpy()
    assert preprocessors.encode_text(joined, loaded) == ids.tolist()


def test_tokenize_keeps_the_texts(dataset, loaded):
    made = preprocessors.text_to_text(dataset, prefix="predict: ", label="label")
    tokenized = preprocessors.tokenize(made, output_features(loaded))
    first = next(tokenized.as_numpy_iterator())
    assert first["id"] == b"a"
    assert first["inputs"].tolist() == loaded.encode("predict: 2 + 2")
    assert first["targets"].tolist() == loaded.encode("4")
    assert first["inputs_pretokenized"] == b"predict: 2 + 2"
    assert first["targets_pretokenized"] == b"4"


def test_task_ids_are_as_long_as_the_targets():
    dataset = tf.data.Dataset.from_tensors({"targets": tf.constant([7, 9, 1])})
    (row,) = preprocessors.add_task_ids(dataset, task_id=2).as_numpy_iterator()
    assert row["targets"].tolist() == [7, 9, 1]
    assert row["task_ids"].tolist() == [2, 2, 2]
    assert row["task_ids"].dtype == np.int32


@pytest.mark.parametrize("weight", [1 / ONE, 0.5, 1.0, MAX_WEIGHT - 0.01, MAX_WEIGHT])
def test_weights_up_to_the_largest_are_read_from_the_ids(weight):
    example = {"targets": tf.constant([7, 1]), "weight": tf.constant(weight)}
    dataset = tf.data.Dataset.from_tensors(example)
    ids = preprocessors.add_task_ids(dataset, task_id=RATIONALE)
    (row,) = ids.as_numpy_iterator()
    tasks, weights = objective.tasks_and_weights(jnp.asarray(row["task_ids"]))
    assert tasks.tolist() == [RATIONALE] * 2
    np.testing.assert_allclose(weights, [weight] * 2, rtol=1e-6)
    # A larger whole weight does not fit.
    assert ((MAX_WEIGHT + 1) * ONE << TASK_BITS) + RATIONALE >= 2**31


@pytest.mark.parametrize("text", ["a", "aé b</s>longer text</s>c", "</s>a", ""])
def test_segments_of_bytes(text):
    words = seqio.ByteVocabulary(extra_ids=100)
    ids = preprocessors.encode_segments(tf.constant(text), words).numpy().tolist()
    assert ids == preprocessors.encode_text(text, words)
