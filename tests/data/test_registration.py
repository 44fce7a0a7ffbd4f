import itertools
import json

import gin
import numpy as np
import pytest
import seqio

from dsbs_jax.data import metrics, registration, vocabulary
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL, RATIONALE

LENGTHS = {"inputs": 64, "targets": 64, "task_ids": 64}


@pytest.fixture(autouse=True)
def configured(configure_tiny):
    configure_tiny(MODEL_DIR="x")


@pytest.fixture(scope="module")
def registered():
    """A dataset with two teachers, one of which says little."""
    records = {
        "train": [
            Record("a", "4 red, 2 blue</s>red wins", "red", "red", "4 are more"),
            Record("b", "1 red, 2 blue</s>red wins", "blue", "red", "1 is more"),
            Record("c", "1 red, 9 blue</s>red wins", None, "blue", "9 are more"),
            Record("d", "5 red, 9 blue</s>red wins", "blue"),
        ],
        "validation": [Record("e", "7 red, 2 blue", "red", "red", "7 are more")],
    }
    source = RecordSource(records, "sage")
    registration.register("jars", source, teachers=["sage"])
    return "jars"


def targets(name, split="train"):
    task = seqio.TaskRegistry.get(name)
    dataset = task.get_dataset(LENGTHS, split, shuffle=False)
    return {
        row["id"].decode(): row["targets_pretokenized"].decode()
        for row in dataset.as_numpy_iterator()
    }


@pytest.mark.parametrize(
    ("target", "prefix", "expected"),
    [
        # "c" has no human label: in training, the teacher's stands in.
        ("label", "", {"a": "red", "b": "blue", "c": "blue", "d": "blue"}),
        (
            "predict",
            "predict: ",
            {"a": "red", "b": "blue", "c": "blue", "d": "blue"},
        ),
        ("sage_label", "", {"a": "red", "b": "red", "c": "blue"}),
        ("sage_predict", "predict: ", {"a": "red", "b": "red", "c": "blue"}),
        (
            "sage_rationale",
            "explain: ",
            {"a": "4 are more", "b": "1 is more", "c": "9 are more"},
        ),
        (
            "sage_rationale_then_label",
            "",
            {
                "a": "4 are more So the answer is red",
                "b": "1 is more So the answer is blue",
                "c": "9 are more So the answer is blue",
            },
        ),
        (
            "sage_rationale_then_teacher_label",
            "",
            {
                "a": "4 are more So the answer is red",
                "b": "1 is more So the answer is red",
                "c": "9 are more So the answer is blue",
            },
        ),
    ],
)
def test_tasks(registered, target, prefix, expected):
    name = f"jars_{target}"
    assert targets(name) == expected
    task = seqio.TaskRegistry.get(name)
    row = next(task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator())
    assert row["inputs_pretokenized"].decode() == f"{prefix}4 red, 2 blue</s>red wins"
    task_id = RATIONALE if target == "sage_rationale" else LABEL
    assert row["task_ids"].tolist() == [task_id] * len(row["targets"])
    # Rationales are never scored, so they are never decoded in evaluation either.
    assert bool(task.metric_fns) == (task_id == LABEL)


def test_two_segments_reach_the_student_with_the_end_of_sequence_between(
    registered, tiny_vocabulary
):
    task = seqio.TaskRegistry.get("jars_predict")
    row = next(task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator())
    encode = vocabulary.load(str(tiny_vocabulary)).encode
    premise = encode("predict: 4 red, 2 blue")
    assert row["inputs"].tolist() == [*premise, 1, *encode("red wins"), 1]
    assert row["targets"].tolist() == [*encode("red"), 1]


def test_long_targets_end_all_the_same(registered):
    task = seqio.TaskRegistry.get("jars_sage_rationale")
    lengths = {"inputs": 5, "targets": 3, "task_ids": 3}
    for row in task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator():
        assert len(row["inputs"]) == 5 and row["inputs"][-1] == 1
        assert len(row["targets"]) == 3 and row["targets"][-1] == 1
        assert row["task_ids"].tolist() == [RATIONALE] * 3


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
        assert registration.mixture_name(dataset, method, teacher) == name
        mixture = seqio.MixtureRegistry.get(name)
        found = sorted(task.name for task in mixture.tasks)
        assert found == sorted(f"{dataset}_{task.format(t=teacher)}" for task in tasks)
    assert teacher in registration.teachers(dataset)


def test_asdiv_joins_svamp_without_human_labels():
    import dsbs_jax.tasks.svamp  # noqa: F401

    mixture = seqio.MixtureRegistry.get("svamp_asdiv_palm_step_by_step_unlabeled")
    assert sorted(task.name for task in mixture.tasks) == [
        "asdiv_palm_predict",
        "asdiv_palm_rationale",
        "svamp_palm_predict",
        "svamp_palm_rationale",
    ]
    info = registration.TASKS["svamp_palm_predict"]
    assert info.metric is metrics.equation_accuracy


def test_test_task_is_the_one_with_human_labels():
    names = {m: registration.test_task_name("cqa", m) for m in MIXTURES}
    assert names == {
        "finetune": "cqa_label",
        "distill": "cqa_label",
        "step_by_step": "cqa_predict",
        "step_by_step_unlabeled": "cqa_predict",
        "single_task": "cqa_label",
        "single_task_unlabeled": "cqa_label",
    }


