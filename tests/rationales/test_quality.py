import dataclasses
import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions
from dsbs_jax.rationales import filters, quality, voting
from dsbs_jax.rationales.card import command as card
from dsbs_jax.rationales.lengths import Lengths
from dsbs_jax.rationales.quality import NO_LABEL, OTHER, Measured, Proportion
from dsbs_jax.released import reader as released
from dsbs_jax.released.specs import RELEASED

RELEASE = pathlib.Path(__file__).resolve().parents[1] / "fixtures/release"


def outcome(label="a", human="a", id_="1", rationale="It is so.", input_="x"):
    """One outcome; a list of labels votes."""
    labels = label if isinstance(label, list) else [label]
    texts = [f"{rationale} So the answer is {x}." if x else "?" for x in labels]
    return voting.vote(id_, input_, human, texts)


def measure(found, settings=filters.FilterConfig(), **options):  # noqa: B008
    return quality.measure(found, filters.apply(found, settings), **options)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(count, of, low, high):
    assert Proportion(count, of).interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_wilson_interval_holds_the_share_and_mirrors(count, of):
    count = min(count, of)
    low, high = Proportion(count, of).interval
    assert 0 <= low <= count / of + 1e-12 and count / of - 1e-12 <= high <= 1
    mirrored = Proportion(of - count, of).interval
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_no_rows_have_no_share():
    assert math.isnan(Proportion(0, 0).value)
    assert Proportion(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize("dataset", RELEASED)
def test_released_rows_are_scored_as_the_reader_scores_them(dataset):
    expected = released.open_release(RELEASE).teacher_statistics(dataset, "train")
    read = card.of_release(RELEASE, dataset)
    measured = quality.measure(read.found, read.result, dataset)
    assert measured.agreement == Proportion(expected.correct, expected.rows)
    problems = dict(measured.problems)
    assert problems.pop(completions.RUNS_ON, 0) == expected.run_on
    assert problems.pop(completions.BLANK_RATIONALE, 0) == expected.blank_rationale
    assert sum(problems.values()) == expected.unparsable


@pytest.mark.parametrize(
    ("dataset", "split", "right", "rows", "unparsable"),
    [
        ("cqa", "train", 7234, 9741, 3),
        ("cqa", "test", 943, 1221, 0),
        ("svamp", "train", 586, 800, 13),
        ("svamp", "test", 148, 200, 2),
        ("esnli", "valid", 7201, 9842, 4),
        ("esnli", "test", 7171, 9824, 0),
    ],
)
def test_official_numbers(dataset, split, right, rows, unparsable, official_dir):
    read = card.of_release(official_dir, dataset, raw_split=split)
    measured = quality.measure(read.found, read.result, dataset)
    assert measured.agreement == Proportion(right, rows)
    # Labels that run on are counted apart.
    problems = dict(measured.problems)
    problems.pop(completions.RUNS_ON, 0)
    problems.pop(completions.BLANK_RATIONALE, 0)
    assert sum(problems.values()) == unparsable
    assert measured.stages[0] == ("inputs", rows)
    assert sum(one.right.total for one in measured.classes) == rows
    assert sum(one.right.count for one in measured.classes) == right
    if (dataset, split) == ("cqa", "train"):
        assert read.facts["teacher labels that are none of the choices"] == "445"


def test_stages():
    found = [outcome(["a", "a", None]), outcome([None] * 3, id_="2", input_="y")]
    measured = measure(found, failed=2)
    assert measured.sampled == Proportion(2, 6)
    assert measured.stages == [
        ("inputs", 4),
        ("with a reply", 2),
        ("with a teacher label", 1),
        ("with a rationale", 1),
        ("kept", 1),
    ]


def test_rows_read_back_say_nothing_of_single_samples():
    found = [voting.from_row(voting.to_row(outcome(["a", "a", None])))]
    assert measure(found).sampled is None
    assert measure([outcome()]).sampled is None


def test_rows_that_no_teacher_answered_do_not_judge_it():
    own = {"id": "1", "input": "x", "label": "a", "rationale": "R."}
    measured = measure([voting.from_row(own)])
    assert dict(measured.stages)["kept"] == 1
    assert measured.agreement == Proportion(0, 0)
    assert (measured.classes, measured.margins) == ([], [])


LABELS = st.sampled_from(["a", "b", "c", None])
MANY = st.integers(0, 40).map(lambda n: f"label {n}")


@given(
    st.lists(
        st.builds(
            outcome,
            LABELS | MANY,
            LABELS | MANY,
            id_=st.uuids().map(str),
            rationale=st.sampled_from(["It is a.", "A b c", "Neither."]),
        ),
        min_size=1,
    )
)
def test_every_row_is_counted_once(found):
    measured = measure(found)
    judged = [o for o in found if o.label is not None]
    right = sum(o.label == o.teacher_label for o in judged)
    assert measured.agreement == Proportion(right, len(judged))
    assert sum(one.right.count for one in measured.classes) == right
    assert sum(sum(one.answers.values()) for one in measured.classes) == len(judged)
    few = len({o.label for o in judged}) <= quality.MAX_CLASSES
    if judged and few:
        assert {c for one in measured.classes for c in one.answers} <= {
            *measured.columns
        }
        assert len(set(measured.columns)) == len(measured.columns)
    else:
        assert not measured.columns
    assert len(measured.classes) <= quality.MAX_CLASSES + 1
    leaks = [share.count for share in measured.leakage.values()]
    assert leaks == sorted(leaks)
    # Chosen samples depend on the set alone, not on its order.
    assert measure(found[::-1], filters.FilterConfig(duplicate_rows=False)).samples == (
        measure(found, filters.FilterConfig(duplicate_rows=False)).samples
    )


def test_confusion_of_few_labels():
    pairs = [("a", "a"), ("b", "a"), ("b", "b"), ("c", "b"), (None, "b")]
    found = [outcome(t, h, id_=str(n)) for n, (t, h) in enumerate(pairs)]
    measured = measure(found)
    assert measured.columns == ["b", "a", OTHER, NO_LABEL]
    b, a = measured.classes
    assert (b.name, b.right, b.answers) == (
        "b",
        Proportion(1, 3),
        {"b": 1, OTHER: 1, NO_LABEL: 1},
    )
    assert b.wrong == [("c", 1)]
    assert (a.name, a.right, a.wrong) == ("a", Proportion(1, 2), [("b", 1)])


def test_free_text_is_pooled_behind_the_most_frequent_labels():
    found = [
        outcome("x", f"label {n}", id_=f"{n}-{copy}")
        for n in range(15)
        for copy in range(15 - n)
    ]
    measured = measure(found)
    names = [one.name for one in measured.classes]
    assert names == [f"label {n}" for n in range(quality.MAX_CLASSES)] + [OTHER]
    assert measured.classes[-1].right.total == 1 + 2 + 3 + 4 + 5
    assert measured.columns == []


@pytest.mark.parametrize(
    ("equation", "name"),
    [
        ("( 84.0 / 2.0 )", "/"),
        ("(8 - 2) * 3", "several"),
        ("1 + 1 + 1", "+"),
        ("-3", "number"),
        ("2 - -3", "-"),
        ("(2) * -3", "*"),
        ("12", "number"),
        ("(some + 4)", quality.NO_ARITHMETIC),
        ("1 / 0", quality.NO_ARITHMETIC),
    ],
)
def test_operators(equation, name):
    assert quality.operators(equation) == name


def test_equations_are_right_by_value():
    texts = ["Add. The answer is (4 + 3).", "Add. The answer is (x)."]
    found = [
        voting.vote(str(n), "x", "( 3.0 + 4.0 )", [text], "svamp")
        for n, text in enumerate(texts)
    ]
    measured = measure(found, dataset="svamp")
    assert measured.agreement == Proportion(1, 2)
    assert measured.columns == ["+", quality.NO_ARITHMETIC]


def test_lengths_are_of_what_is_kept():
    found = [
        outcome(rationale="one two three", input_="of four words here"),
        outcome(None, id_="2", input_="a b c d e f g h i"),
    ]
    lengths = measure(found, lengths=Lengths(inputs=5, targets=3)).lengths
    # "predict:" is read too, and the end token needs a place.
    assert lengths["input"] == Measured(5, [5])
    assert lengths["rationale"] == Measured(3, [3])
    assert (lengths["input"].cut, lengths["label"].cut) == (
        Proportion(1, 1),
        Proportion(0, 1),
    )


@given(st.lists(st.integers(0, 99), min_size=1), st.floats(0, 1))
def test_quantile(sizes, share):
    found = Measured(10, sorted(sizes)).quantile(share)
    assert found in sizes
    assert sum(size <= found for size in sizes) >= share * len(sizes) - 1e-9


def test_leakage():
    found = [
        outcome("so", input_="1"),
        outcome("is", input_="2"),
        outcome("zebra", input_="3"),
        outcome(None, input_="4"),
    ]
    leakage = measure(found).leakage
    # "It is so." states the first two labels; the last outcome has no rationale.
    counts = {n: share.count for n, share in leakage.items()}
    assert counts == {1: 0, 3: 2, 5: 2, 10: 2, 20: 2, math.inf: 2}
    assert {share.total for share in leakage.values()} == {3}


def test_margins():
    found = [
        outcome(["a"] * 5, id_="1"),
        outcome(["a", "a", "a", "a", "b"], id_="2"),
        outcome(["b", "b", "a", "a", "c"], id_="3"),
    ]
    margins = measure(found).margins
    assert {(b.low, b.rows, b.right) for b in margins if b.rows} == {
        (0.9, 1, Proportion(1, 1)),
        (0.6, 1, Proportion(1, 1)),
        (0.0, 1, Proportion(0, 1)),
    }
    assert measure([outcome()]).margins == []


def test_samples_show_the_surest_and_say_how_they_were_chosen():
    settings = filters.FilterConfig(duplicate_rows=False)
    sure, unsure = outcome(["a"] * 4), outcome(["a", "a", "a", "b"], id_="2")
    wrong = outcome(["b"] * 4, id_="3")
    lost = outcome([None] * 4, id_="4")
    found = [unsure, wrong, sure, lost]
    assert measure(found, settings).samples == {
        "Best: right, by the widest margin": [sure, unsure],
        "Worst: wrong, by the widest margin": [wrong],
        "Dropped": [lost],
    }
    blind = [dataclasses.replace(o, label=None) for o in found]
    samples = measure(blind, settings).samples
    assert samples["Worst: kept by the narrowest margin"][0] == blind[0]
    assert blind[0] not in samples["Best: kept by the widest margin"][:2]
    single = measure([outcome(human=None)], settings).samples
    assert list(single) == ["Kept, drawn by a hash of the id"]
