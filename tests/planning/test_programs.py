"""Programs that are compiled for a TPU slice; skipped without libtpu."""

import importlib.util
import re

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.planning import costs, plan, programs
from dsbs_jax.planning.chips import slice_of
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.figures import exact_types, positions
from dsbs_jax.student import operations, sizes

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu, the compiler for TPUs, is not installed (extra `tpu`)",
)
EXHAUSTED = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
    "space hbm. Used 32.83G of 15.75G hbm. Exceeded hbm capacity by 17.08G."
)
TEMPORARIES = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
    "temporaries (17.09G) exceeds available HBM (15.75G)."
)


def test_the_memory_that_is_needed_is_read_from_the_error():
    assert programs.needed_bytes(EXHAUSTED) == int(32.83 * 2**30)
    assert programs.needed_bytes(TEMPORARIES) == int(17.09 * 2**30)
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


@needs_libtpu
@pytest.mark.scheduled
@pytest.mark.parametrize(
    ("precision", "num_partitions", "num_microbatches"),
    [("mixed", 1, 1), ("bfloat16", 1, 2), ("bfloat16", 2, 1)],
)
def test_full_logits_never_exist_and_exact_functions_are_float32(
    precision, num_partitions, num_microbatches
):
    config = PlanConfig(
        size="tiny",
        topology="v5e:2x2",
        step="train",
        precision=precision,
        num_partitions=num_partitions,
        num_microbatches=num_microbatches,
        scan_layers=True,
    )
    train = plan.make(config).program("train")
    part, complete = positions(config, train)
    assert complete == 128 * num_partitions // 4 // num_microbatches * 96
    # A part has at most 2 ** 26 bytes of float32 logits.
    most = 2**26 // (4 * operations.PUBLISHED_ROWS)
    assert 0 < part <= most < complete
    # Chips that share a copy exchange sums over their logits, and not the logits.
    rows = operations.PUBLISHED_ROWS // num_partitions
    assert all(
        one.bytes < one.count * 4 * part * rows
        for one in train.collectives
        if one.kind == "all-gather"
    )
    assert exact_types(train) == dict.fromkeys(("norms", "softmax", "loss"), {"f32"})
    # The products themselves have bfloat16 factors.
    assert "bf16" in {
        array.dtype
        for computation, one in train.program.instructions()
        if one.opcode in ("dot", "convolution")
        for array in computation.results_of(one.operands)
    }


@needs_libtpu
@pytest.mark.scheduled
def test_attention_weights_of_all_queries_never_exist():
    def plan_of(queries):
        config = PlanConfig(
            size="tiny",
            topology="v5e:2x2",
            step="train",
            input_length=1_024,
            attention_queries=queries,
            num_microbatches=2,
            scan_layers=True,
        )
        return plan.make(config).program("train")

    def largest(program):
        """Elements of the largest array with an entry for each query and each key."""
        return max(
            array.elements
            for _, one in program.program.instructions()
            for array in one.results
            if array.shape[-2:] == (1_024, 1_024) or array.shape.count(1_024) > 1
        )

    complete, part = plan_of(None), plan_of(128)
    # The position bias of all heads remains; the weights also have the rows of a batch.
    heads = sizes.size_of("tiny")["NUM_HEADS"]
    assert largest(part) <= heads * 1_024**2 < largest(complete)
    assert part.compiled.peak < complete.compiled.peak / 2