def test_unknown_method_is_named():
    with pytest.raises(UserError, match="METHOD is 'setp_by_step', expected one of f"):
        registration.mixture_name("cqa", "setp_by_step")


def test_a_dataset_is_registered_once(registered):
    source = RecordSource({"train": []}, "sage")
    with pytest.raises(UserError, match="'jars' is registered already"):
        registration.register("jars", source, teachers=["sage"])


def rates(name):
    mixture = seqio.MixtureRegistry.get(name)
    return {task.name: mixture.get_rate(task) for task in mixture.tasks}


def test_rates_come_from_the_settings(registered, configure_tiny):
    name = "jars_sage_step_by_step"
    assert rates(name) == {"jars_predict": 1.0, "jars_sage_rationale": 1.0}
    configure_tiny(MODEL_DIR="x", LABEL_RATE=1.0, RATIONALE_RATE=3.0)
    assert rates(name) == {"jars_predict": 1.0, "jars_sage_rationale": 3.0}
    dataset = seqio.MixtureRegistry.get(name).get_dataset(
        LENGTHS, "train", shuffle=False, num_epochs=None, seed=0
    )
    drawn = [int(row["task_ids"][0]) for row in dataset.take(400).as_numpy_iterator()]
    # 300 are expected, with a standard deviation of 9.
    assert abs(drawn.count(RATIONALE) - 300) < 40


@pytest.mark.parametrize("label, rationale", [(-1.0, 1.0), (0.0, 0.0)])
def test_rates_that_mix_nothing_are_refused(
    registered, configure_tiny, label, rationale
):
    configure_tiny(MODEL_DIR="x", LABEL_RATE=label, RATIONALE_RATE=rationale)
    with pytest.raises(UserError, match="one of them > 0"):
        rates("jars_sage_step_by_step")


def test_joined_datasets_mix_by_size(registered):
    records = [Record(f"n{i}", f"{i} red", None, "red", "all red") for i in range(12)]
    registration.register("more", RecordSource({"train": records}, "sage"), ["sage"])
    registration.add_mixture("jars", "distill", "sage", also=["more"])
    found = rates("jars_more_sage_distill")
    assert found == {"jars_sage_label": 4.0, "more_sage_label": 12.0}


def test_part_of_the_rows_by_the_settings(configure_tiny, tiny_jsonl):
    registration.mixture_name("part", "finetune", files=str(tiny_jsonl))
    whole = targets("part_label")
    held_out = targets("part_label", "validation")
    configure_tiny(MODEL_DIR="x", SUBSAMPLE_FRACTION=0.25, SUBSAMPLE_SEED=7)
    part = targets("part_label")
    assert len(whole) == 48 and len(part) == 12
    assert part.items() <= whole.items()
    assert targets("part_label") == part
    assert targets("part_label", "validation") == held_out
    configure_tiny(MODEL_DIR="x", SUBSAMPLE_FRACTION=0.25, SUBSAMPLE_SEED=8)
    assert targets("part_label") != part


def test_own_files_of_each_split(tmp_path):
    files = {}
    for split, labels in {"train": "xyz", "test": "w"}.items():
        files[split] = str(tmp_path / f"{split}.jsonl")
        lines = [
            json.dumps({"input": f"{split} {i}", "label": label, "id": label})
            for i, label in enumerate(labels)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    name = registration.mixture_name("split", "finetune", files=files)
    assert name == "split_finetune"
    assert set(seqio.get_mixture_or_task(name).splits) == {"train", "test"}
    assert targets("split_label", "test") == {"w": "w"}
    assert targets("split_teacher_rationale") == {}
    assert registration.mixture_name("split", "distill", files=files)
    with pytest.raises(UserError, match="'split' is registered with other files"):
        registration.mixture_name("split", "finetune", files=files["train"])


@pytest.mark.parametrize(
    ("text", "rationale", "label"),
    [
        ("4 are more So the answer is red", "4 are more", "red"),
        ("So the answer is red", "", "red"),
        ("red", "", "red"),
        ("a So the answer is b So the answer is c", "a So the answer is b", "c"),
    ],
)
def test_single_task_output_is_parted_at_its_last_marker(text, rationale, label):
    assert registration.split_answer(text) == (rationale, label)


def test_single_task_is_scored_by_its_label(registered):
    task = seqio.TaskRegistry.get("jars_sage_rationale_then_label")
    assert task.postprocess_fn("4 are more So the answer is red") == "red"
    plain = seqio.TaskRegistry.get("jars_label")
    assert plain.postprocess_fn(" red ") == "red"


def test_order_of_examples_follows_the_seed(registered):
    task = seqio.TaskRegistry.get("jars_label")

    def order(seed):
        dataset = task.get_dataset(LENGTHS, "train", shuffle=True, seed=seed)
        return [row["id"] for row in dataset.repeat(3).as_numpy_iterator()]

    assert order(0) == order(0)
    assert any(order(0) != order(seed) for seed in range(1, 6))
    assert np.unique(order(0)).size == 4


def test_settings_are_read_when_used(registered):
    gin.clear_config()
    assert rates("jars_sage_step_by_step")["jars_predict"] == 1.0
