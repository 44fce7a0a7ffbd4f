"""Reading compiled programs, stored as text or compiled for the CPU."""

import jax
import jax.numpy as jnp
import pytest

from dsbs_jax.planning import hlo

NESTED = """\
HloModule jit_step, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias) }

%inner_body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)S(1)}) parameter(0)
  ROOT %t = (s32[], /*index=1*/f32[8,4]) tuple(%p, %p)
}

%inner_condition (p.1: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  %p.1 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)S(1)}) parameter(0)
  %counter = s32[] get-tuple-element(%p.1), index=0
  ROOT %lt = pred[] compare(%counter, %limit), direction=LT
}

%outer_body (p.2: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p.2 = (s32[], f32[8,4]) parameter(0)
  ROOT %w = (s32[], f32[8,4]) while(%p.2), condition=%inner_condition, body=%inner_body
}

%outer_condition (p.3: (s32[], f32[8,4])) -> pred[] {
  ROOT %p.3 = (s32[], f32[8,4]) parameter(0)
}

%fused (a: f32[8,4]) -> f32[8,4] {
  ROOT %a = f32[8,4]{1,0} parameter(0)
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0)
  %f = f32[8,4]{1,0} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="calls=%x"}
  %i = s32[] constant(0)
  %s = (s32[], f32[8,4]) tuple(%i, %f)
  %o = (s32[], f32[8,4]) while(%s), condition=%outer_condition, body=%outer_body, \
backend_config={"known_trip_count":{"n":"3"}}
  ROOT %r = f32[8,4]{1,0} get-tuple-element(%o), index=1
}
"""


def compiled(function, *arguments):
    return hlo.parse(jax.jit(function).lower(*arguments).compile().as_text())


def test_nested_loops_multiply():
    program = hlo.parse(NESTED)
    assert program.runs["main"] == 1
    assert program.runs["outer_body"] == 3
    assert program.runs["inner_body"] == 15
    assert program.fused == {"fused"}


def test_arrays_have_their_type_shape_and_memory():
    program = hlo.parse(NESTED)
    counter, values = program.computations["inner_body"].instructions["p"].results
    assert (counter.dtype, counter.shape, counter.bytes) == ("s32", (), 4)
    assert (values.shape, values.elements, values.bytes) == ((8, 4), 32, 128)
    assert counter.in_hbm and not values.in_hbm


def test_metadata_calls_nothing():
    fusion = hlo.parse(NESTED).computations["main"].instructions["f"]
    assert fusion.calls == ("fused",)


def test_a_loop_without_a_constant_is_an_error():
    program = hlo.parse(NESTED.replace("constant(5)", "parameter(1)"))
    with pytest.raises(ValueError, match="loop w has no constant number of iterations"):
        _ = program.runs


def test_a_text_without_entry_is_an_error():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse("HloModule empty\n")


@pytest.mark.parametrize("steps", [2, 7])
def test_loops_of_compiled_programs_are_counted(steps):
    def function(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c) @ c, None), x, length=steps)[0]

    assert steps in compiled(function, jnp.ones((16, 16))).runs.values()


def test_a_loop_that_may_end_early_counts_to_its_limit():
    def unfinished(state):
        return (state[0] < 9) & jnp.any(state[1] > 0)

    def function(x):
        return jax.lax.while_loop(
            unfinished, lambda state: (state[0] + 1, state[1] @ state[1]), (0, x)
        )

    assert 9 in compiled(function, jnp.ones((16, 16))).runs.values()
