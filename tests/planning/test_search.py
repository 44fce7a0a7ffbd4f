"""The search for a mesh and microbatches, with a compiler that is a formula."""

import pytest

from dsbs_jax.planning import hlo
from dsbs_jax.planning.chips import slice_of
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.planning.programs import Compiled
from dsbs_jax.planning.search import best, meshes, search

SLICE = slice_of("v5e:2x4")
PROGRAM = hlo.parse(
    "HloModule m\nENTRY %main (a: f32[8]) -> f32[8] {\n"
    "  ROOT %a = f32[8] parameter(0)\n}\n"
)


def compiler(weights, activations):
    """Compiles steps that need this memory, in chips' memories.

    Args:
        weights: Of one complete copy.
        activations: Of the complete batch on one chip; recomputation needs a quarter.
    """

    def compile(config):
        data = SLICE.chips // config.num_partitions
        share = activations / data / config.num_microbatches
        share /= 4 if config.remat == "full" else 1
        used = int((weights / config.num_partitions + share) * SLICE.chip.hbm)
        fits = used <= SLICE.chip.hbm
        compiled = Compiled(
            None if fits else used, 0, 0, used, 0, PROGRAM if fits else None, 0.0
        )
        mesh = {"data": data, "model": config.num_partitions}
        return ProgramPlan("train", SLICE, compiled, mesh, 1.0)

    return compile


def run(weights, activations, limit=20, rows=128):
    config = PlanConfig(
        size="small", topology=SLICE.name, batch_size=rows, search=limit
    )
    return search(config, SLICE.chips, 6, compiler(weights, activations))


def test_meshes_divide_chips_heads_and_rows():
    assert list(meshes(128, 8, 64)) == [1, 2, 4, 8]
    assert list(meshes(128, 8, 6)) == [1, 2]
    assert list(meshes(4, 8, 64)) == [2, 4, 8]


def test_a_step_that_fits_has_one_microbatch():
    tried = run(weights=0.1, activations=3)
    assert [one.config.num_microbatches for one in tried] == [1, 1]
    assert best(tried).train.fits


def test_the_needed_memory_chooses_the_microbatches():
    first = [one for one in run(0.5, 24) if one.config.num_partitions == 1]
    # One microbatch needs 3.5 memories, 4 need 1.25, 8 need 0.875.
    assert [one.config.num_microbatches for one in first] == [1, 4, 8]
    assert [one.train.fits for one in first] == [False, False, True]


def test_layers_are_recomputed_when_single_rows_do_not_fit():
    first = [one for one in run(0.5, 128) if one.config.num_partitions == 1]
    assert first[-1].config.remat == "full"
    assert first[-1].train.fits
    assert all(one.config.remat == "none" for one in first[:-2])


def test_weights_that_never_fit_end_the_search():
    tried = run(weights=9, activations=0.1)
    assert best(tried) is None
    assert {one.config.num_partitions for one in tried} == {1, 2}


@pytest.mark.parametrize("limit", [1, 3])
def test_the_search_compiles_no_more_than_its_limit(limit):
    assert len(run(9, 128, limit)) == limit


def test_of_equal_times_the_lower_memory_is_best():
    tried = run(0.4, 1)
    assert best(tried).config.num_partitions == 2
