"""Tests of the feature converter."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.errors import UserError

EXAMPLES = [
    {"inputs": [7, 8, 1], "targets": [3, 1], "task_ids": [1, 1]},
    {"inputs": [8, 4, 9, 1], "targets": [4, 5, 1], "task_ids": [2, 2, 2]},
]
LENGTHS = {"inputs": 8, "targets": 5, "task_ids": 5}


def convert(examples, lengths, pack):
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(examples),
        output_signature={
            name: tf.TensorSpec([None], tf.int32)
            for name in ("inputs", "targets", "task_ids")
        },
    )
    converter = DistillationFeatureConverter(pack=pack)
    return list(converter(dataset, lengths).as_numpy_iterator())


@pytest.mark.slow
def test_packed_row_keeps_the_task_of_each_target_token():
    (row,) = convert(EXAMPLES, LENGTHS, pack=True)
    expected = {
        "encoder_input_tokens": [7, 8, 1, 8, 4, 9, 1, 0],
        "encoder_segment_ids": [1, 1, 1, 2, 2, 2, 2, 0],
        "encoder_positions": [0, 1, 2, 0, 1, 2, 3, 0],
        "decoder_target_tokens": [3, 1, 4, 5, 1],
        "decoder_input_tokens": [0, 3, 0, 4, 5],
        "decoder_loss_weights": [1, 1, 1, 1, 1],
        "decoder_segment_ids": [1, 1, 2, 2, 2],
        "decoder_positions": [0, 1, 0, 1, 2],
        "decoder_task_ids": [1, 1, 2, 2, 2],
    }
    assert {name: value.tolist() for name, value in row.items()} == expected


def test_unpacked_rows_have_one_example_each():
    first, second = convert(EXAMPLES, LENGTHS, pack=False)
    assert first["decoder_target_tokens"].tolist() == [3, 1, 0, 0, 0]
    assert first["decoder_task_ids"].tolist() == [1, 1, 0, 0, 0]
    assert second["decoder_task_ids"].tolist() == [2, 2, 2, 0, 0]
    assert "decoder_segment_ids" not in first


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6),
    pack=st.booleans(),
)
@pytest.mark.slow
def test_each_token_keeps_its_task(sizes, pack):
    """The target tokens are chosen so that they tell which task they belong to."""
    examples = [
        {
            "inputs": [5] * s,
            "targets": [10 + 10 * (i % 2)] * t,
            "task_ids": [1 + i % 2] * t,
        }
        for i, (s, t) in enumerate(sizes)
    ]
    rows = convert(examples, LENGTHS, pack)
    for row in rows:
        targets = row["decoder_target_tokens"]
        np.testing.assert_array_equal(row["decoder_task_ids"], targets // 10)
    tokens = sum(int((row["decoder_task_ids"] > 0).sum()) for row in rows)
    assert tokens == sum(t for _, t in sizes)


@pytest.mark.parametrize("task_ids", [4, 6, None])
def test_lengths_of_targets_and_task_ids_must_be_equal(task_ids):
    lengths = {"inputs": 8, "targets": 5}
    if task_ids:
        lengths["task_ids"] = task_ids
    converter = DistillationFeatureConverter(pack=True)
    with pytest.raises(UserError, match="expected the length of targets, 5"):
        converter.get_model_feature_lengths(lengths)


def test_lengths_of_the_models_features():
    lengths = DistillationFeatureConverter(pack=True).get_model_feature_lengths(LENGTHS)
    assert lengths["decoder_task_ids"] == lengths["decoder_target_tokens"] == 5
    assert lengths["encoder_input_tokens"] == 8
