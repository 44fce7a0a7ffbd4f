"""Tests of the grammar of task and mixture names."""

import pytest

from dsbs_jax.data import dataset_spec, methods, metrics
from dsbs_jax.task_ids import LABEL, RATIONALE


def infos(spec):
    return {info.name: info for info in methods.task_infos(spec)}


def test_every_teacher_has_five_tasks():
    targets = ["label", "predict"]
    for teacher in ("palm", "gpt_neox"):
        targets += [
            f"{teacher}_label",
            f"{teacher}_predict",
            f"{teacher}_rationale",
            f"{teacher}_rationale_then_label",
            f"{teacher}_rationale_then_teacher_label",
        ]
    assert list(infos(dataset_spec.CQA)) == [f"cqa_{target}" for target in targets]
    assert len(infos(dataset_spec.ASDIV)) == 7


def test_rationale_tasks_have_their_own_task_id():
    for name, info in infos(dataset_spec.CQA).items():
        expected = RATIONALE if name.endswith("_rationale") else LABEL
        assert info.task_id == expected
        assert info.single_task == ("_then_" in name)


def test_tasks_use_the_prefixes_and_the_metric_of_the_spec():
    spec = dataset_spec.user_dataset(
        "sums",
        metric=metrics.EQUATION_ACCURACY,
        predict_prefix="answer: ",
        explain_prefix="why: ",
    )
    tasks = infos(spec)
    assert tasks["sums_predict"].prefix == "answer: "
    assert tasks["sums_teacher_rationale"].prefix == "why: "
    assert tasks["sums_label"].prefix == ""
    assert tasks["sums_label"].metric is metrics.EQUATION_ACCURACY
    assert tasks["sums_label"].dataset == "sums"


@pytest.mark.parametrize(
    ("method", "name", "test_task"),
    [
        ("finetune", "cqa_finetune", "cqa_label"),
        ("distill", "cqa_palm_distill", "cqa_label"),
        ("step_by_step", "cqa_palm_step_by_step", "cqa_predict"),
        (
            "step_by_step_unlabeled",
            "cqa_palm_step_by_step_unlabeled",
            "cqa_predict",
        ),
        ("single_task", "cqa_palm_single_task", "cqa_label"),
        ("single_task_unlabeled", "cqa_palm_single_task_unlabeled", "cqa_label"),
    ],
)
def test_names_of_mixtures_and_test_tasks(method, name, test_task):
    assert methods.mixture_name("cqa", method, "palm") == name
    # The test task always compares with human labels.
    assert methods.test_task_name("cqa", method) == test_task
