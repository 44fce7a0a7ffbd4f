"""Tests of alpha as a function of the step, and of the batches of rationales alone."""

import itertools
import types

import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import alpha_schedule, datasets, loop
from dsbs_jax.local.config import LoopConfig
from dsbs_jax.task_ids import LABEL, RATIONALE


def config(**fields):
    values = {"model_dir": "run", "alpha": 0.2, "batch_size": 4, "train_steps": 100}
    return LoopConfig(**{**values, **fields})


def test_constant_alpha_is_the_setting_itself():
    assert alpha_schedule.make_alpha(config()) == 0.2


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("end", [0.0, 0.9])
def test_alpha_moves_from_its_start_to_its_end(schedule, end):
    alpha = alpha_schedule.make_alpha(config(alpha_schedule=schedule, alpha_end=end))
    values = np.array([alpha(jnp.int32(step)) for step in range(0, 121, 10)])
    np.testing.assert_allclose(values[[0, 10, 11]], [0.2, end, end], atol=1e-6)
    np.testing.assert_allclose(values[5], (0.2 + end) / 2, atol=1e-6)
    steps = np.diff(values[:11]) * np.sign(end - 0.2)
    assert (steps > 0).all()
    # A line has equal steps, and half a cosine is steepest in the middle.
    ratio = steps[4] / steps[0]
    assert ratio == pytest.approx(1) if schedule == "linear" else ratio > 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha_end": 0.5}, "ALPHA_END is 0.5, expected None, .* 'constant'"),
        ({"alpha_schedule": "linear"}, "ALPHA_END is None, expected 0 to 1"),
        ({"explain_first_steps": 100}, "EXPLAIN_FIRST_STEPS is 100, expected less"),
    ],
)
def test_settings_that_do_not_fit_together(fields, message):
    with pytest.raises(UserError, match=message):
        config(**fields)


def assert_same(left, right):
    for one, two in zip(left, right, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.slow
def test_the_first_batches_have_rationales_only(tiny_data):
    data = tiny_data("step_by_step")

    def batches(start, count=3, **fields):
        run = types.SimpleNamespace(config=config(**fields), data=data)
        return list(itertools.islice(loop._batches(run, start), count))

    first = batches(0, 5, explain_first_steps=2)
    for batch in first[:2]:
        assert set(np.unique(batch["decoder_task_ids"])) == {0, RATIONALE}
    assert any((batch["decoder_task_ids"] == LABEL).any() for batch in first[2:])
    # The mixture begins at its first batch.
    plain = datasets.training_batches(data, 4, pack=False, seed=0)
    assert_same(first[2:], itertools.islice(plain, 3))
    # A run that is resumed in either part reads the same batches.
    for start in (1, 2, 3):
        assert_same(batches(start, 5 - start, explain_first_steps=2), first[start:])


def test_a_method_without_a_rationale_task_explains_nothing_first(tiny_data):
    from dsbs_jax.data import mixtures

    with pytest.raises(UserError, match="needs a method with a rationale task"):
        mixtures.rationales_only(tiny_data("label_then_rationale"))
