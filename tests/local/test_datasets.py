import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import registration
from dsbs_jax.errors import UserError
from dsbs_jax.local import datasets

LENGTHS = {"inputs": 48, "targets": 48, "task_ids": 48}


@pytest.fixture
def make_config(configure_tiny, tiny_jsonl):
    configure_tiny(MODEL_DIR="x")
    registration.mixture_name("tiny", "step_by_step", files=str(tiny_jsonl))

    def make(lengths=LENGTHS, **fields):
        fields = {"batch_size": 8, **fields}
        return datasets.DatasetConfig("tiny_teacher_step_by_step", lengths, **fields)

    return make


def take(config, count, start=0):
    return list(itertools.islice(datasets.training_batches(config, start), count))


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("pack", [False, True])
def test_starting_later_is_skipping(make_config, pack):
    # Sixty rows a task: nine batches of eight go beyond one epoch.
    config = make_config(pack=pack)
    whole = take(config, 16)
    assert_same(take(config, 4, start=12), whole[12:])
    assert_same(take(config, 1, start=1), whole[1:2])


def test_order_follows_the_seed(make_config):
    first = take(make_config(), 2)
    assert_same(take(make_config(seed=0), 2), first)
    other = take(make_config(seed=1), 2)
    assert any(
        not np.array_equal(a["encoder_input_tokens"], b["encoder_input_tokens"])
        for a, b in zip(first, other, strict=True)
    )


def test_batches_hold_both_tasks_and_the_models_features(make_config):
    (batch,) = take(make_config(batch_size=16), 1)
    assert set(batch) == {
        "encoder_input_tokens",
        "decoder_input_tokens",
        "decoder_target_tokens",
        "decoder_loss_weights",
        "decoder_task_ids",
    }
    assert all(value.dtype == np.int32 for value in batch.values())
    tasks = batch["decoder_task_ids"]
    assert {1, 2} <= set(tasks.flat)
    np.testing.assert_array_equal(tasks > 0, batch["decoder_target_tokens"] > 0)
    # Each row belongs to one task.
    assert all(len(set(row[row > 0])) == 1 for row in tasks)


def test_packed_rows_hold_several_examples(make_config):
    lengths = {"inputs": 200, "targets": 200, "task_ids": 200}
    (batch,) = take(make_config(lengths, pack=True), 1)
    assert batch["decoder_segment_ids"].max() > 2
    assert any(len(set(row[row > 0])) == 2 for row in batch["decoder_task_ids"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), min_size=1, max_size=5)
)
def test_trim_cuts_off_nothing_but_padding(lengths):
    batch = {
        "encoder_input_tokens": np.zeros((len(lengths), 40), np.int32),
        "encoder_positions": np.zeros((len(lengths), 40), np.int32),
        "decoder_target_tokens": np.zeros((len(lengths), 20), np.int32),
        "decoder_task_ids": np.zeros((len(lengths), 20), np.int32),
    }
    for i, (source, target) in enumerate(lengths):
        batch["encoder_input_tokens"][i, :source] = np.arange(1, source + 1)
        batch["encoder_positions"][i, :source] = np.arange(source)
        batch["decoder_target_tokens"][i, :target] = np.arange(1, target + 1)
        batch["decoder_task_ids"][i, :target] = 2
    trimmed = datasets.trim(batch)
    assert trimmed.keys() == batch.keys()
    for name, value in batch.items():
        short = trimmed[name]
        assert 1 <= short.shape[1] <= value.shape[1]
        padded = np.pad(short, ((0, 0), (0, value.shape[1] - short.shape[1])))
        np.testing.assert_array_equal(padded, value)
    for side in ("encoder", "decoder"):
        widths = {v.shape[1] for k, v in trimmed.items() if k.startswith(side)}
        assert len(widths) == 1
    longest = max(target for _, target in lengths)
    assert trimmed["decoder_task_ids"].shape[1] <= max(8, longest + 8)


def test_sizes_count_what_the_lengths_cut_off(make_config, tiny_jsonl):
    predict, explain = sorted(
        datasets.task_sizes(make_config()), key=lambda size: size.name, reverse=True
    )
    assert (predict.name, explain.name) == ("tiny_teacher_rationale", "tiny_predict")
    sizes = {s.name: s for s in (predict, explain)}
    predict, explain = sizes["tiny_predict"], sizes["tiny_teacher_rationale"]
    assert predict.rows == explain.rows == 48
    assert predict.truncated == {"inputs": 0, "targets": 0}
    assert explain.longest["targets"] > predict.longest["targets"]

    # One token less than the longest cuts those that are as long.
    limit = explain.longest["targets"] - 1
    lengths = {"inputs": 4, "targets": limit, "task_ids": limit}
    for size in datasets.task_sizes(make_config(lengths)):
        assert size.truncated["inputs"] == 48
        if size.name == "tiny_predict":
            assert size.truncated["targets"] == 0
        else:
            assert 0 < size.truncated["targets"] < 48
    longest = {s.name: s.longest for s in datasets.task_sizes(make_config(lengths))}
    assert longest == {name: size.longest for name, size in sizes.items()}


def test_task_without_examples_is_named(make_config, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(
        "".join(f'{{"input": "row {i}", "label": "x"}}\n' for i in range(10))
    )
    name = registration.mixture_name("labels", "step_by_step", files=str(path))
    config = datasets.DatasetConfig(name, LENGTHS, 4)
    with pytest.raises(UserError, match="'labels_teacher_rationale' has no training"):
        datasets.task_sizes(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "BATCH_SIZE is 0"),
        ({"lengths": {"inputs": 8, "targets": 8}}, "task_ids is None, expected tokens"),
        ({"lengths": {"inputs": 0, "targets": 8, "task_ids": 8}}, "inputs is 0"),
        ({"lengths": {"inputs": 8, "targets": "8", "task_ids": 8}}, "targets is 8"),
    ],
)
def test_settings_are_checked(make_config, fields, message):
    with pytest.raises(UserError, match=message):
        make_config(**fields)


def test_unknown_name_is_refused():
    config = datasets.DatasetConfig("tiny_steb_by_step", LENGTHS, 4)
    with pytest.raises(UserError, match="MIXTURE_OR_TASK_NAME: .*tiny_steb_by_step"):
        _ = config.provider
