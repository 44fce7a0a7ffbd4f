"""Tests of the plan of a fit."""

import json

import pytest
from conftest import tiny_rows

from dsbs_jax import gin_files
from dsbs_jax.data import data_files, dataset_spec, metrics
from dsbs_jax.errors import UserError
from dsbs_jax.fitting import plan as plans
from dsbs_jax.local import run_lock
from dsbs_jax.local.config import TrainSettings


def test_every_choice_has_a_value_and_a_reason(make_plan):
    plan = make_plan()
    text = plan.text()
    for choice in plan.choices:
        assert choice.value and choice.reason
        assert choice.name in text
    assert "step_by_step" in text and "5 labels" in text


def test_gin_file_has_the_settings_of_the_plan(make_plan, tmp_path):
    plan = make_plan({"dropout_rate": 0.25}, train_steps=30)
    path = tmp_path / "plan.gin"
    path.write_text(plan.gin())
    values = gin_files.read([str(path)]).values
    assert values == plan.macros
    assert TrainSettings.from_macros(values) == plan.settings
    assert max(map(len, path.read_text().splitlines()[:5])) < 200


def test_names_of_folders_and_files(make_plan, tmp_path):
    plan = make_plan()
    assert plan.macros["DATASET"] == "my_jars"
    folder = tmp_path / "runs/my-jars"
    assert plan.macros["MODEL_DIR"] == str(folder)
    assert plan.macros["DATA_FILES"]["test"] == str(folder / "data/test.jsonl")


@pytest.mark.parametrize("name", ["anli1", "svamp", "svamp_asdiv"])
def test_a_folder_with_the_name_of_a_built_in_dataset(make_plan, tmp_path, name):
    data = make_plan(folder=tmp_path / name).method_data
    assert data.spec == dataset_spec.user_dataset(name)
    assert data.test_task.metric_fns == [metrics.EXACT_MATCH]


def test_other_settings_replace_chosen_ones(make_plan):
    plan = make_plan({"patience": 2, "max_decode_length": 9})
    assert plan.settings.loop.patience == 2
    assert plan.settings.decoding.max_decode_length == 9
    assert list(plan.macros).count("PATIENCE") == 1
    assert plan.choices[-1].value == "PATIENCE = 2, MAX_DECODE_LENGTH = 9"


@pytest.mark.parametrize(
    ("others", "choices", "message"),
    [
        ({"dropout_rat": 0.1}, {}, "dropout_rat is not a setting; did you mean drop"),
        ({"dropout_rate": 2}, {}, "DROPOUT_RATE is 2, expected"),
        ({"model_dir": "x"}, {}, "model_dir is not a setting"),
        ({}, {"size": "smal"}, "size is 'smal', expected one of micro"),
        ({"max_decode_length": 1}, {}, "at most MAX_DECODE_LENGTH, 1"),
        ({}, {"target_length": 1}, "target_length is 1, expected at least 2"),
        (
            {},
            {"size": "tiny", "initial_checkpoint": "hub:a/b", "vocabulary": True},
            "expected only one of them",
        ),
    ],
)
def test_wrong_choices(make_plan, tiny_vocabulary, others, choices, message):
    if choices.get("vocabulary"):
        choices = {**choices, "vocabulary": str(tiny_vocabulary)}
    with pytest.raises(UserError, match=message):
        make_plan(others, **choices)


def test_inputs_that_are_cut_are_a_warning(make_plan):
    plan = make_plan(input_length=10)
    assert plan.settings.data.task_feature_lengths["inputs"] == 10
    assert plan.warnings == [
        "train: 42 of 42 inputs are longer than 10 tokens and are cut; input_length "
        "changes the length"
    ]


def test_method_of_several_rationales_warns_without_them(make_plan):
    plan = make_plan(method="step_by_step_multi")
    assert plan.warnings == [
        "train: no row has the field 'rationales', a list of texts, so "
        "step_by_step_multi trains as step_by_step"
    ]


def test_labels_that_a_given_vocabulary_lacks(make_plan, tiny_vocabulary, tmp_path):
    rows = tiny_rows()
    for row in rows:
        row["label"] = row["teacher_label"] = row["label"].replace("e", "é")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="characters that the vocabulary lacks: 'é'"):
        make_plan(data=data, vocabulary=str(tiny_vocabulary))


def test_written_rows_are_those_of_the_plan(make_plan):
    plan = make_plan()
    plan.write()
    written = data_files.read_dataset(plan.macros["DATA_FILES"])
    assert written == {name: list(part) for name, part in plan.rows.splits.items()}
    assert plan.output.joinpath("vocabulary/sentencepiece.model").exists()
    plan.check_folder()


def test_folder_with_other_files_is_refused(make_plan, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    make_plan(folder=folder).check_folder()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="has files and no plan.gin"):
        make_plan(folder=folder).check_folder()
    with pytest.raises(UserError, match="is a file, expected a new folder"):
        make_plan(folder=folder / "notes.txt").check_folder()


def test_file_of_each_split(tmp_path):
    paths = plans.split_paths(tmp_path, ["train", "test"])
    assert paths["train"] == str(tmp_path / "data/train.jsonl")
    assert list(paths) == ["train", "test"]


def test_few_rationales_are_a_warning_and_are_not_cut(make_plan, tmp_path):
    rows = tiny_rows()
    for row in rows:
        del row["rationale"]
    longest = "one red and two blue: more are blue, as everyone can see and count."
    for row in rows[:4]:
        row["rationale"] = longest
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = make_plan(data=data, split_seed=1)
    some = sum(r.rationale is not None for r in plan.rows.splits["train"])
    assert some in {1, 2, 3, 4}  # more than 90 % of 42 rows have none
    assert plan.warnings == [
        f"train: {42 - some} of 42 rows have no rationale, and half of each batch "
        "repeats the few others"
    ]


def test_passes_are_those_of_the_given_batch(make_plan):
    reasons = {
        choice.name: choice.reason
        for choice in make_plan(batch_size=8, train_steps=21).choices
    }
    # 4 label rows of each batch.
    assert reasons["steps"] == "2 passes over 42 rows"
    many = {c.name: c.reason for c in make_plan(train_steps=10_000).choices}
    assert many["steps"] == "3,810 passes over 42 rows"


def test_checkpoint_that_does_not_exist_is_an_error(make_plan):
    with pytest.raises(UserError, match="expected a run folder, .* found nothing"):
        make_plan(initial_checkpoint="runs/nowhere")


def test_plan_is_not_written_into_the_folder_of_a_fit_that_began_since(make_plan):
    first, second = make_plan(), make_plan(split_seed=1)
    first.check_folder()
    second.check_folder()
    first.write()
    files = {p: p.read_bytes() for p in first.output.rglob("*") if p.is_file()}
    with (
        run_lock.RunLock(first.output),
        pytest.raises(UserError, match="trains in this folder"),
    ):
        second.write()
    assert files == {p: p.read_bytes() for p in first.output.rglob("*") if p.is_file()}
