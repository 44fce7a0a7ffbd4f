import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.reports.calibration import BINS, calibration


def test_hand_computed_error():
    # The first bin has 0.45 (right) and 0.40 (wrong), the second 0.9 (right).
    result = calibration([0.45, 0.40, 0.9], [True, False, True], bins=2)
    first, second = result.bins
    assert (first.correct.count, first.correct.total) == (1, 2)
    assert first.confidence == pytest.approx(0.425)
    assert second.confidence == pytest.approx(0.9)
    assert result.expected_error == pytest.approx(2 / 3 * 0.075 + 1 / 3 * 0.1)


def test_edges_of_bins():
    """A bin has its upper end, and the first one has 0 too."""
    result = calibration([0.0, 0.5, 1.0], [True] * 3, bins=2)
    assert [one.correct.total for one in result.bins] == [2, 1]


def test_bins_without_rows_have_no_values():
    result = calibration([0.99], [True])
    assert len(result.bins) == BINS == 15
    assert math.isnan(result.bins[0].confidence)
    values = result.to_json()["bins"][0]
    assert values["confidence"] is None and values["correct"]["value"] is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_error_equals_its_definition(rows):
    confidences, correct = zip(*rows, strict=True)
    result = calibration(confidences, correct)
    bins = {}
    for confidence, right in rows:
        # The bin is found by comparison with the edges.
        place = sum(confidence > edge / 15 for edge in range(1, 15))
        bins.setdefault(place, []).append((confidence, right))
    expected = sum(
        len(some) / len(rows) * abs(np.mean(some, axis=0)[1] - np.mean(some, axis=0)[0])
        for some in bins.values()
    )
    assert 0 <= result.expected_error <= 1
    edges = {edge / 15 for edge in range(16)}
    if not any(min(abs(c - e) for e in edges) < 1e-12 and c for c in confidences):
        assert result.expected_error == pytest.approx(expected, abs=1e-9)
