import dataclasses

import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from t5x import utils  # noqa: E402

from dsbs_jax.data import registration  # noqa: E402
from dsbs_jax.data.feature_converter import DistillationFeatureConverter  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.pods import datasets  # noqa: E402


@pytest.fixture
def config(make_pod_model):
    make_pod_model()
    return utils.DatasetConfig(
        mixture_or_task_name=registration.configured_mixture(),
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


@pytest.mark.parametrize("shards", [2, 4])
def test_the_parts_of_all_processes_are_one_processs_batches(config, shards):
    whole = batches(config, 0, 1)
    parts = [batches(config, shard, shards) for shard in range(shards)]
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            together = [part[number][name] for part in parts]
            assert {len(rows) for rows in together} == {12 // shards}
            np.testing.assert_array_equal(np.concatenate(together), value)


def test_another_seed_gives_another_order(config):
    first = batches(config, 0, 1, 1)[0]["encoder_input_tokens"]
    other = dataclasses.replace(config, seed=5)
    assert (batches(other, 0, 1, 1)[0]["encoder_input_tokens"] != first).any()


def test_a_batch_that_does_not_divide_is_an_error(config):
    with pytest.raises(UserError, match="BATCH_SIZE is 12, .* multiple of the 5"):
        batches(config, 0, 5)
