"""The losses of 100 steps on T5X are those in the repository.

The data, the settings and the tolerance are those of the local engine's golden curve.
T5X draws other batches and other dropout, so it has a curve of its own.
"""

import json

import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from support import golden_curve  # noqa: E402


@pytest.mark.slow
def test_losses_of_100_steps_are_the_golden_ones(run_t5x, scalars, tmp_path):
    macros = {k: v for k, v in golden_curve.SETTINGS.items() if k != "TRACKERS"}
    run_t5x(MODEL_DIR=str(tmp_path), **macros)
    found = scalars(tmp_path / "train")
    curve = {
        name: [round(value, 6) for value in found[name].values()]
        for name in golden_curve.LOSSES
    }
    differences = golden_curve.differences(curve, golden_curve.T5X_CURVE)
    assert max(differences.values()) < golden_curve.TOLERANCE, (
        f"the losses differ by {differences}; if the change is intended, write to "
        f"{golden_curve.T5X_CURVE.name}: {json.dumps(curve)}"
    )
