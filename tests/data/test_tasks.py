"""Tests of the SeqIO tasks."""

import numpy as np
import pytest

from dsbs_jax.data import dataset_spec, methods, tasks
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.data.tasks import StudentTask, split_answer
from dsbs_jax.task_ids import CONTEXT, LABEL, ONE, RATIONALE, TASK_BITS

LENGTHS = {"inputs": 64, "targets": 64, "task_ids": 64}
RECORDS = {
    "train": [
        Record("a", "4 red, 2 blue</s>red wins", "red", "red", "4 are more"),
        Record("b", "1 red, 2 blue</s>red wins", "blue", "red", "1 is more"),
        Record("c", "1 red, 9 blue</s>red wins", None, "blue", "9 are more"),
        Record("d", "5 red, 9 blue</s>red wins", "blue"),
    ],
    "validation": [Record("e", "7 red, 2 blue", "red", "red", "7 are more")],
}
SPEC = dataset_spec.user_dataset("jars", teachers=("sage",))


@pytest.fixture(scope="module")
def jars(loaded_vocabulary):
    """The tasks of a dataset whose teacher has no completion for one row."""
    source = RecordSource(RECORDS, "sage")
    infos = methods.task_infos(SPEC)
    return {info.name: StudentTask(info, source, loaded_vocabulary) for info in infos}


def targets(task, split="train"):
    dataset = task.get_dataset(LENGTHS, split, shuffle=False)
    return {
        row["id"].decode(): row["targets_pretokenized"].decode()
        for row in dataset.as_numpy_iterator()
    }


