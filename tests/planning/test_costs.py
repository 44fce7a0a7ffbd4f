"""Costs of compiled programs: products, memory traffic, collectives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.planning import costs, hlo


def program(body, header="", parameters=""):
    return hlo.parse(
        f"HloModule m\n{header}\nENTRY %main ({parameters}) -> f32[] {{\n{body}\n}}\n"
    )


def compiled(function, *arguments):
    return hlo.parse(jax.jit(function).lower(*arguments).compile().as_text())


def collective(line):
    return program(
        "  %a = f32[64,8]{1,0} parameter(0)\n  %b = f32[64]{0} parameter(1)\n"
        f"  ROOT %r = f32[64,8]{{1,0}} {line}"
    )


# Products.


def test_products_in_loops_are_multiplied():
    def function(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c) @ x, None), x, length=6)[0]

    found = compiled(function, jnp.ones((32, 32)))
    assert costs.product_operations(found) == 6 * 2 * 32**3


def test_a_batch_of_products_counts_each():
    found = compiled(
        lambda a, b: jnp.einsum("bhqd,bhkd->bhqk", a, b),
        jnp.ones((3, 2, 5, 7)),
        jnp.ones((3, 2, 4, 7)),
    )
    assert costs.product_operations(found) == 2 * 3 * 2 * 5 * 4 * 7


# Products as the TPU compiler writes them: a plain one, a split of heads, and batches.
CONVOLUTIONS = [
    (
        "f32[64,96]",
        "f32[64,32]",
        "f32[32,96]",
        "dim_labels=bf_io->bf",
        64 * 32 * 96,
    ),
    (
        "bf16[16,128,6,64]",
        "bf16[16,128,512,1]",
        "bf16[6,64,512,1]",
        "window={size=1x6 pad=0_0x5_5 rhs_reversal=0x1}, dim_labels=0bf1_1oi0->0b1f",
        16 * 128 * 6 * 64 * 512,
    ),
    (
        "bf16[16,6,128,96]",
        "bf16[16,6,128,64]",
        "bf16[16,6,96,64]",
        "window={size=16x6 stride=15x5 lhs_dilate=16x6}, dim_labels=01bf_01oi->01bf",
        16 * 6 * 128 * 96 * 64,
    ),
]


@pytest.mark.parametrize("result, left, right, attributes, products", CONVOLUTIONS)
def test_convolutions_count_as_their_products(
    result, left, right, attributes, products
):
    found = program(
        f"  %a = {left} parameter(0)\n  %b = {right} parameter(1)\n"
        f"  ROOT %c = {result} convolution(%a, %b), {attributes}"
    )
    assert costs.product_operations(found) == 2 * products


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_convolution_counts_as_a_naive_loop_counts(padding):
    left, kernel = np.ones((2, 3, 9)), np.ones((4, 3, 5))

    def function(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2,), padding, dimension_numbers=("NCH", "OIH", "NCH")
        )

    text = jax.jit(function).lower(left, kernel).compiler_ir("hlo").as_hlo_text()
    line = next(line for line in text.splitlines() if "convolution(" in line)
    attributes = line[line.index(")") + 3 :].partition(", metadata")[0]
    outputs = function(left, kernel)
    found = program(
        "  %a = f32[2,3,9] parameter(0)\n  %b = f32[4,3,5] parameter(1)\n"
        f"  ROOT %c = f32[2,4,{outputs.shape[2]}] convolution(%a, %b), {attributes}"
    )
    # The sum over a result of ones is the number of multiply-adds.
    assert costs.product_operations(found) == 2 * int(outputs.sum())


# Memory traffic.


def test_arrays_on_the_chip_move_nothing():
    body = (
        "  %a = f32[64,8]{{1,0{s}}} parameter(0)\n"
        "  ROOT %b = f32[64,8]{{1,0}} negate(%a)"
    )
    assert costs.hbm_bytes(program(body.format(s=""))) == 2 * 4 * 64 * 8
    assert costs.hbm_bytes(program(body.format(s=":T(8,128)S(1)"))) == 4 * 64 * 8


def test_a_slice_in_a_fusion_counts_as_the_slice():
    fused = """\
%f (p: f32[64,8], i: s32[]) -> f32[1,8] {
  %p = f32[64,8] parameter(0)
  %i = s32[] parameter(1)
  %z = s32[] constant(0)
  ROOT %d = f32[1,8] dynamic-slice(%p, %i, %z), dynamic_slice_sizes={1,8}
}
"""
    body = """\
  %a = f32[64,8] parameter(0)
  %n = s32[] parameter(1)
  ROOT %r = f32[1,8] fusion(%a, %n), kind=kLoop, calls=%f"""
    assert costs.hbm_bytes(program(body, fused)) == 2 * 4 * 8 + 4


def test_an_update_in_place_counts_as_the_update():
    fused = """\
