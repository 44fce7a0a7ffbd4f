import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.reports import inheritance, label_skew, page
from dsbs_jax.reports.proportion import Proportion

TARGETS = ["a"] * 50 + ["b"] * 50


def compare(teacher_a, student_a, **options):
    """Teacher and student answer "a" on the first rows and "b" on the others."""
    answers = (["a"] * n + ["b"] * (100 - n) for n in (teacher_a, student_a))
    return inheritance.compare(TARGETS, *answers, **options)


@pytest.mark.parametrize(
    ("teacher_a", "student_a", "verdict"),
    [
        (50, 50, inheritance.UNSKEWED),
        (50, 70, inheritance.NEW),
        (70, 70, inheritance.INHERITED),
        (70, 72, inheritance.INHERITED),
        (70, 90, inheritance.AMPLIFIED),
        (90, 70, inheritance.REDUCED),
        (70, 50, inheritance.NOT_INHERITED),
        (70, 30, inheritance.NOT_INHERITED),
    ],
)
def test_verdicts_of_both_labels(teacher_a, student_a, verdict):
    found = compare(teacher_a, student_a)
    # With two labels, the skew of one is the opposite of the other's.
    assert [found.verdict(label) for label in "ab"] == [verdict] * 2


def test_the_opposite_directions_have_the_same_verdict():
    for directions in itertools.product((-1, 0, 1), repeat=3):
        opposite = (-direction for direction in directions)
        assert inheritance.verdict(*directions) == inheritance.verdict(*opposite)


def test_accuracy_by_group():
    columns = {"region": ["north"] * 60 + ["south"] * 40}
    groups = compare(70, 50, columns=columns).groups["region"]
    assert list(groups) == ["north", "south"]
    # The teacher is wrong on rows 50 to 69: 10 in the north, 10 in the south.
    assert groups["north"].first == Proportion(50, 60)
    assert groups["south"].first == Proportion(30, 40)
    assert groups["south"].second == Proportion(40, 40)


ANSWERS = st.sampled_from(["a", "b", "x", None])


@given(st.lists(st.tuples(st.sampled_from("ab"), ANSWERS, ANSWERS), min_size=1))
def test_the_change_is_the_difference_of_the_skews(rows):
    targets, teacher, student = zip(*rows, strict=True)
    found = inheritance.compare(targets, teacher, student)
    for label, change in found.changes.items():
        skews = [
            side.classes[label].difference if label in side.classes else 0
            for side in (found.teacher, found.student)
        ]
        assert change.difference == pytest.approx(skews[1] - skews[0])
    assert found.student == label_skew.label_skew(targets, student)


def test_the_page_shows_both():
    columns = {"region": ["north"] * 60 + ["south"] * 40}
    text = page.as_text("Card", compare(70, 90, columns=columns).blocks())
    assert "+20.00" in text and inheritance.AMPLIFIED in text
    assert "Accuracy of teacher and student by group" in text
    assert "Accuracy of teacher" not in page.as_text("Card", compare(70, 90).blocks())
