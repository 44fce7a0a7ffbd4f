import dataclasses
import importlib.util
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data.metrics import EXACT_MATCH
from dsbs_jax.rationales import texts
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.proportion import Proportion

needs_datasketch = pytest.mark.skipif(
    not importlib.util.find_spec("datasketch"), reason="needs the extra duplicates"
)


def row(rationale, label="yes", input_="Is it?", id_="1"):
    return VotedExample.from_row(
        {"id": id_, "input": input_, "teacher_label": label, "rationale": rationale}
    )


# Two rows of each label, so that both are in the label set.
PLAIN = [row("Dark.", label) for label in ("yes", "never", "yes", "never")]


def test_the_labels_that_rationales_name():
    rows = [
        row("So yes it is."),
        row("Not never, but yes."),
        row("Yes at first, then never."),
        row("That is never."),
        *PLAIN,
    ]
    named = texts.named_labels(rows, EXACT_MATCH)
    assert dataclasses.astuple(named) == tuple(
        (count, total) for count, total in ((1, 8), (2, 8), (1, 8), (4, 8), (2, 4))
    )


def test_the_choices_of_an_input_are_its_labels():
    asked = "Where?\n(a) letter\n(b) letter box\n(c) sea"
    rows = [row("In a letter box.", "letter box", asked), row("Sea.", "pond", asked)]
    named = texts.named_labels(rows, EXACT_MATCH)
    # The label of the second row is not one of the choices.
    assert named.agree == Proportion(1, 1)


def test_open_answers_have_no_labels_to_name():
    rows = [row("Count.", str(n)) for n in range(9)]
    assert texts.named_labels(rows, EXACT_MATCH) is None


@pytest.mark.parametrize(
    ("input_", "rationale", "share"),
    [
        ("A dog runs fast.", "a dog runs, so it moves", 1 / 4),
        ("A man.</s>A dog runs.", "A dog runs", 1),
        ("A dog.", "a dog", None),
        ("A dog runs.", "nothing of it here", 0),
    ],
)
def test_the_copied_share(input_, rationale, share):
    assert texts.copied_share(row(rationale, input_=input_)) == share


def test_templates_blank_the_input_and_numbers():
    one = row("Tom has 3 pens, so 12 are left over.", input_="Tom: 3 pens")
    two = row("Ann has 5 cups, so 7 are left over.", input_="Ann, 5 cups")
    assert texts.template(one) == ["…", "has", "…", "so", "…", "are", "left", "over"]
    assert texts.template(one) == texts.template(two)


@needs_datasketch
def test_templates_are_near_duplicates():
    one = row("Tom has 3 pens, so 12 are left over.", input_="Tom: 3 pens")
    two = row("Ann has 5 cups, so 7 are left over.", input_="Ann, 5 cups")
    figures = texts.measure([one, two], EXACT_MATCH)
    assert figures.templates.repeated == Proportion(2, 2)
    assert figures.duplicates.repeated == Proportion(0, 2)


def brute_force(sets):
    """Groups by comparing every pair."""
    groups = [{n} for n in range(len(sets))]
    for a in range(len(sets)):
        for b in range(a):
            both = len(sets[a] & sets[b])
            if both >= texts.SIMILARITY * (len(sets[a]) + len(sets[b]) - both):
                one = next(g for g in groups if a in g)
                other = next(g for g in groups if b in g)
                if one is not other:
                    one |= other
                    groups.remove(other)
    return sorted(len(g) for g in groups if len(g) > 1)


@needs_datasketch
def test_near_duplicates_are_those_of_a_search_over_all_pairs():
    rng = random.Random(0)
    texts_ = []
    for _ in range(12):
        base = [str(rng.randrange(1000)) for _ in range(60)]
        texts_.append(base)
        for _ in range(rng.randrange(4)):
            near = list(base)
            near[rng.randrange(60)] = "other"  # Similarity is 57 / 63 or more.
            texts_.append(near)
    found = texts.near_duplicates(texts_)
    expected = brute_force([texts._shingles(words) for words in texts_])
    assert found.repeated == Proportion(sum(expected), len(texts_))
    assert [g.rows for g in found.groups] == expected[::-1][: texts.SHOWN_GROUPS]


@needs_datasketch
@given(st.lists(st.text("ab ", max_size=12)))
def test_equal_texts_are_always_one_group(lines):
    words = [line.split() for line in lines] * 2
    long = sum(len(w) >= texts.SHINGLE_WORDS for w in words)
    assert texts.near_duplicates(words).repeated == Proportion(long, long)
