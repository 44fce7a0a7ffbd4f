import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.local import row_merging, step

lengths = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 30)), min_size=1, max_size=50
)


def make_rows(lengths):
    """Returns a batch with one example in each row, in which all tokens differ."""
    shape = len(lengths), 60
    batch = {
        name: np.zeros(shape if name.startswith("encoder") else (shape[0], 30), "i4")
        for name in (
            "encoder_input_tokens",
            "decoder_target_tokens",
            "decoder_input_tokens",
            "decoder_task_ids",
        )
    }
    for row, (source, target) in enumerate(lengths):
        batch["encoder_input_tokens"][row, :source] = 100 * row + 1 + np.arange(source)
        targets = 100 * row + 61 + np.arange(target)
        batch["decoder_target_tokens"][row, :target] = targets
        batch["decoder_input_tokens"][row, 1:target] = targets[:-1]
        batch["decoder_task_ids"][row, :target] = 1 + row % 2
    return batch


def examples_of(batch):
    """Returns the columns of each example, by its first input token."""
    examples = {}
    for row in range(len(batch["encoder_input_tokens"])):
        numbers = batch["encoder_segment_ids"][row]
        for number in set(numbers[numbers > 0].tolist()):
            columns = {}
            for name, values in batch.items():
                side = name.split("_")[0]
                here = batch[f"{side}_segment_ids"][row] == number
                # The tokens of an example are next to each other.
                assert np.count_nonzero(np.diff(here.astype(int), prepend=0) == 1) < 2
                columns[name] = values[row][here].tolist()
            examples[columns["encoder_input_tokens"][0]] = columns
    return examples


@settings(max_examples=100, deadline=None)
@given(lengths, st.sampled_from([1, 2, 3, 16]))
def test_every_example_is_complete_in_one_row(lengths, parts):
    batch = make_rows(lengths)
    merged = row_merging.merge_rows(batch, 512, parts)
    rows = len(merged["encoder_input_tokens"])
    if rows == len(lengths):
        assert merged is batch
        return
    assert rows < len(lengths) and rows % 8 == 0 and rows % parts == 0
    examples = examples_of(merged)
    assert len(examples) == len(lengths)
    for row, (source, target) in enumerate(lengths):
        example = examples[100 * row + 1]
        for name, values in batch.items():
            length = source if name.startswith("encoder") else target
            assert example[name] == values[row, :length].tolist(), name
    for name in batch:
        assert np.count_nonzero(merged[name]) == np.count_nonzero(batch[name])


def test_merged_batch_has_little_padding():
    rng = np.random.default_rng(0)
    sources = rng.integers(20, 60, 128)
    targets = np.where(np.arange(128) % 2, rng.integers(10, 30, 128), 2)
    batch = make_rows(list(zip(sources, targets, strict=True)))
    merged = row_merging.merge_rows(batch, 512)
    for name in ("encoder_input_tokens", "decoder_target_tokens"):
        assert np.count_nonzero(batch[name]) < 0.7 * batch[name].size
        assert np.count_nonzero(merged[name]) > 0.8 * merged[name].size


def test_rows_have_at_most_the_tokens_asked_for():
    batch = make_rows([(40, 10)] * 64)
    assert row_merging.merge_rows(batch, 64)["encoder_input_tokens"].shape == (40, 80)
    assert row_merging.merge_rows(batch, 160)["encoder_input_tokens"].shape == (16, 160)
    assert row_merging.merge_rows(batch, 40) is batch


def test_same_batch_gives_the_same_rows():
    batch = make_rows([(1 + i % 50, i % 30) for i in range(40)])
    first, second = (
        row_merging.merge_rows(batch, 512),
        row_merging.merge_rows(batch, 512),
    )
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def assert_close(a, b):
    def compare(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)

    jax.tree.map(compare, a, b)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.slow
def test_loss_and_gradients_equal_those_of_single_rows(make_model, alpha):
    model = make_model()
    rng = np.random.default_rng(1)
    batch = make_rows([(rng.integers(3, 20), rng.integers(1, 9)) for _ in range(20)])
    for name, values in batch.items():
        if name.endswith("_tokens"):
            ids = 2 + values % (model.config.vocab_size - 2)
            values[:] = np.where(values > 0, ids, 0)
    merged = row_merging.merge_rows(batch, 512)
    assert len(merged["encoder_input_tokens"]) == 8
    tokens = jnp.asarray(batch["encoder_input_tokens"])
    params = nn.unbox(jax.jit(model.init)(jax.random.key(1), tokens, tokens)["params"])
    gradients = jax.jit(step.gradients, static_argnums=(0, 4))
    for parts in (1, 2):
        expected = gradients(model, params, batch, alpha, parts)
        actual = gradients(model, params, merged, alpha, parts)
        assert_close(actual, expected)


def test_lengths_are_rounded_to_few_values_close_by():
    widths = [row_merging.round_up_length(n) for n in range(1, 1025)]
    assert len(set(widths)) <= 24
    assert widths == sorted(widths)
    for length, width in enumerate(widths, 1):
        assert length <= width <= max(8 * -(-length // 8), length * 4 / 3)
