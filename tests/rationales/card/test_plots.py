import io

import pytest
from matplotlib import image

from dsbs_jax.rationales import filters, quality, voting
from dsbs_jax.rationales.card import plots as figures


def draw(found, dataset="default"):
    result = filters.apply(found, filters.FilterConfig())
    made = figures.draw(quality.measure(found, result, dataset))
    assert made.startswith(b"\x89PNG")
    return made


def outcome(n, label, human, samples=1):
    texts = [f"Because {n}. So the answer is {label}."] * samples
    return voting.vote(str(n), f"input {n}", human, texts)


def height(png):
    return image.imread(io.BytesIO(png), format="png").shape[0]


@pytest.mark.parametrize(
    ("human", "samples", "rows_of_panels"),
    # Unlabelled: stages, lengths, leakage. Labels add accuracy and confusion, votes add
    # margins.
    [(None, 1, 2), ("a", 1, 3), ("a", 3, 3)],
)
def test_there_are_panels_for_what_there_is(human, samples, rows_of_panels):
    found = [outcome(n, "ab"[n % 2], human, samples) for n in range(9)]
    one_row = height(draw([voting.vote("1", "x", None, ["nothing"])]))
    assert height(draw(found)) == rows_of_panels * one_row


def test_the_same_numbers_draw_the_same_picture():
    found = [outcome(n, "ab"[n % 3 % 2], "ab"[n % 2], 3) for n in range(9)]
    assert draw(found) == draw(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "label", ["$x$ and $", "\\$a$", "\\frac{", "漢字", "\x1b[31m", "y" * 3000, "_^"]
)
def test_any_label_can_be_drawn(label):
    draw([outcome(n, label, label) for n in range(3)])


def test_none_kept():
    found = [voting.vote(str(n), "x", "a", ["nothing"]) for n in range(3)]
    draw(found)
