import pytest

from dsbs_jax.data.metrics import EXACT_MATCH
from dsbs_jax.rationales import bias
from dsbs_jax.rationales.bias import LengthGroup
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.proportion import Proportion


def row(id_, label, teacher_label, words=3):
    fields = {"label": label, "teacher_label": teacher_label}
    fields |= {"rationale": " ".join(["so"] * words)} if words else {}
    fields = {name: value for name, value in fields.items() if value is not None}
    return VotedExample.from_row({"id": id_, "input": f"Input {id_}"} | fields)


ROWS = [
    row("1", "a", "a", 2),
    row("2", "a", "b", 8),
    row("3", "b", "b", 4),
    row("4", "a", "b", 9),
]


def test_the_skew_is_that_of_the_same_rows():
    # Row 5 has no human label and does not count.
    skew = bias.measure([*ROWS, row("5", None, "a")], EXACT_MATCH).skew
    pair = skew.classes["a"]
    assert (pair.first, pair.second) == (Proportion(3, 4), Proportion(1, 4))
    assert pair.interval[0] < pair.difference == -0.5 < pair.interval[1]


def test_open_answers_have_no_skew_and_no_lengths_by_label():
    figures = bias.measure(
        [row(str(n), f"{n}", f"{n}") for n in range(20)], EXACT_MATCH
    )
    assert figures.skew is None and not figures.label_lengths
    assert figures.accuracy_lengths == {"right": LengthGroup(3, Proportion(0, 20))}
    assert figures.length_p_value is None


def test_lengths_by_correctness_and_label():
    figures = bias.measure([*ROWS, row("5", "a", "a", words=0)], EXACT_MATCH)
    assert figures.accuracy_lengths == {
        "right": LengthGroup(3, Proportion(0, 2)),
        "wrong": LengthGroup(8.5, Proportion(2, 2)),
    }
    assert figures.label_lengths == {
        "b": LengthGroup(8, Proportion(2, 3)),
        "a": LengthGroup(2, Proportion(0, 1)),
    }
    assert figures.length_p_value == pytest.approx(1 / 3)  # exact, 2 of 6 orders


def test_accuracy_by_group():
    columns = {"region": {"1": "north", "2": "south", "3": "north"}}
    groups = bias.measure(ROWS, EXACT_MATCH, columns).groups["region"]
    assert groups.accuracy == {
        "north": Proportion(2, 2),
        "south": Proportion(0, 1),
        "(no value)": Proportion(0, 1),
    }


def test_changed_labels_after_a_swap():
    labels = {"1": "b", "2": "b", "3": None, "9": "b"}
    swapped = [row(id_, "a", label) for id_, label in labels.items()]
    swaps = bias.measure(ROWS, EXACT_MATCH, swapped=swapped).swaps
    assert swaps.changed == Proportion(1, 2)
    assert swaps.changes == {("a", "b"): 1}
    assert bias.measure(ROWS, EXACT_MATCH).swaps is None
