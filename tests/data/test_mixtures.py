"""Tests of a method's training data, made from values."""

import dataclasses
import functools
import json

import pytest
import seqio

from dsbs_jax.data import (
    dataset_spec,
    metrics,
    mixtures,
    sources,
    vocabulary,
)
from dsbs_jax.data.data_config import T5_VOCABULARY, DataConfig
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.data.tasks import StudentTask
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import RATIONALE

LENGTHS = {"inputs": 64, "targets": 64, "task_ids": 64}


def rows_of(provider, split="train"):
    dataset = provider.get_dataset(LENGTHS, split, shuffle=False)
    return {
        row["id"].decode(): row["targets_pretokenized"].decode()
        for row in dataset.as_numpy_iterator()
    }


@pytest.fixture
def build(tiny_jsonl, loaded_vocabulary):
    """Builds the data of the tiny rows: (method, **settings)."""

    def build(method="step_by_step", **settings):
        settings = {"dataset": "tiny", "data_files": str(tiny_jsonl), **settings}
        return mixtures.build(DataConfig(method=method, **settings), loaded_vocabulary)

    return build


def test_a_users_file_needs_no_registration(build):
    data = build()
    assert data.mixture.name == "tiny_teacher_step_by_step"
    assert [task.name for task in data.mixture.tasks] == [
        "tiny_predict",
        "tiny_teacher_rationale",
    ]
    assert data.test_task.name == "tiny_predict"
    assert set(data.tasks) == {"tiny_predict", "tiny_teacher_rationale"}
    assert data.task_feature_lengths == {"inputs": 512, "targets": 128, "task_ids": 128}
    assert set(data.mixture.splits) == {"train", "validation", "test"}
    assert "tiny_predict" not in seqio.TaskRegistry.names()


def test_the_test_task_is_listed_even_outside_the_mixture(build):
    data = build("step_by_step_unlabeled")
    assert set(data.tasks) == {
        "tiny_predict",
        "tiny_teacher_predict",
        "tiny_teacher_rationale",
    }


def test_lengths_of_the_settings_replace_the_datasets(build):
    assert build(task_feature_lengths=LENGTHS).task_feature_lengths == LENGTHS


def test_the_teacher_of_a_users_file_has_any_name(build):
    assert build("distill", teacher="llama").mixture.name == "tiny_llama_distill"


def test_a_task_or_another_mixture_of_the_dataset_is_chosen_by_name(build):
    task = build(mixture_or_task_name="tiny_teacher_rationale").mixture
    assert isinstance(task, seqio.Task) and task.name == "tiny_teacher_rationale"
    other = build(mixture_or_task_name="tiny_teacher_distill").mixture
    assert [task.name for task in other.tasks] == ["tiny_teacher_label"]


def test_unknown_names_are_reported(build):
    with pytest.raises(UserError, match="MIXTURE_OR_TASK_NAME is 'tiny_lable'"):
        build(mixture_or_task_name="tiny_lable")
    with pytest.raises(UserError, match="METHOD is 'setp_by_step', expected 'finetune"):
        build("setp_by_step")
    with pytest.raises(UserError, match="DATASET is 'cqqa', expected one of .*cqa"):
        build(dataset="cqqa", data_files=None)
    with pytest.raises(UserError, match="DATASET_MODULE is 'no_module'"):
        build(dataset="cqqa", data_files=None, dataset_module="no_module")
    with pytest.raises(UserError, match="TEACHER is 'bert', expected one of palm, gpt"):
        build(dataset="cqa", data_files=None, teacher="bert")


def test_tasks_that_others_registered_are_refused(build):
    source = RecordSource({"train": []}, "sage")
    task = seqio.Task("foreign", source, output_features={})
    seqio.TaskRegistry.add_provider("foreign", task)
    with pytest.raises(UserError, match="'foreign' is a Task, expected a StudentTask"):
        build(mixture_or_task_name="foreign")
    seqio.TaskRegistry.remove("foreign")