%f (p: f32[64,8], u: f32[1,8], i: s32[]) -> f32[64,8] {
  %p = f32[64,8] parameter(0)
  %u = f32[1,8] parameter(1)
  %i = s32[] parameter(2)
  ROOT %d = f32[64,8] dynamic-update-slice(%p, %u, %i, %i)
}
"""
    body = """\
  %a = f32[64,8] parameter(0)
  %u = f32[1,8] parameter(1)
  %n = s32[] parameter(2)
  ROOT %r = f32[64,8] fusion(%a, %u, %n), kind=kLoop, calls=%f"""
    assert costs.hbm_bytes(program(body, fused)) == 2 * 4 * 8 + 4


def test_several_updates_in_one_fusion_count_as_the_updates():
    fused = """\
%f (p: f32[64,8], q: f32[64,8], u: f32[1,8], i: s32[]) -> (f32[64,8], f32[64,8]) {
  %p = f32[64,8] parameter(0)
  %q = f32[64,8] parameter(1)
  %u = f32[1,8] parameter(2)
  %i = s32[] parameter(3)
  %b = f32[64,8] bitcast(%p)
  %d = f32[64,8] dynamic-update-slice(%b, %u, %i, %i)
  %e = f32[64,8] dynamic-update-slice(%q, %u, %i, %i)
  %c = f32[64,8] bitcast(%e)
  ROOT %t = (f32[64,8], f32[64,8]) tuple(%d, %c)
}
"""
    body = """\
  %a = f32[64,8] parameter(0)
  %b = f32[64,8] parameter(1)
  %u = f32[1,8] parameter(2)
  %n = s32[] parameter(3)
  ROOT %r = (f32[64,8], f32[64,8]) fusion(%a, %b, %u, %n), kind=kLoop, calls=%f"""
    assert costs.hbm_bytes(program(body, fused)) == 3 * 4 * 8 + 4


def test_a_reduction_of_several_arrays_in_a_fusion_writes_each():
    fused = """\
%f (p: f32[64,8], i: s32[64,8]) -> (f32[64], s32[64]) {
  %p = f32[64,8] parameter(0)
  %i = s32[64,8] parameter(1)
  ROOT %d = (f32[64], s32[64]) reduce(%p, %i), dimensions={1}
}
"""
    body = """\
  %a = f32[64,8] parameter(0)
  %n = s32[64,8] parameter(1)
  ROOT %r = (f32[64], s32[64]) fusion(%a, %n), kind=kLoop, calls=%f"""
    assert costs.hbm_bytes(program(body, fused)) == 2 * 4 * 64 * 8 + 2 * 4 * 64


# Collectives.

MESH = {"data": 4, "model": 2}
ALONG_DATA = [[0, 2, 4, 6], [1, 3, 5, 7]]
ALONG_MODEL = [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    "groups, expected, axes",
    [
        ("{{0,1},{2,3},{4,5},{6,7}}", ALONG_MODEL, "model"),
        ("[4,2]<=[8]", ALONG_MODEL, "model"),
        ("[2,4]<=[4,2]T(1,0)", ALONG_DATA, "data"),
        ("mesh['x'=4,'y'=2] {'y'}", ALONG_MODEL, "model"),
        ("mesh['x'=4,'y'=2] {'x'}", ALONG_DATA, "data"),
        ("mesh['x'=8,'y'=1] {'x','y'}", [list(range(8))], "data x model"),
        ("{}", [list(range(8))], "data x model"),
    ],
)
def test_groups_of_devices_name_the_mesh_axes(groups, expected, axes):
    found = collective(f"all-reduce(%a), replica_groups={groups}, to_apply=%add")
    one = found.computations["main"].root
    assert costs.device_groups(one, 8) == expected
    assert costs.axes_of(expected, MESH) == axes


@pytest.mark.parametrize(
    "line, kind, data, sent",
    [
        ("all-reduce(%a), replica_groups=[4,2]<=[8]", "all-reduce", 2048, 2048),
        ("all-reduce(%a, %b), replica_groups=[1,8]<=[8]", "all-reduce", 2304, 4032),
        ("all-gather(%b), replica_groups=[1,8]<=[8]", "all-gather", 2048, 1792),
        ("reduce-scatter(%a), replica_groups=[1,8]<=[8]", "reduce-scatter", 2048, 1792),
        (
            "collective-permute(%a), source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            2048,
            2048,
        ),
        ("all-gather-start(%b), replica_groups=[1,8]<=[8]", "all-gather", 2048, 1792),
    ],
)
def test_bytes_of_collectives(line, kind, data, sent):
    (one,) = costs.collectives(collective(line), MESH)
    assert (one.kind, one.count, one.bytes, one.sent) == (kind, 1, data, sent)


def test_a_group_of_one_device_sends_nothing():
    found = collective("all-reduce(%a), replica_groups=[8,1]<=[8]")
    assert costs.collectives(found, MESH) == []


# Checks.


def test_types_and_largest_logits():
    found = program(
        "  %k = f32[16,100] parameter(0)\n  %x = f32[4,3,100] parameter(1)\n"
        # A part of a weight.
        "  %part = f32[100,14] parameter(2)\n"
        "  ROOT %e = bf16[4,3,100] exponential(%x)"
    )
    assert costs.result_types(found, "exponential") == {"bf16"}
    assert costs.most_positions(found, vocab_size=100, widths={16, 14}) == 12
    assert costs.most_positions(found, vocab_size=100, widths={16}) == 14
