"""Tests of the report about a dataset's rows."""

import pytest

from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.reports.data_quality import Lengths, inspect


def rows(prefix, *labels):
    return [Record(f"{prefix}{i}", f"{prefix}-{i}", x) for i, x in enumerate(labels)]


def test_lengths():
    assert Lengths.of("x" * n for n in range(1, 102)) == Lengths(51, 96, 101)
    assert Lengths.of("x" * n for n in range(1, 21)) == Lengths(10, 19, 20)
    assert str(Lengths.of(["abc"])) == "3 / 3 / 3"


def test_teacher_labels_take_the_place_of_human_labels():
    records = [Record(str(n), f"x {n}", None, "ab"[n % 2]) for n in range(300)]
    report = inspect({"train": records[:100], "test": records[100:]})
    assert report.warnings() == []
    unlabeled = [*records[:100], Record("z", "z", None, None, "because")]
    report = inspect({"train": unlabeled, "test": records[100:]})
    assert report.warnings() == [
        "train: 1 of 101 rows have no label and are not trained on"
    ]


def test_counts_and_warnings():
    train = [
        *rows("t", *["yes", "no"] * 60, "yess", None),
        Record("a", "t-0", "yes", "no", "because"),
        Record("b", "t-1", "yes"),
    ]
    test = [*rows("s", "yes", "maybe"), Record("c", "t-2", "no")]
    report = inspect({"train": train, "test": test})
    quality = report.splits["train"]
    assert (quality.rows, quality.labels, quality.rationales) == (124, 123, 1)
    assert (quality.teacher_labels, quality.repeated, quality.conflicting) == (1, 1, 1)
    assert list(quality.label_counts.items()) == [("yes", 62), ("no", 60), ("yess", 1)]
    assert report.shared_inputs == {("train", "test"): 1}
    assert report.label_set.labels == ("yes", "no")
    assert report.warnings() == [
        "train: 1 of 124 rows have no human label and are trained on only where the "
        "method uses the teacher's labels",
        "train: 1 input has different labels",
        "test: 1 label is not in train: 'maybe' 1",
        "test: an accuracy on 3 rows is uncertain by up to 57 percentage points",
        "1 input is in train and in test, so scores on test are too high",
        "labels on one row only: 'yess' 1",
    ]
    text = report.text()
    assert "labels: a set of 2: 'yes' 62, 'no' 60\n" in text
    assert (
        "input 4 / 5 / 5, label 3 / 3 / 4, teacher label 2 / 2 / 2, rationale" in text
    )
    assert text.splitlines()[1].split() == ["train", "124", "123", "1", "1", "1"]
    assert text.count("warning: ") == 6


def test_clean_rows_have_no_warning():
    report = inspect({"train": rows("t", *"ab" * 50), "test": rows("s", *"ab" * 50)})
    assert report.warnings() == []
    assert report.label_set.odd_labels == ()


def test_open_answers():
    report = inspect({"train": rows("t", *map(str, range(30)))})
    assert "labels: open answers, 30 different" in report.text()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": []}, "train: there are no rows"),
        ({"train": rows("t", "a", "a")}, "train: all 2 labels are 'a', expected two"),
        ({"train": rows("t", "a", "b"), "test": []}, "the split test has no rows"),
    ],
)
def test_rows_that_cannot_be_trained_on(splits, message):
    with pytest.raises(UserError, match=message):
        inspect(splits)


def test_labels_that_differ_only_in_case_are_named():
    train = rows("t", *["Login", "login", "billing", "LOGIN"] * 40)
    warnings = inspect({"train": train}).warnings()
    assert warnings[-1].startswith("the labels ")
    assert warnings[-1].endswith("differ only in case, and count as different answers")
    assert all(repr(name) in warnings[-1] for name in ("Login", "login", "LOGIN"))
    assert "billing" not in warnings[-1]
    assert not inspect({"train": rows("t", *["a", "b"] * 99)}).warnings()[1:]
