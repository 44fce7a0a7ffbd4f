import io

import pytest
from matplotlib import image

from dsbs_jax.rationales import filters, quality, voting
from dsbs_jax.rationales.card import plots
from dsbs_jax.rationales.filters import FilterConfig


def draw(examples):
    result = filters.apply(examples, FilterConfig())
    picture = plots.draw(quality.measure(examples, result))
    assert picture.startswith(b"\x89PNG")
    return picture


def voted(n, label, human, samples=1):
    texts = [f"Because {n}. So the answer is {label}."] * samples
    return voting.vote(str(n), f"input {n}", human, texts)


def height(png):
    return image.imread(io.BytesIO(png), format="png").shape[0]


@pytest.mark.parametrize(
    ("human", "samples", "rows_of_panels"),
    # Without human labels: stages, lengths, leakage. Human labels add accuracy and
    # confusion, several samples add margins.
    [(None, 1, 2), ("a", 1, 3), ("a", 3, 3)],
)
@pytest.mark.slow
def test_there_is_a_panel_for_each_kind_of_figure(human, samples, rows_of_panels):
    examples = [voted(n, "ab"[n % 2], human, samples) for n in range(9)]
    one_row = height(draw([voting.vote("1", "x", None, ["nothing"])]))
    assert height(draw(examples)) == rows_of_panels * one_row


@pytest.mark.slow
def test_the_same_figures_give_the_same_picture():
    examples = [voted(n, "ab"[n % 3 % 2], "ab"[n % 2], 3) for n in range(9)]
    assert draw(examples) == draw(examples)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "label", ["$x$ and $", "\\$a$", "\\frac{", "漢字", "\x1b[31m", "y" * 3000, "_^"]
)
@pytest.mark.slow
def test_any_label_can_be_drawn(label):
    draw([voted(n, label, label) for n in range(3)])


def test_a_set_without_kept_rows_can_be_drawn():
    draw([voting.vote(str(n), "x", "a", ["nothing"]) for n in range(3)])
