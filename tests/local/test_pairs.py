"""Tests of batches of pairs."""

import itertools
import json

import numpy as np
import pytest

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local import datasets, pairs


def read(data, start=0, count=3):
    batches = datasets.training_batches(data, 4, pack=False, seed=0, start=start)
    return list(itertools.islice(batches, count))


def test_both_tasks_of_a_row_are_in_one_packed_row(tiny_data, tiny_vocabulary):
    data = tiny_data("mutual_information")
    words = vocabulary.load(str(tiny_vocabulary))
    (batch,) = read(data, count=1)
    records = {r.input: r for r in data.test_task.source.records("train")}

    def texts(row, side, name):
        segments = batch[f"{side}_segment_ids"][row]
        return [
            words.decode(batch[name][row][segments == i][:-1].tolist()) for i in (1, 2)
        ]

    for row in range(4):
        predict, explain = texts(row, "encoder", "encoder_input_tokens")
        record = records[predict.removeprefix("predict: ")]
        assert explain == f"explain: {record.input}"
        found = texts(row, "decoder", "decoder_target_tokens")
        assert found == [record.label, record.rationale]
        for segment in (1, 2):
            here = batch["decoder_segment_ids"][row] == segment
            targets = batch["decoder_target_tokens"][row][here]
            given = batch["decoder_input_tokens"][row][here]
            assert given.tolist() == [0, *targets[:-1]]
            assert set(batch["decoder_task_ids"][row][here]) == {segment}


def test_a_row_without_a_rationale_has_its_label_alone(tiny_data, tiny_jsonl, tmp_path):
    rows = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
    for row in rows[1:]:
        del row["rationale"]
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    files = {"train": str(path), "validation": str(path), "test": str(path)}
    batches = read(tiny_data("mutual_information", DATA_FILES=files), count=15)
    segments = np.concatenate([b["encoder_segment_ids"].max(axis=1) for b in batches])
    # One of sixty rows has a rationale.
    assert sorted(segments) == [1] * 59 + [2]


def test_batches_continue_where_a_run_has_stopped(tiny_data):
    data = tiny_data("mutual_information")
    later, resumed = read(data)[1:], read(data, start=1, count=2)
    for left, right in zip(later, resumed, strict=True):
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


def test_pairs_are_not_packed_again_or_mixed(tiny_data):
    data = tiny_data("mutual_information")
    with pytest.raises(UserError, match="PACK is True, expected False for 'tiny_"):
        next(datasets.training_batches(data, 4, pack=True, seed=0))
    assert not pairs.has_pairs(tiny_data("step_by_step"))


def test_only_the_local_engine_trains_pairs(tiny_data, tiny_settings):
    from dsbs_jax import cli
    from dsbs_jax.data import registration
    from dsbs_jax.data.data_config import DataConfig

    data = tiny_data("mutual_information")
    cli.configure(*tiny_settings("mutual_information"))
    with pytest.raises(UserError, match="which only the local engine trains"):
        registration.registered_mixture(cli.read(DataConfig), data.vocabulary)


def test_beta_belongs_to_the_method(tiny_settings):
    from dsbs_jax import cli
    from dsbs_jax.local.config import TRAIN_SETTINGS, TrainSettings

    cli.configure(
        *tiny_settings("step_by_step", MODEL_DIR="run", BETA=0.1), known=TRAIN_SETTINGS
    )
    with pytest.raises(UserError, match="BETA is 0.1, expected None for METHOD 'step_"):
        TrainSettings.from_macros(cli.values())
    macros = {"MODEL_DIR": "run", "MIXTURE_OR_TASK_NAME": "tiny_teacher_step_by_step"}
    cli.configure(*tiny_settings("mutual_information", **macros), known=TRAIN_SETTINGS)
    with pytest.raises(
        UserError, match="tiny_teacher_step_by_step', expected None for"
    ):
        TrainSettings.from_macros(cli.values())
