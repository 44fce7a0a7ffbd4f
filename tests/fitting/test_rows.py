"""Tests of how the rows of a fit are read, split and checked."""

import json

import pytest
from conftest import tiny_rows

from dsbs_jax.data.methods import METHODS
from dsbs_jax.errors import UserError
from dsbs_jax.fitting import rows as fit_rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def without(*fields):
    return [{k: v for k, v in row.items() if k not in fields} for row in tiny_rows()]


def test_splits_are_made_without_an_input_in_two_of_them(read_rows):
    rows = read_rows()
    assert rows.made == ("validation", "test")
    sizes = {name: len(part) for name, part in rows.splits.items()}
    assert sizes == {"train": 42, "validation": 6, "test": 12}
    inputs = [record.input for part in rows.splits.values() for record in part]
    assert len(set(inputs)) == 60


def test_another_seed_gives_other_splits(read_rows):
    tests = [
        {record.id for record in read_rows(split_seed=seed).splits["test"]}
        for seed in (0, 0, 1)
    ]
    assert tests[0] == tests[1] != tests[2]


def test_given_test_rows_are_kept_and_validation_is_made(read_rows, tmp_path):
    test = write(tmp_path / "test.jsonl", tiny_rows()[:10])
    train = write(tmp_path / "train.jsonl", tiny_rows()[10:])
    rows = read_rows(train, test=str(test))
    sizes = {name: len(part) for name, part in rows.splits.items()}
    assert sizes == {"train": 45, "validation": 5, "test": 10}
    assert rows.made == ("validation",)


def test_given_validation_rows_make_no_test_rows(read_rows, tmp_path):
    part = write(tmp_path / "validation.jsonl", tiny_rows()[:10])
    rows = read_rows({"train": str(write(tmp_path / "t.jsonl", tiny_rows()[10:]))})
    assert "test" in rows.splits
    rows = read_rows(tmp_path / "t.jsonl", validation=str(part))
    assert (list(rows.splits), rows.made) == (["train", "validation"], ())


def test_split_that_is_given_twice_is_an_error(read_rows, tiny_jsonl):
    splits = {"train": str(tiny_jsonl), "test": str(tiny_jsonl)}
    with pytest.raises(UserError, match="test is given twice"):
        read_rows(splits, test=str(tiny_jsonl))


@pytest.mark.parametrize(
    ("missing", "method"),
    [
        ([], "step_by_step"),
        (["label"], "step_by_step_unlabeled"),
        (["rationale"], "finetune"),
        (["label", "rationale"], "distill"),
    ],
)
def test_the_rows_decide_the_method(read_rows, tmp_path, missing, method):
    data = write(tmp_path / "rows.jsonl", without(*missing))
    assert read_rows(data).method == method


@pytest.mark.parametrize("method", METHODS)
def test_method_that_the_rows_do_not_support_is_an_error(read_rows, tmp_path, method):
    for field in fit_rows.needed_fields(method):
        # The teacher's label takes the place of a human label.
        gone = ["label", "teacher_label"] if field == "label" else [field]
        data = write(tmp_path / "rows.jsonl", [*without(*gone)])
        with pytest.raises(UserError, match="none of|needs rows with"):
            read_rows(data, method=method)


def test_fields_that_a_method_trains_on():
    assert {method: fit_rows.needed_fields(method) for method in METHODS} == {
        "finetune": ["label"],
        "distill": ["teacher_label"],
        "step_by_step": ["label", "rationale"],
        "step_by_step_unlabeled": ["teacher_label", "rationale"],
        "single_task": ["label", "rationale"],
        "single_task_unlabeled": ["teacher_label", "rationale"],
        "label_then_rationale": ["label", "rationale"],
        "step_by_step_correct": ["label", "rationale"],
        "step_by_step_multi": ["label", "rationale"],
        "counterfactual": [
            "label",
            "rationale",
            "counterfactual_rationale",
            "counterfactual_label",
        ],
        "mutual_information": ["label", "rationale"],
    }


def test_baseline_has_the_labels_of_the_method(read_rows):
    rows = read_rows()
    assert fit_rows.without_rationales(rows).method == "finetune"
    rows = read_rows(method="step_by_step_unlabeled")
    baseline = fit_rows.without_rationales(rows)
    assert (baseline.method, baseline.splits) == ("distill", rows.splits)


def test_label_set_is_detected_or_given(read_rows):
    assert sorted(read_rows().labels) == ["amber", "blue", "green", "red", "white"]
    assert read_rows(labels=()).labels is None
    given = ("red", "white", "blue", "green", "amber", "black")
    assert read_rows(labels=given).labels == given


