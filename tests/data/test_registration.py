"""Tests of the entries in SeqIO's registries."""

import dataclasses
import itertools

import pytest
import seqio

from dsbs_jax.data import dataset_spec, metrics, registration, vocabulary
from dsbs_jax.data.data_config import DataConfig

MIXTURES = {
    "finetune": ["label"],
    "distill": ["{t}_label"],
    "step_by_step": ["predict", "{t}_rationale"],
    "step_by_step_unlabeled": ["{t}_predict", "{t}_rationale"],
    "single_task": ["{t}_rationale_then_label"],
    "single_task_unlabeled": ["{t}_rationale_then_teacher_label"],
}


@pytest.mark.parametrize(
    ("dataset", "teacher"),
    [
        *itertools.product(["cqa", "svamp", "anli1", "esnli"], ["palm", "gpt_neox"]),
        ("asdiv", "palm"),
    ],
)
def test_every_name_of_the_grammar_is_registered(dataset, teacher):
    __import__(f"dsbs_jax.tasks.{'svamp' if dataset == 'asdiv' else dataset}")
    for method, tasks in MIXTURES.items():
        name = f"{dataset}_{method}"
        if method != "finetune":
            name = f"{dataset}_{teacher}_{method}"
        mixture = seqio.MixtureRegistry.get(name)
        members = sorted(task.name for task in mixture.tasks)
        expected = sorted(f"{dataset}_{task.format(t=teacher)}" for task in tasks)
        assert members == expected
    assert teacher in dataset_spec.get(dataset).teachers


def test_asdiv_joins_svamp_without_human_labels():
    import dsbs_jax.tasks.svamp  # noqa: F401

    mixture = seqio.MixtureRegistry.get("svamp_asdiv_palm_step_by_step_unlabeled")
    assert sorted(task.name for task in mixture.tasks) == [
        "asdiv_palm_predict",
        "asdiv_palm_rationale",
        "svamp_palm_predict",
        "svamp_palm_rationale",
    ]
    assert mixture.tasks[0].info.metric is metrics.EQUATION_ACCURACY
    assert "svamp_asdiv_finetune" not in seqio.MixtureRegistry.names()


def test_importing_the_tasks_reads_no_vocabulary():
    import dsbs_jax.tasks.cqa  # noqa: F401

    task = seqio.TaskRegistry.get("cqa_label")
    vocabulary = task.output_features["inputs"].vocabulary
    assert vocabulary.sentencepiece_model_file.startswith("gs://t5-data/vocabs/")
    assert vocabulary._model is None


def rows_of(name):
    dataset = seqio.get_mixture_or_task(name).get_dataset(None, "train", shuffle=False)
    return list(dataset.as_numpy_iterator())


def test_one_call_registers_a_users_dataset(tiny_jsonl, loaded_vocabulary):
    spec = dataset_spec.user_dataset("jugs", metric=metrics.EQUATION_ACCURACY)
    registration.register(spec, str(tiny_jsonl), vocabulary=loaded_vocabulary)
    assert dataset_spec.get("jugs") is spec
    assert len(rows_of("jugs_label")) == 48
    # A second registration replaces the first.
    registration.register(
        dataclasses.replace(spec, metric=metrics.EXACT_MATCH),
        str(tiny_jsonl),
        vocabulary=loaded_vocabulary,
    )
    assert seqio.TaskRegistry.get("jugs_label").metric_fns == [metrics.EXACT_MATCH]


@pytest.fixture
def config(tiny_jsonl):
    return DataConfig(dataset="pots", method="step_by_step", data_files=str(tiny_jsonl))


def test_the_mixture_of_settings_is_registered_once(config, loaded_vocabulary):
    name = registration.registered_mixture(config, loaded_vocabulary)
    assert name == "pots_teacher_step_by_step"
    mixture = seqio.MixtureRegistry.get(name)
    assert registration.registered_mixture(config, loaded_vocabulary) == name
    assert seqio.MixtureRegistry.get(name) is mixture
    test_task = registration.registered_test_task(config, loaded_vocabulary)
    assert test_task == "pots_predict"
    assert len(rows_of("pots_predict")) == 48


def test_other_settings_replace_the_mixture(config, loaded_vocabulary):
    name = registration.registered_mixture(config, loaded_vocabulary)
    changed = dataclasses.replace(config, rationale_rate=3.0, subsample_fraction=0.25)
    assert registration.registered_mixture(changed, loaded_vocabulary) == name
    mixture = seqio.MixtureRegistry.get(name)
    assert {mixture.get_rate(task) for task in mixture.tasks} == {1.0, 3.0}
    assert len(rows_of("pots_predict")) == 12


def test_a_named_task_of_the_settings_is_registered(config, loaded_vocabulary):
    config = dataclasses.replace(config, mixture_or_task_name="pots_teacher_rationale")
    name = registration.registered_mixture(config, loaded_vocabulary)
    assert name == "pots_teacher_rationale"
    assert len(rows_of(name)) == 48


def test_a_mixture_of_another_dataset_is_registered_with_the_settings(
    config, tiny_jsonl, loaded_vocabulary
):
    other = vocabulary.load(loaded_vocabulary.sentencepiece_model_file, extra_ids=0)
    spec = dataset_spec.user_dataset("mugs")
    registration.register(spec, str(tiny_jsonl), vocabulary=other)
    config = dataclasses.replace(config, mixture_or_task_name="mugs_teacher_distill")
    name = registration.registered_mixture(config, loaded_vocabulary)
    (task,) = seqio.MixtureRegistry.get(name).tasks
    assert task is seqio.TaskRegistry.get("mugs_teacher_label")
    assert task.output_features["inputs"].vocabulary is loaded_vocabulary
