import dataclasses
import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.rationales import accuracy, filters, quality, voting
from dsbs_jax.rationales.card import inputs
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.rationales.lengths import in_words
from dsbs_jax.rationales.quality import TextLengths
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.released import raw_split, reader
from dsbs_jax.released.specs import RELEASED
from dsbs_jax.reports.proportion import Proportion

RELEASE = pathlib.Path(__file__).resolve().parents[1] / "fixtures/release"


def voted(label="a", human="a", id_="1", rationale="It is so.", input_="x"):
    """Returns one example; a list of labels is one sample each."""
    labels = label if isinstance(label, list) else [label]
    texts = [f"{rationale} So the answer is {x}." if x else "?" for x in labels]
    return voting.vote(id_, input_, human, texts)


def measure(examples, config=FilterConfig(), **options):  # noqa: B008
    return quality.measure(examples, filters.apply(examples, config), **options)


@pytest.mark.parametrize("dataset", RELEASED)
def test_the_card_and_the_reader_give_the_same_score(dataset):
    raw = reader.open_release(RELEASE).read_raw(dataset, "train", "palm")
    expected = raw_split.teacher_statistics(raw)
    released = inputs.read_release(RELEASE, FilterConfig(), dataset)
    figures = quality.measure(released.examples, released.result, released.spec)
    assert figures.accuracy == Proportion(expected.score.correct, expected.score.rows)
    problems = dict(figures.problems)
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
@pytest.mark.slow
def test_official_numbers(dataset, split, right, rows, unparsable, official_dir):
    released = inputs.read_release(
        official_dir, FilterConfig(), dataset, raw_split=split
    )
    figures = quality.measure(released.examples, released.result, released.spec)
    assert figures.accuracy == Proportion(right, rows)
    # Labels that run on are counted separately.
    problems = dict(figures.problems)
    problems.pop(completions.RUNS_ON, 0)
    problems.pop(completions.BLANK_RATIONALE, 0)
    assert sum(problems.values()) == unparsable
    assert figures.stages[0] == ("inputs", rows)
    scores = figures.classes.scores
    assert sum(score.correct.total for score in scores) == rows
    assert sum(score.correct.count for score in scores) == right
    if (dataset, split) == ("cqa", "train"):
        name = "teacher labels that are not one of the choices"
        assert released.facts[name] == "445"


def test_stages():
    examples = [voted(["a", "a", None]), voted([None] * 3, id_="2", input_="y")]
    figures = measure(examples, failed=2)
    assert figures.samples_with_label == Proportion(2, 6)
    assert figures.stages == [
        ("inputs", 4),
        ("with a reply", 2),
        ("with a teacher label", 1),
        ("with a rationale", 1),
        ("kept", 1),
    ]


def test_rows_read_from_a_file_do_not_hold_the_labels_of_single_samples():
    examples = [VotedExample.from_row(voted(["a", "a", None]).to_row())]
    assert measure(examples).samples_with_label is None
    assert measure([voted()]).samples_with_label is None


def test_rows_that_no_teacher_answered_do_not_judge_the_teacher():
    own = {"id": "1", "input": "x", "label": "a", "rationale": "R."}
    figures = measure([VotedExample.from_row(own)])
    assert dict(figures.stages)["kept"] == 1
    assert figures.accuracy == Proportion(0, 0)
    assert (figures.classes.scores, figures.margins) == ([], [])


LABELS = st.sampled_from(["a", "b", "c", None])
MANY = st.integers(0, 40).map(lambda n: f"label {n}")


@given(
    st.lists(
        st.builds(
            voted,
            LABELS | MANY,
            LABELS | MANY,
            id_=st.uuids().map(str),
            rationale=st.sampled_from(["It is a.", "A b c", "Neither."]),
        ),
        min_size=1,
    )
)
def test_each_row_is_counted_exactly_once(examples):
    figures = measure(examples)
    with_human_label = [e for e in examples if e.label is not None]
    right = sum(e.label == e.teacher_label for e in with_human_label)
    assert figures.accuracy == Proportion(right, len(with_human_label))
    scores, columns = figures.classes.scores, figures.classes.columns
    assert sum(score.correct.count for score in scores) == right
    assert sum(sum(s.answers.values()) for s in scores) == len(with_human_label)
    few = len({e.label for e in with_human_label}) <= accuracy.MAX_CLASSES
    if with_human_label and few:
        assert {name for score in scores for name in score.answers} <= set(columns)
        assert len(set(columns)) == len(columns)
    else:
        assert not columns
    assert len(scores) <= accuracy.MAX_CLASSES + 1
    leaks = [share.count for share in figures.leakage.values()]
    assert leaks == sorted(leaks)
    # The shown examples depend on the set and not on its order.
    keep_all = FilterConfig(drop_duplicate_rows=False)
    assert measure(examples[::-1], keep_all).shown == measure(examples, keep_all).shown