def test_labels_outside_a_given_set_are_listed(read_rows):
    with pytest.raises(UserError) as error:
        read_rows(labels=("red", "white", "blue", "green"))
    message = str(error.value)
    assert "rows have labels that are not in the label set 'red', 'white'" in message
    amber = [row["id"] for row in tiny_rows() if row["label"] == "amber"]
    listed = message.splitlines()[1:]
    assert len(listed) == 1 and listed[0].startswith(
        f"  'amber' {len(amber)}, the first is row 'jar-"
    )


def test_label_that_is_given_twice_is_an_error(read_rows):
    labels = ("red", "white", "blue", "green", "amber", "red")
    with pytest.raises(UserError, match="labels has 'red' twice"):
        read_rows(labels=labels)


def test_teacher_labels_outside_the_set_are_not_trained_on(read_rows, tmp_path):
    rows = tiny_rows()
    for row in rows[:30]:
        row["teacher_label"] = "silver-on-a-chip"
    read = read_rows(write(tmp_path / "rows.jsonl", rows))
    bad = [r for r in read.splits["train"] if r.teacher_label is None]
    assert read.outside == len(bad) > 10
    assert all(record.rationale is None and record.label for record in bad)


def test_rows_of_a_split_without_labels_are_an_error(read_rows, tmp_path):
    test = write(tmp_path / "test.jsonl", without("label")[:5])
    with pytest.raises(UserError, match="none of 5 test rows has a label"):
        read_rows(test=str(test))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"input": f"a {n}", "label": "x"} for n in range(9)], "all 9 labels are 'x'"),
        (
            [{"input": "a", "label": "xy"[n % 2]} for n in range(9)],
            "all 9 rows have the same input",
        ),
        ([{"input": "a", "label": "x"}, {"input": "b", "label": "y"}], "2 distinct"),
        ([{"input": "a", "lable": "x"}] * 2, "did you mean 'lable'"),
        (
            [{"input": "a", "label": "x"}, {"input": "b", "label": 2}],
            "two types|text and|integer",
        ),
        ([{"input": "a", "label": None}, {"input": "b", "label": None}], "no label"),
    ],
)
def test_rows_that_cannot_be_trained_on(read_rows, tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_rows(write(tmp_path / "rows.jsonl", rows))


def test_label_on_one_row_stays_in_train(read_rows, tmp_path):
    rows = [{"input": f"{name} {n}", "label": name} for n in range(60) for name in "xy"]
    rows[7]["label"] = "violet"
    read = read_rows(write(tmp_path / "rows.jsonl", rows))
    assert [r.label for r in read.splits["train"]].count("violet") == 1
    assert read.labels == ("x", "y")
    assert "labels on one row are not in it: 'violet'" in read.labels_reason
    assert any("violet" in warning for warning in read.report.warnings())


def test_numbers_are_answers_and_may_be_given_as_classes(read_rows, tmp_path):
    rows = [{"input": f"Row {n}", "label": n % 2} for n in range(40)]
    data = write(tmp_path / "rows.jsonl", rows)
    open_rows = read_rows(data)
    assert open_rows.labels is None
    assert open_rows.labels_reason == (
        "2 different labels in 28 rows are numbers, which are read as answers and not "
        "as classes; if they are a closed set, give them as labels"
    )
    assert "labels: open answers, 2 different" in open_rows.report.text()
    closed = read_rows(data, labels=("0", "1"))
    assert "labels: a set of 2: '0' 14, '1' 14" in closed.report.text()


def test_too_few_rows_for_a_split_are_an_error(read_rows, tmp_path):
    rows = [{"input": f"Row {n}", "label": "aab"[n]} for n in range(3)]
    with pytest.raises(UserError, match="3 rows are too few for validation rows"):
        read_rows(write(tmp_path / "rows.jsonl", rows))


def test_dataset_with_splits_keeps_those_that_are_not_given(read_rows, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    rows = tiny_rows()
    parts = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_list(part) for name, part in parts.items()}
    ).save_to_disk(str(tmp_path / "saved"))
    other = write(tmp_path / "other.jsonl", tiny_rows()[:3])
    read = read_rows(str(tmp_path / "saved"), test=str(other))
    sizes = {name: len(part) for name, part in read.splits.items()}
    assert (sizes, read.made) == ({"train": 40, "validation": 10, "test": 3}, ())
