"""Tests of the steps, batches and sizes that a fit chooses."""

import pytest

from dsbs_jax.fitting import recipe


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("rows", [1, 40, 280, 5_000, 100_000, 549_000])
def test_more_rows_never_mean_fewer_steps(rows, pretrained):
    few = recipe.choose(rows, pretrained, "tiny", None)
    many = recipe.choose(10 * rows, pretrained, "tiny", None)
    assert 1 <= few.train_steps <= many.train_steps <= 10_000
    assert few.label_rows <= many.label_rows
    assert few.warmup_steps < few.train_steps


def test_given_steps_are_kept_and_their_passes_stated():
    chosen = recipe.choose(320, False, "tiny", 100)
    assert chosen.train_steps == 100
    assert chosen.reason == "5 passes over 320 rows"


def test_size_follows_from_the_number_of_rows():
    assert recipe.choose_size(280)[0] == "tiny"
    assert recipe.choose_size(50_000)[0] == "small"