@pytest.mark.slow
def test_datasets_of_one_name_with_different_vocabularies(build, tiny_jsonl, tmp_path):
    path = tmp_path / "other.model"
    vocabulary.train(["predict: Jar marbles 0123456789 " * 3], path, vocab_size=99)
    other = vocabulary.load(str(path))
    config = DataConfig(dataset="tiny", method="finetune", data_files=str(tiny_jsonl))
    for data in (build("finetune"), mixtures.build(config, other)):
        task = data.mixture.tasks[0]
        row = next(
            task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator()
        )
        text = row["inputs_pretokenized"].decode()
        assert row["inputs"].tolist() == [*data.vocabulary.encode(text), 1]
    assert other.vocab_size != build().vocabulary.vocab_size


def test_rates_of_label_and_rationale_tasks(build):
    mixture = build(label_rate=1.0, rationale_rate=3.0).mixture
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == {"tiny_predict": 1.0, "tiny_teacher_rationale": 3.0}
    dataset = mixture.get_dataset(
        LENGTHS, "train", shuffle=False, num_epochs=None, seed=0
    )
    drawn = [int(row["task_ids"][0]) for row in dataset.take(400).as_numpy_iterator()]
    # 300 are expected, with a standard deviation of 9.
    assert abs(drawn.count(RATIONALE) - 300) < 40


@pytest.mark.parametrize(("label", "rationale"), [(-1.0, 1.0), (0.0, 0.0)])
def test_rates_that_mix_nothing_are_refused(build, label, rationale):
    with pytest.raises(UserError, match="one of them > 0|LABEL_RATE is -1.0, expected"):
        build(label_rate=label, rationale_rate=rationale)


@pytest.mark.slow
def test_a_subsample_of_the_training_rows(build):
    full = build("finetune").test_task
    part = build("finetune", subsample_fraction=0.25, subsample_seed=7).test_task
    rows = rows_of(part)
    assert len(rows_of(full)) == 48 and len(rows) == 12
    assert rows.items() <= rows_of(full).items()
    assert rows_of(part) == rows
    assert rows_of(part, "validation") == rows_of(full, "validation")
    other = build("finetune", subsample_fraction=0.25, subsample_seed=8).test_task
    assert rows_of(other) != rows


