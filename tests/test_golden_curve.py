"""The losses of 100 steps are those in the repository."""

import pytest

from support.golden_curve import TOLERANCE, differences, record


@pytest.mark.slow
def test_losses_of_100_steps_are_the_golden_ones(tmp_path):
    found = differences(record(tmp_path))
    assert max(found.values()) < TOLERANCE, (
        f"the losses differ by {found}; if the change is intended, write the curve "
        "again with: PYTHONPATH=tests python -m support.golden_curve"
    )


@pytest.mark.slow
def test_another_alpha_has_other_losses(tmp_path):
    """The tolerance is small enough to notice a change of the training."""
    found = differences(record(tmp_path, ALPHA=0.45))
    assert max(found.values()) > 2 * TOLERANCE
