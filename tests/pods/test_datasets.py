import dataclasses
import itertools

import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from t5x import utils  # noqa: E402

from dsbs_jax import cli  # noqa: E402
from dsbs_jax.data import registration, vocabulary  # noqa: E402
from dsbs_jax.data.data_config import DataConfig  # noqa: E402
from dsbs_jax.data.feature_converter import DistillationFeatureConverter  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.pods import datasets  # noqa: E402


@pytest.fixture
def config(configure_tiny):
    configure_tiny()
    settings = cli.read(DataConfig)
    words = vocabulary.load(settings.vocabulary_path)
    return utils.DatasetConfig(
        mixture_or_task_name=registration.registered_mixture(settings, words),
        task_feature_lengths={"inputs": 48, "targets": 48, "task_ids": 48},
        split="train",
        batch_size=12,
        shuffle=True,
        seed=4,
        pack=False,
    )


def batches(config, shard, shards, count=6):
    dataset = datasets.get_dataset(config, shard, shards, DistillationFeatureConverter)
    return list(dataset.take(count).as_numpy_iterator())


def inputs_of_steps(config, shards, start, stop):
    """Returns the inputs, without padding, that all shards feed in each step of a run.

    A process that resumes reads its batches from the first one, and skips those of the
    steps that are done, as `pods.trainer.Trainer` does.
    """
    by_shard = [batches(config, shard, shards, stop)[start:] for shard in range(shards)]
    return [
        [
            np.trim_zeros(row, "b").tolist()
            for part in parts
            for row in part["encoder_input_tokens"]
        ]
        for parts in zip(*by_shard, strict=True)
    ]


@pytest.mark.slow
def test_a_run_that_resumes_with_other_shards_feeds_each_example_once_in_a_pass(
    config, tiny_data
):
    config = dataclasses.replace(config, shuffle=False)
    steps = [
        *inputs_of_steps(config, 4, 0, 3),
        *inputs_of_steps(config, 2, 3, 7),
        *inputs_of_steps(config, 1, 7, 12),
    ]
    data = tiny_data()
    rows = data.test_task.source.records("train")
    fed = [data.vocabulary.decode(tokens) for step in steps for tokens in step]
    assert len(fed) == 12 * config.batch_size
    for prefix in ("predict: ", "explain: "):
        of_task = [text for text in fed if text.startswith(prefix)]
        assert len(of_task) > len(rows)
        # Without shuffling, each pass has the order of the file.
        passes = itertools.cycle(prefix + row.input for row in rows)
        assert of_task == list(itertools.islice(passes, len(of_task)))


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_together_are_the_batches_of_one_process(config, shards):
    expected = batches(config, 0, 1)
    by_shard = [batches(config, shard, shards) for shard in range(shards)]
    for number, batch in enumerate(expected):
        for name, value in batch.items():
            rows = [shard[number][name] for shard in by_shard]
            assert {len(part) for part in rows} == {12 // shards}
            np.testing.assert_array_equal(np.concatenate(rows), value)


def test_the_seed_changes_the_order(config):
    first = batches(config, 0, 1, 1)[0]["encoder_input_tokens"]
    other = dataclasses.replace(config, seed=5)
    assert (batches(other, 0, 1, 1)[0]["encoder_input_tokens"] != first).any()


def test_a_batch_size_that_shards_do_not_divide_is_an_error(config):
    with pytest.raises(UserError, match="BATCH_SIZE is 12, .* multiple of the 5"):
        batches(config, 0, 5)