def test_one_file_for_each_split(build, tmp_path):
    files = {}
    for split, labels in {"train": "xyz", "test": "w"}.items():
        files[split] = str(tmp_path / f"{split}.jsonl")
        lines = [
            json.dumps({"input": f"{split} {i}", "label": label, "id": label})
            for i, label in enumerate(labels)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    data = build("finetune", dataset="split", data_files=files)
    assert data.mixture.name == "split_finetune"
    assert set(data.mixture.splits) == {"train", "test"}
    assert rows_of(data.test_task, "test") == {"w": "w"}
    rationales = build(
        dataset="split",
        data_files=files,
        mixture_or_task_name="split_teacher_rationale",
    )
    assert rows_of(rationales.mixture) == {}
    # The same name can be used again, for other files.
    single = build("finetune", dataset="split", data_files=files["train"])
    assert len(rows_of(single.test_task, "test")) == 1


def test_the_spec_of_a_registered_name_is_used_for_files(build):
    spec = dataset_spec.user_dataset("sums", metric=metrics.EQUATION_ACCURACY)
    dataset_spec.register(spec)
    data = build("finetune", dataset="sums")
    assert data.spec.metric is metrics.EQUATION_ACCURACY
    assert data.test_task.metric_fns == [metrics.EQUATION_ACCURACY]


@pytest.mark.parametrize(
    "name", ["anli1", "asdiv", "cqa", "default", "esnli", "svamp", "svamp_asdiv"]
)
def test_the_spec_of_a_built_in_dataset_is_not_used_for_files(build, name):
    data = build("finetune", dataset=name)
    assert data.spec == dataset_spec.user_dataset(name)
    assert data.task_feature_lengths == {"inputs": 512, "targets": 128, "task_ids": 128}
    assert data.test_task.name == f"{name}_label"
    assert data.test_task.metric_fns == [metrics.EXACT_MATCH]
    assert data.test_task.shuffle_buffer_size == 48


@pytest.fixture
def joined():
    """Two small datasets and a third that mixes them."""
    names = {"few": 4, "many": 12}
    for name, size in names.items():
        records = [Record(f"{name}{i}", f"{i}", None, "1", "one") for i in range(size)]
        dataset_spec.register(dataset_spec.user_dataset(name, teachers=("sage",)))
        sources.register(
            name, functools.partial(RecordSource, {"train": records}, "sage")
        )
    spec = dataset_spec.user_dataset("both", teachers=("sage",), parts=tuple(names))
    dataset_spec.register(spec)
    return spec


def test_parts_are_mixed_by_their_sizes(joined, loaded_vocabulary):
    config = DataConfig(dataset="both", method="distill")
    data = mixtures.build(config, loaded_vocabulary)
    assert data.mixture.name == "both_sage_distill"
    rates = {task.name: data.mixture.get_rate(task) for task in data.mixture.tasks}
    assert rates == {"few_sage_label": 4.0, "many_sage_label": 12.0}
    assert data.test_task.name == "few_label"
    tested = dataclasses.replace(config, test_dataset="many")
    assert mixtures.build(tested, loaded_vocabulary).test_task.name == "many_label"


def test_a_mixture_of_another_dataset_is_chosen_by_name(joined, loaded_vocabulary):
    config = DataConfig(
        dataset="few",
        method="distill",
        mixture_or_task_name="both_sage_step_by_step_unlabeled",
        subsample_fraction=0.5,
        rationale_rate=3.0,
    )
    data = mixtures.build(config, loaded_vocabulary)
    assert data.mixture.name == "both_sage_step_by_step_unlabeled"
    assert data.test_task.name == "few_label"
    assert [len(rows_of(task)) for task in data.mixture.tasks] == [2, 2, 6, 6]
    rates = {task.name: data.mixture.get_rate(task) for task in data.mixture.tasks}
    assert rates["few_sage_rationale"] == 3 * rates["few_sage_predict"]
    for task in data.mixture.tasks:
        assert task.output_features["inputs"].vocabulary is loaded_vocabulary
    one = dataclasses.replace(config, mixture_or_task_name="many_sage_label")
    assert mixtures.build(one, loaded_vocabulary).mixture.name == "many_sage_label"


def test_a_registered_task_with_another_vocabulary_is_refused(
    build, loaded_vocabulary, tiny_vocabulary
):
    same = seqio.SentencePieceVocabulary(str(tiny_vocabulary), extra_ids=100)
    source = RecordSource({"train": [Record("r", "1", "1", None, None)]}, "sage")
    for words, fits in [
        (loaded_vocabulary, True),
        (same, True),
        (seqio.SentencePieceVocabulary(T5_VOCABULARY, extra_ids=100), False),
        (vocabulary.load(str(tiny_vocabulary), extra_ids=0), False),
    ]:
        info = dataclasses.replace(build().test_task.info, name="outside")
        task = StudentTask(info, source, words)
        seqio.TaskRegistry.add_provider("outside", task)
        try:
            if fits:
                assert build(mixture_or_task_name="outside").mixture is task
            else:
                with pytest.raises(UserError, match="'outside' has another voc"):
                    build(mixture_or_task_name="outside")
        finally:
            seqio.TaskRegistry.remove("outside")


def test_parts_have_no_common_human_labels(joined, loaded_vocabulary):
    config = DataConfig(dataset="both", method="finetune")
    with pytest.raises(
        UserError, match="METHOD is 'finetune', expected one of distill"
    ):
        mixtures.build(config, loaded_vocabulary)


def test_a_temporary_name_is_removed(build):
    mixture = build().mixture
    with mixtures.temporary_name(mixture) as name:
        assert seqio.get_mixture_or_task(name) is mixture
    with mixtures.temporary_name(mixture.tasks[0]) as name:
        assert seqio.get_mixture_or_task(name) is mixture.tasks[0]
    assert name not in seqio.TaskRegistry.names()
