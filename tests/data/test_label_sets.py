"""Tests of the detection of label sets."""

import pytest

from dsbs_jax.data.label_sets import LabelSet, detect_label_set
from dsbs_jax.data.records import Record


def records_of(labels):
    return [Record(str(i), f"input {i}", label) for i, label in enumerate(labels)]


def test_labels_and_odd_labels():
    labels = ["refuse"] * 99 + ["approve"] * 100 + ["approved", "Refuse"] + [None] * 50
    assert detect_label_set(records_of(labels)) == LabelSet(
        ("approve", "refuse"), (100, 99), (("Refuse", 1), ("approved", 1))
    )


@pytest.mark.parametrize(
    ("labels", "detected"),
    [
        (["a", "b"] * 49 + ["c", "d"], True),
        (["a", "b"] * 48 + ["c", "d", "e"], False),
        ([str(i // 2) + "x" for i in range(198)], True),
        ([str(i // 2) + "x" for i in range(200)], False),
        (["a"] * 50, False),
        ([f"answer {i}" for i in range(50)], False),
        (["0", "1", "2"] * 20, False),
        (["1,200", "$3", "15 %", "( 4 / 2 )"] * 5, False),
        (["1", "2", "unknown"] * 20, False),
        (["1", "good", "bad"] * 20, True),
        (["true", "false"] * 20, True),
        ([], False),
    ],
)
def test_which_labels_are_a_set(labels, detected):
    assert (detect_label_set(records_of(labels)) is not None) == detected


def test_teacher_labels_count_only_without_human_labels():
    teacher = [Record(str(i), f"{i}", None, "ab"[i % 2]) for i in range(20)]
    assert detect_label_set(teacher).labels == ("a", "b")
    assert detect_label_set([*teacher, *records_of(["x", "y"] * 9)]).labels == (
        "x",
        "y",
    )