@pytest.mark.parametrize(
    ("target", "prefix", "expected"),
    [
        # "c" has no human label. In training, the teacher's label replaces it.
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
@pytest.mark.slow
def test_examples_of_each_task(jars, target, prefix, expected):
    task = jars[f"jars_{target}"]
    assert targets(task) == expected
    row = next(task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator())
    assert row["inputs_pretokenized"].decode() == f"{prefix}4 red, 2 blue</s>red wins"
    task_id = RATIONALE if target == "sage_rationale" else LABEL
    assert row["task_ids"].tolist() == [task_id] * len(row["targets"])
    # Rationales have no metric, so evaluation does not decode them.
    assert bool(task.metric_fns) == (task_id == LABEL)


def test_label_first_target_has_an_end_token_between_label_and_rationale(
    jars, loaded_vocabulary
):
    task = jars["jars_sage_label_then_rationale"]
    encode = loaded_vocabulary.encode
    rows = {
        row["id"].decode(): row
        for row in task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator()
    }
    label, rationale = [*encode("red"), 1], [*encode("4 are more"), 1]
    assert rows["a"]["targets"].tolist() == label + rationale
    ids = [LABEL] * len(label) + [RATIONALE] * len(rationale)
    assert rows["a"]["task_ids"].tolist() == ids
    # A row without a rationale trains the label.
    assert rows["d"]["targets"].tolist() == [*encode("blue"), 1]
    assert set(rows["d"]["task_ids"].tolist()) == {LABEL}
    # Scores compare labels.
    assert targets(task) == targets(jars["jars_label"])
    assert task.metric_fns


def test_the_rationale_of_a_label_first_target_is_truncated_first(jars):
    task = jars["jars_sage_label_then_rationale"]
    full = list(task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator())
    labels = int((full[0]["task_ids"] == LABEL).sum())
    lengths = {"inputs": 64, "targets": labels + 2, "task_ids": labels + 2}
    row = next(task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator())
    assert row["targets"].tolist() == [*full[0]["targets"][: labels + 1], 1]
    assert row["task_ids"].tolist() == [LABEL] * labels + [RATIONALE] * 2


@pytest.fixture(scope="module")
def weighted_jars(loaded_vocabulary):
    """Makes a task whose wrong rationales have a weight: (target, weight) -> task.

    The teacher is wrong on "b". Nothing is known about "c", which has no human label.
    """

    def make(target, weight):
        [info] = [i for i in methods.task_infos(SPEC) if i.name == f"jars_{target}"]
        source = RecordSource(RECORDS, "sage")
        return StudentTask(info, source, loaded_vocabulary, weight)

    return make


def task_ids(task):
    dataset = task.get_dataset(LENGTHS, "train", shuffle=False)
    return {r["id"].decode(): r["task_ids"] for r in dataset.as_numpy_iterator()}


def test_wrong_rationales_carry_their_weight(weighted_jars):
    ids = task_ids(weighted_jars("sage_rationale", 0.25))
    weighted = RATIONALE + (ONE // 4 << TASK_BITS)
    found = {name: set(tokens.tolist()) for name, tokens in ids.items()}
    assert found == {"a": {RATIONALE}, "b": {weighted}, "c": {RATIONALE}}


def test_wrong_rationales_of_weight_0_are_dropped(weighted_jars):
    assert targets(weighted_jars("sage_rationale", 0.0)).keys() == {"a", "c"}
    # Its label stays.
    ids = task_ids(weighted_jars("sage_label_then_rationale", 0.0))
    assert set(ids["b"].tolist()) == {LABEL}
    assert set(ids["a"].tolist()) == {LABEL, RATIONALE}


def test_weight_of_a_label_first_target_is_that_of_its_rationale(weighted_jars):
    ids = task_ids(weighted_jars("sage_label_then_rationale", 0.5))
    weighted = RATIONALE + (ONE // 2 << TASK_BITS)
    assert set(ids["b"].tolist()) == {LABEL, weighted}


def test_weight_of_1_changes_no_preprocessor(weighted_jars, jars):
    task = weighted_jars("sage_rationale", 1.0)
    assert len(task.preprocessors) == len(jars["jars_sage_rationale"].preprocessors)


def test_any_acceptable_label_makes_the_teacher_right(loaded_vocabulary):
    records = [
        Record("a", "2 + 2", "4", "four", "count on", ("4", "four")),
        Record("b", "2 + 3", "5", "6", "count on", ()),
    ]
    source = RecordSource({"train": records}, "sage")
    info = {i.name: i for i in methods.task_infos(SPEC)}["jars_sage_rationale"]
    assert targets(StudentTask(info, source, loaded_vocabulary, 0.0)).keys() == {"a"}


def rationale_examples(vocabulary, weight=1.0):
    """Returns the id, target and task ids of each rationale of three rows."""
    several = {"rationales": ("count", "add"), "rationale_weights": (0.5, 1.0)}
    records = [
        Record("a", "2 + 2", "4", "4", "count", **several),
        Record("b", "2 + 3", "5", "6", "one more"),
        Record("c", "2 + 4", "6"),
        Record("d", "2 + 5", "7", "7", "two", (), ("two", "more"), (0.0, 0.25)),
    ]
    source = RecordSource({"train": records}, "sage")
    info = {i.name: i for i in methods.task_infos(SPEC)}["jars_sage_rationales"]
    task = StudentTask(info, source, vocabulary, weight)
    dataset = task.get_dataset(LENGTHS, "train", shuffle=False)
    return [
        (row["id"].decode(), row["targets_pretokenized"].decode(), set(row["task_ids"]))
        for row in dataset.as_numpy_iterator()
    ]


def weighted_id(weight):
    return {RATIONALE + (int(ONE * weight) << TASK_BITS)}


def test_each_rationale_of_a_row_is_an_example_with_its_weight(loaded_vocabulary):
    assert rationale_examples(loaded_vocabulary) == [
        ("a", "count", weighted_id(0.5)),
        ("a", "add", {RATIONALE}),
        ("b", "one more", {RATIONALE}),
        # "two" has weight 0.
        ("d", "more", weighted_id(0.25)),
    ]


@pytest.mark.parametrize(("weight", "kept"), [(0.5, 1), (0.0, 0)])
def test_weights_of_rationales_and_of_wrong_rows_multiply(
    loaded_vocabulary, weight, kept
):
    examples = rationale_examples(loaded_vocabulary, weight)
    wrong = [ids for name, _, ids in examples if name == "b"]
    assert wrong == [weighted_id(weight)] * kept
    assert [ids for name, _, ids in examples if name == "a"] == [
        weighted_id(0.5),
        {RATIONALE},
    ]


OTHER = {"counterfactual_rationale": "1 more is red", "counterfactual_label": "blue"}


def counterfactual_task(vocabulary, target, records, weight=1.0):
    source = RecordSource({"train": records}, "sage")
    name = f"jars_sage_{target}_rationale_then_label"
    info = {i.name: i for i in methods.task_infos(SPEC)}[name]
    return StudentTask(info, source, vocabulary, weight)


def test_both_sides_have_the_prefix_of_the_kind_of_rationale(loaded_vocabulary):
    records = [Record("a", "2 red", "red", "blue", "2 are red", **OTHER)]
    expected = {
        "factual": ("[Factual] ", "2 are red So the answer is red"),
        "counterfactual": ("[Counterfactual] ", "1 more is red So the answer is blue"),
    }
    for target, (prefix, text) in expected.items():
        # A counterfactual label is not a wrong label of the teacher.
        weight = 0.0 if target == "counterfactual" else 1.0
        task = counterfactual_task(loaded_vocabulary, target, records, weight)
        (row,) = task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator()
        assert row["inputs_pretokenized"].decode() == f"{prefix}2 red"
        assert row["targets_pretokenized"].decode() == prefix + text
        # The pieces are those of the complete text.
        pieces = loaded_vocabulary.encode(prefix + text)
        assert row["targets"].tolist() == [*pieces, loaded_vocabulary.eos_id]


def test_only_the_answer_of_a_counterfactual_rationale_has_a_loss(loaded_vocabulary):
    records = [Record("a", "2 red", "red", "red", "2 are red", **OTHER)]
    task = counterfactual_task(loaded_vocabulary, "counterfactual", records)
    (row,) = task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator()
    answer = [*loaded_vocabulary.encode("blue"), loaded_vocabulary.eos_id]
    trained = row["task_ids"] == RATIONALE
    assert row["targets"][trained].tolist() == answer
    assert trained[-len(answer) :].all()
    assert set(row["task_ids"][~trained]) == {CONTEXT}
    factual = counterfactual_task(loaded_vocabulary, "factual", records)
    (row,) = factual.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator()
    assert set(row["task_ids"]) == {LABEL}


def test_rows_without_a_counterfactual_rationale_are_skipped(loaded_vocabulary):
    without = Record("b", "3 red", "red", "red", "3 are red")
    half = Record("c", "4 red", "red", counterfactual_rationale="none")
    for records in ([without], [without, half]):
        task = counterfactual_task(loaded_vocabulary, "counterfactual", records)
        assert not [*task.get_dataset(LENGTHS, "train").as_numpy_iterator()]


def test_two_segments_are_separated_by_the_end_of_sequence(jars, loaded_vocabulary):
    dataset = jars["jars_predict"].get_dataset(LENGTHS, "train", shuffle=False)
    row = next(dataset.as_numpy_iterator())
    encode = loaded_vocabulary.encode
    premise = encode("predict: 4 red, 2 blue")
    assert row["inputs"].tolist() == [*premise, 1, *encode("red wins"), 1]
    assert row["targets"].tolist() == [*encode("red"), 1]


def test_truncated_texts_keep_their_end_of_sequence(jars):
    lengths = {"inputs": 5, "targets": 3, "task_ids": 3}
    task = jars["jars_sage_rationale"]
    for row in task.get_dataset(lengths, "train", shuffle=False).as_numpy_iterator():
        assert len(row["inputs"]) == 5 and row["inputs"][-1] == 1
        assert len(row["targets"]) == 3 and row["targets"][-1] == 1
        assert row["task_ids"].tolist() == [RATIONALE] * 3


@pytest.mark.parametrize(
    ("text", "rationale", "label"),
    [
        ("4 are more So the answer is red", "4 are more", "red"),
        ("So the answer is red", "", "red"),
        ("red", "", "red"),
        ("a So the answer is b So the answer is c", "a So the answer is b", "c"),
        ("[Factual] 4 are more So the answer is red", "4 are more", "red"),
    ],
)
def test_single_task_output_is_split_at_its_last_marker(text, rationale, label):
    assert split_answer(text) == (rationale, label)


def test_single_task_is_scored_by_its_label(jars):
    task = jars["jars_sage_rationale_then_label"]
    assert task.postprocess_fn("4 are more So the answer is red") == "red"
    assert jars["jars_label"].postprocess_fn(" red ") == "red"


@pytest.mark.slow
def test_order_of_examples_follows_the_seed(jars):
    task = jars["jars_label"]

    def order(seed):
        dataset = task.get_dataset(LENGTHS, "train", shuffle=True, seed=seed)
        return [row["id"] for row in dataset.repeat(3).as_numpy_iterator()]

    assert order(0) == order(0)
    assert any(order(0) != order(seed) for seed in range(1, 6))
    assert np.unique(order(0)).size == 4


def test_only_inputs_and_targets_get_an_end_of_sequence(loaded_vocabulary):
    features = tasks.output_features(loaded_vocabulary)
    ends = {name: feature.add_eos for name, feature in features.items()}
    assert ends == {"inputs": True, "targets": True, "task_ids": False}


def test_the_shuffle_buffer_is_at_most_the_training_rows(jars, loaded_vocabulary):
    assert jars["jars_label"].shuffle_buffer_size == 4
    source = RecordSource({"test": RECORDS["train"]}, "sage")
    info = methods.task_infos(SPEC)[0]
    assert StudentTask(info, source, loaded_vocabulary).shuffle_buffer_size == 1
