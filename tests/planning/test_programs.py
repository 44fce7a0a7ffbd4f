"""Programs that are compiled for a TPU slice; skipped without libtpu."""

import importlib.util
import re

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.planning import costs, plan, programs
from dsbs_jax.planning.chips import slice_of
from dsbs_jax.planning.config import PlanConfig

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler for TPUs, is not installed (extra `tpu`)",
)
EXHAUSTED = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
    "space hbm. Used 32.83G of 15.75G hbm. Exceeded hbm capacity by 17.08G."
)


def test_the_memory_that_is_needed_is_read_from_the_error():
    assert programs.needed_bytes(EXHAUSTED) == int(32.83 * 2**30)
    assert programs.needed_bytes("INTERNAL: Used 1.00G of 15.75G hbm") is None


def test_without_libtpu_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="libtpu.* not installed.*extra `tpu`"):
        programs.devices_of(slice_of("v5e:2x4"))


@needs_libtpu
def test_a_slice_that_libtpu_rejects_is_an_error():
    with pytest.raises(UserError, match="'v5e:3x5', which libtpu does not accept"):
        programs.devices_of(slice_of("v5e:3x5"))


def small(**values):
    defaults = {"size": "small", "topology": "v5e:2x2", "step": "train"}
    return PlanConfig(**{**defaults, **values})


@needs_libtpu
@pytest.mark.scheduled
@pytest.mark.parametrize("scan", [False, True])
def test_products_agree_with_the_formula(scan):
    made = plan.make(small(num_microbatches=2, scan_layers=scan))
    train = made.program("train")
    formula = train.needed_operations / made.slice.chips
    assert train.operations == pytest.approx(formula, rel=0.05)
    assert made.fits
    assert train.compiled.reused >= 0.99 * train.compiled.arguments
    for opcode in ("rsqrt", "exponential", "log"):
        assert costs.result_types(train.program, opcode) == {"f32"}
    text = made.text()
    assert "norms f32, softmax f32, loss f32" in text
    # 128 rows of 96 positions, on 4 chips in 2 parts.
    assert re.search(r"of at most \d+ of 1,536 positions at a time", text)