def test_the_metric_of_the_dataset_reaches_every_figure():
    svamp = dataset_spec.get("svamp")
    texts = ["Add. The answer is (4 + 3).", "Add. The answer is (x)."]
    examples = [
        voting.vote(str(n), "x", "( 3.0 + 4.0 )", [text], svamp)
        for n, text in enumerate(texts)
    ]
    result = filters.apply(examples, FilterConfig(drop_disagreement=True), svamp)
    figures = quality.measure(examples, result, svamp)
    assert figures.accuracy == Proportion(1, 2)
    assert figures.kept_accuracy == Proportion(1, 1)
    assert figures.classes.columns == ["+", accuracy.NO_ARITHMETIC]


def test_lengths_are_those_of_kept_rows():
    examples = [
        voted(rationale="one two three", input_="of four words here"),
        voted(None, id_="2", input_="a b c d e f g h i"),
    ]
    lengths = measure(examples, limits=in_words(FeatureLengths(5, 3))).lengths
    # The student also reads "predict:", and the end token needs a place.
    assert lengths["input"] == TextLengths(5, [5])
    assert lengths["rationale"] == TextLengths(3, [3])
    assert lengths["input"].truncated == Proportion(1, 1)
    assert lengths["label"].truncated == Proportion(0, 1)


def test_the_default_limits_and_the_prefix_are_those_of_the_dataset():
    spec = dataclasses.replace(
        dataset_spec.DEFAULT,
        feature_lengths=FeatureLengths(7, 6),
        predict_prefix="Please answer this: ",
    )
    lengths = measure([voted(input_="two words")], spec=spec).lengths
    assert lengths["input"] == TextLengths(7, [5])
    assert lengths["rationale"].limit == 6


def test_leakage():
    examples = [
        voted("so", input_="1"),
        voted("is", input_="2"),
        voted("zebra", input_="3"),
        voted(None, input_="4"),
    ]
    leakage = measure(examples).leakage
    # "It is so." states the first two labels; the last example has no rationale.
    counts = {n: share.count for n, share in leakage.items()}
    assert counts == {1: 0, 3: 2, 5: 2, 10: 2, 20: 2, math.inf: 2}
    assert {share.total for share in leakage.values()} == {3}


def test_margins():
    examples = [
        voted(["a"] * 5, id_="1"),
        voted(["a", "a", "a", "a", "b"], id_="2"),
        voted(["b", "b", "a", "a", "c"], id_="3"),
    ]
    margins = measure(examples).margins
    assert {(b.low, b.inputs, b.correct) for b in margins if b.inputs} == {
        (0.9, 1, Proportion(1, 1)),
        (0.6, 1, Proportion(1, 1)),
        (0.0, 1, Proportion(0, 1)),
    }
    assert measure([voted()]).margins == []


def test_titles_of_shown_examples_tell_how_they_were_chosen():
    keep_all = FilterConfig(drop_duplicate_rows=False)
    sure, unsure = voted(["a"] * 4), voted(["a", "a", "a", "b"], id_="2")
    wrong = voted(["b"] * 4, id_="3")
    without_label = voted([None] * 4, id_="4")
    examples = [unsure, wrong, sure, without_label]
    order = "widest vote margin first"
    assert measure(examples, keep_all).shown == {
        f"Kept rows with a right teacher label, {order}": [sure, unsure],
        f"Kept rows with a wrong teacher label, {order}": [wrong],
        f"Dropped rows, {order}": [without_label],
    }
    unlabeled = [dataclasses.replace(e, label=None) for e in examples]
    shown = measure(unlabeled, keep_all).shown
    assert shown["Kept rows with the narrowest vote margin"][0] == unlabeled[0]
    assert unlabeled[0] not in shown["Kept rows with the widest vote margin"][:2]
    single = measure([voted(human=None)], keep_all).shown
    assert list(single) == ["Kept rows, drawn at random"]
