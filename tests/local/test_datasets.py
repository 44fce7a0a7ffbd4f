import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.errors import UserError
from dsbs_jax.local import datasets

LENGTHS = {"inputs": 48, "targets": 48, "task_ids": 48}


@pytest.fixture
def make_data(tiny_data):
    def make(lengths=LENGTHS):
        return tiny_data(TASK_FEATURE_LENGTHS=lengths)

    return make


def take(data, count, start=0, batch_size=8, pack=False, seed=0):
    batches = datasets.training_batches(
        data, batch_size, pack=pack, seed=seed, start=start
    )
    return list(itertools.islice(batches, count))


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.slow
def test_later_start_skips_batches(make_data, pack):
    # With 48 training rows in each task, more than twelve batches are a second epoch.
    data = make_data()
    batches = take(data, 16, pack=pack)
    assert_same(take(data, 4, start=12, pack=pack), batches[12:])
    assert_same(take(data, 1, start=1, pack=pack), batches[1:2])


@pytest.mark.slow
def test_order_depends_on_the_seed(make_data):
    first = take(make_data(), 2)
    assert_same(take(make_data(), 2, seed=0), first)
    other = take(make_data(), 2, seed=1)
    assert any(
        not np.array_equal(a["encoder_input_tokens"], b["encoder_input_tokens"])
        for a, b in zip(first, other, strict=True)
    )


def test_batches_hold_both_tasks_and_the_features_of_the_student(make_data):
    (batch,) = take(make_data(), 1, batch_size=16)
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


@pytest.mark.slow
def test_packed_rows_hold_several_examples(make_data):
    lengths = {"inputs": 200, "targets": 200, "task_ids": 200}
    (batch,) = take(make_data(lengths), 1, pack=True)
    assert batch["decoder_segment_ids"].max() > 2
    assert any(len(set(row[row > 0])) == 2 for row in batch["decoder_task_ids"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), min_size=1, max_size=5)
)
def test_trim_removes_only_padding(lengths):
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


@pytest.mark.slow
def test_sizes_count_truncated_examples(make_data):
    sizes = {size.name: size for size in datasets.task_sizes(make_data())}
    assert sizes.keys() == {"tiny_predict", "tiny_teacher_rationale"}
    predict, explain = sizes["tiny_predict"], sizes["tiny_teacher_rationale"]
    assert predict.rows == explain.rows == 48
    assert predict.truncated == {"inputs": 0, "targets": 0}
    assert explain.longest["targets"] > predict.longest["targets"]

    # One token less than the longest target truncates only the longest targets.
    limit = explain.longest["targets"] - 1
    lengths = {"inputs": 4, "targets": limit, "task_ids": limit}
    shorter = {size.name: size for size in datasets.task_sizes(make_data(lengths))}
    for name, size in shorter.items():
        assert size.truncated["inputs"] == 48
        assert size.longest == sizes[name].longest
    assert shorter["tiny_predict"].truncated["targets"] == 0
    assert 0 < shorter["tiny_teacher_rationale"].truncated["targets"] < 48


def test_task_without_examples_is_named(tiny_vocabulary, tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(
        "".join(f'{{"input": "row {i}", "label": "x"}}\n' for i in range(10))
    )
    config = DataConfig(dataset="labels", method="step_by_step", data_files=str(path))
    data = mixtures.build(config, vocabulary.load(str(tiny_vocabulary)))
    with pytest.raises(UserError, match="'labels_teacher_rationale' has no training"):
        datasets.task_sizes(data)


def test_descriptions_hold_the_text_of_a_batch(make_data):
    data = make_data()
    (batch,) = take(data, 1)
    rows = list(datasets.describe(batch, data.vocabulary))
    assert [row["row"] for row in rows] == list(range(8))
    assert {row["task_id"] for row in rows} == {1, 2}
    for row in rows:
        prefix = "predict: Jar" if row["task_id"] == 1 else "explain: Jar"
        assert row["encoder_input_tokens_text"].startswith(prefix)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"inputs": 8, "targets": 8}, "TASK_FEATURE_LENGTHS"),
        ({"inputs": 0, "targets": 8, "task_ids": 8}, "TASK_FEATURE_LENGTHS"),
        ({"inputs": 8, "targets": "8", "task_ids": 8}, "TASK_FEATURE_LENGTHS"),
        ({"inputs": 8, "targets": 8, "task_ids": 9}, "TASK_FEATURE_LENGTHS"),
    ],
)
def test_lengths_are_checked(make_data, lengths, message):
    with pytest.raises(UserError, match=message):
        make_data(lengths)


def test_unknown_mixture_is_named(tiny_data):
    with pytest.raises(UserError, match="MIXTURE_OR_TASK_NAME .*tiny_steb_by_step"):
        tiny_data(MIXTURE_OR_TASK_NAME="tiny_steb_by_step")


@pytest.mark.parametrize(
    "number",
    [1, 1023, 1024, 1025, pytest.param(20_050, marks=pytest.mark.slow)],
)
def test_every_training_row_is_counted(tiny_data, tmp_path, number):
    rows = [
        {"input": f"Jar {n}", "label": "red" if n % 2 else "blue"}
        for n in range(number)
    ]
    rows[-1]["input"] = "Jar " * 60
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = {split: str(path) for split in ("train", "validation", "test")}
    (size,) = datasets.task_sizes(tiny_data("finetune", DATA_FILES=every))
    assert size.rows == number
    assert size.truncated == {"inputs": 1, "targets": 0}
    assert size.longest["inputs"] > 60
    assert size.targets.total() == size.target_lengths.total() == number
    assert size.targets["red"] == number // 2
