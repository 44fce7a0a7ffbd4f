"""Tests of the text of a trial; tests/api/test_fitting.py runs trials."""

import pytest

from dsbs_jax.fitting.trial import Trial


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (40, "40 seconds"),
        (89, "89 seconds"),
        (232, "4 minutes"),
        (5_399, "90 minutes"),
        (37_047, "10.3 hours"),
    ],
)
def test_expected_time_has_the_unit_that_people_use(seconds, text):
    trial = Trial(
        parameters=246_784,
        updated=1_024,
        step_seconds=0.2,
        evaluation_seconds=1.0,
        seconds=seconds,
        peak_bytes=3 * 2**29,
        optimizer="lion",
        optimizer_bytes=246_784 * 4,
    )
    assert (
        f"Expected: {text} without an early stop and at least 1.5 GiB" in trial.text()
    )
    assert "246,784 parameters, of which training updates 1,024" in trial.text()
    assert "the state of lion takes 0.9 MiB" in trial.text()
