"""Tests of the grammar of task and mixture names."""

import pytest

from dsbs_jax import cli
from dsbs_jax.data import dataset_spec, methods, metrics
from dsbs_jax.task_ids import LABEL, RATIONALE


def infos(spec):
    return {info.name: info for info in methods.task_infos(spec)}


def test_every_teacher_has_the_same_tasks():
    targets = ["label", "predict", "factual_label"]
    for teacher in ("palm", "gpt_neox"):
        targets += [
            f"{teacher}_label",
            f"{teacher}_predict",
            f"{teacher}_rationale",
            f"{teacher}_rationales",
            f"{teacher}_rationale_then_label",
            f"{teacher}_rationale_then_teacher_label",
            f"{teacher}_label_then_rationale",
            f"{teacher}_pair",
            f"{teacher}_factual_rationale_then_label",
            f"{teacher}_counterfactual_rationale_then_label",
        ]
    # The task of pretraining reads no teacher.
    targets.append("spans")
    assert list(infos(dataset_spec.CQA)) == [f"cqa_{target}" for target in targets]
    assert len(infos(dataset_spec.ASDIV)) == 14


def test_rationale_tasks_have_their_own_task_id():
    for name, info in infos(dataset_spec.CQA).items():
        is_label = "_then_" in name or "_rationale" not in name
        is_label &= "counterfactual" not in name
        assert info.paired == name.endswith("_pair")
        expected = LABEL if is_label else RATIONALE
        assert info.task_id == expected
        assert info.single_task == ("_rationale_then_" in name)
        assert info.label_first == ("_label_then_" in name)


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
        ("label_then_rationale", "cqa_palm_label_then_rationale", "cqa_label"),
        ("step_by_step_correct", "cqa_palm_step_by_step_correct", "cqa_predict"),
        ("step_by_step_multi", "cqa_palm_step_by_step_multi", "cqa_predict"),
        ("counterfactual", "cqa_palm_counterfactual", "cqa_factual_label"),
        ("mutual_information", "cqa_palm_mutual_information", "cqa_predict"),
        ("pretrain", "cqa_pretrain", "cqa_spans"),
    ],
)
def test_names_of_mixtures_and_test_tasks(method, name, test_task):
    assert methods.mixture_name("cqa", method, "palm") == name
    # The test task always compares with human labels.
    assert methods.test_task_name("cqa", method) == test_task


def test_the_layout_of_a_method_follows_from_its_targets():
    def methods_with(layout):
        return [m for m, info in methods.METHODS.items() if getattr(info, layout)]

    assert methods_with("two_tasks") == [
        "step_by_step",
        "step_by_step_unlabeled",
        "step_by_step_correct",
        "step_by_step_multi",
        "counterfactual",
    ]
    assert methods_with("paired") == ["mutual_information"]
    assert methods_with("counterfactual") == ["counterfactual"]
    assert methods_with("each_rationale") == ["step_by_step_multi"]
    assert methods_with("rationale_first") == [
        "single_task",
        "single_task_unlabeled",
        "counterfactual",
    ]
    assert methods_with("label_first") == ["label_then_rationale"]


def test_every_method_has_a_gin_file_with_its_alpha():
    for method, info in methods.METHODS.items():
        text = (cli.config_dir() / f"methods/{method}.gin").read_text()
        assert f"METHOD = {method!r}\n" in text
        assert f"ALPHA = {info.alpha}\n" in text
