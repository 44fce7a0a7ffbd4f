"""Bounds from peak rates."""

import pytest

from dsbs_jax.planning.chips import Chip
from dsbs_jax.planning.roofline import most_utilization, roofline

CHIP = Chip(hbm=1, peak=100.0, hbm_rate=10.0, link_rate=5.0)


@pytest.mark.parametrize(
    "operations, hbm, sent, seconds, limit",
    [
        (300, 20, 5, 3.0, "compute"),
        (100, 40, 5, 4.0, "memory"),
        (100, 10, 25, 5.0, "communication"),
    ],
)
def test_the_slowest_resource_bounds_the_step(operations, hbm, sent, seconds, limit):
    bound = roofline(CHIP, operations, hbm, sent)
    assert (bound.seconds, bound.limit) == (seconds, limit)


def test_recomputed_operations_lower_the_utilization():
    # 4 chips compute 400 operations each, of which 300 are needed.
    bound = roofline(CHIP, 400, 0, 0)
    assert most_utilization(CHIP, 4, 4 * 300, bound.seconds) == pytest.approx(0.75)
