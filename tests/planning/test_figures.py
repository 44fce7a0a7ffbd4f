"""Figures of a compiled program as plain values."""

import importlib.metadata
import json

import pytest

from dsbs_jax.planning import hlo
from dsbs_jax.planning.chips import slice_of
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.figures import exact_types, figures, positions
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.planning.programs import Compiled

RUN = PlanConfig(size="small", topology="v5e:2x2", num_microbatches=2)
MESH = {"data": 4, "model": 1}
# Logits of 16 rows and 32 positions, a weight of 512 x 32,128, and the exact functions.
PROGRAM = hlo.parse("""\
HloModule m
ENTRY %main (a: f32[16,32,32128]) -> f32[16,32,32128] {
  %a = f32[16,32,32128]{2,1,0} parameter(0)
  %k = f32[512,32128]{1,0} parameter(1)
  %e = f32[16,32,32128]{2,1,0} exponential(%a)
  %n = bf16[16,512]{1,0} rsqrt(%k)
  ROOT %l = f32[16,32,32128]{2,1,0} log(%e)
}
""")


def plan_of(needed=None):
    program = PROGRAM if needed is None else None
    compiled = Compiled(needed, 3, 5, 7, 2, program, seconds=1.5)
    return ProgramPlan("train", slice_of(RUN.topology), compiled, MESH, 400.0)


@pytest.fixture
def versions(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name}-1")


def test_figures_are_json(versions):
    found = json.loads(json.dumps(figures(RUN, plan_of())))
    assert found["run"] == json.loads(json.dumps(vars(RUN)))
    assert (found["arguments"], found["temporary"], found["peak"]) == (3, 5, 7)
    assert found["formula_operations"] == 100
    assert found["versions"] == {"jax": "jax-1", "libtpu": "libtpu-1"}
    assert found["traffic"] > 0
    assert found["bound_by"] == "memory"


def test_a_program_that_does_not_fit_has_no_costs(versions):
    found = figures(RUN, plan_of(needed=99))
    assert found["needed"] == 99
    assert "peak" not in found


def test_types_of_norms_softmax_and_loss():
    assert exact_types(plan_of()) == {
        "norms": {"bf16"},
        "softmax": {"f32"},
        "loss": {"f32"},
    }


def test_positions_with_logits_and_all_positions():
    # 128 rows on 4 chips in 2 parts, of 96 positions each.
    assert positions(RUN, plan_of()) == (16 * 32, 16 * 96)
