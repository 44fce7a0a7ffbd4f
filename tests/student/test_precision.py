import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student import precision
from dsbs_jax.student.precision import ComputeTypes, compute_types
from support.students import (
    BFLOAT16_PRODUCTS,
    forward,
    gradients,
    make_batch,
    make_examples,
    make_student,
)

FLOAT32 = ComputeTypes("float32", "float32", "float32")
ACCELERATED = ComputeTypes("bfloat16", "bfloat16", "float32")


@pytest.fixture
def notes(monkeypatch):
    """Collects the notes that are logged."""
    lines = []
    monkeypatch.setattr(precision.logging, "info", lambda _, text: lines.append(text))
    precision._note_once.cache_clear()
    yield lines
    precision._note_once.cache_clear()


@pytest.fixture
def with_bfloat16(monkeypatch):
    """A CPU with products of bfloat16 numbers, also where the tests have another."""
    monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: None)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_float32_and_bfloat16_are_the_same_on_every_device(platform):
    assert compute_types("float32", platform) == FLOAT32
    expected = ComputeTypes("bfloat16", "bfloat16", "bfloat16")
    assert compute_types("bfloat16", platform) == expected


def test_mixed_returns_float32_from_products_on_a_cpu(with_bfloat16):
    assert compute_types("mixed", "cpu") == BFLOAT16_PRODUCTS
    for platform in ("gpu", "tpu"):
        assert compute_types("mixed", platform) == ACCELERATED


@pytest.mark.parametrize("limit", ["AVX2", "avx512", "SSE4_2"])
def test_cpu_without_bfloat16_uses_float32_and_says_so_once(monkeypatch, notes, limit):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_max_isa={limit}")
    assert compute_types("mixed", "cpu") == FLOAT32
    assert compute_types("mixed", "cpu") == FLOAT32
    (note,) = notes
    assert note == (
        f"PRECISION is 'mixed', but XLA_FLAGS limits the instructions to {limit}; "
        "float32 is used instead"
    )
    assert compute_types("mixed", "tpu") == ACCELERATED


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("flags\t\t: fpu sse avx512_bf16 avx512_vnni\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse avx2 avx512f\n", False),
        ("flags\t\t: my_bf16\n", False),
        ("", False),
    ],
)
def test_instructions_are_read_from_the_flags_of_the_processor(
    monkeypatch, tmp_path, text, found
):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{text}model name\t: bf16\n")
    monkeypatch.setattr(precision, "_CPUINFO", path)
    monkeypatch.setattr(precision, "_FIRST_JAX", (0, 6))
    precision._cpu_flags.cache_clear()
    try:
        missing = precision.missing_bfloat16("")
    finally:
        precision._cpu_flags.cache_clear()
    assert (missing is None) == found


def test_old_jax_does_not_multiply_bfloat16_faster(monkeypatch):
    monkeypatch.setattr(precision.jax, "__version_info__", (0, 8, 3))
    assert "needs jax 0.9 or later" in precision.missing_bfloat16("")


def test_machine_without_cpuinfo_has_no_bfloat16(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(precision, "_FIRST_JAX", (0, 6))
    precision._cpu_flags.cache_clear()
    try:
        assert "no instructions" in precision.missing_bfloat16("")
    finally:
        precision._cpu_flags.cache_clear()


def test_only_kernels_are_rounded(with_bfloat16):
    _, params = make_student()
    rounded = precision.round_factors(params, BFLOAT16_PRODUCTS)
    for path, leaf in jax.tree_util.tree_leaves_with_path(rounded):
        is_kernel = path[-1].key == "kernel"
        assert leaf.dtype == (jnp.bfloat16 if is_kernel else jnp.float32), path
    same = precision.round_factors(params, FLOAT32)
    jax.tree.map(np.testing.assert_array_equal, same, params)


def relative_errors(left, right):
    return jax.tree.leaves(
        jax.tree.map(
            lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)), left, right
        )
    )


@pytest.mark.slow
# Rounding can move the input of a ReLU over 0, where its gradient jumps.
@pytest.mark.parametrize(("version", "most"), [("t5_1_0", 0.1), ("t5_1_1", 0.04)])
def test_gradients_of_mixed_are_close_to_float32_in_each_layer(
    version, most, with_bfloat16
):
    batch = make_batch(make_examples(8))
    model, params = make_student(version)
    mixed, _ = make_student(version, precision="mixed")
    expected, metrics = gradients(model, params, batch, 0.5)
    found, rounded = gradients(mixed, params, batch, 0.5)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    # A factor is rounded by at most 2 ** -9 of its value, and each gradient passes
    # through up to 30 products.
    errors = relative_errors(found, expected)
    assert 1e-5 < max(errors) < most
    assert np.median(errors) < most / 3
    np.testing.assert_allclose(rounded["loss"], metrics["loss"], rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed", "bfloat16"])
@pytest.mark.parametrize("scale", [1e-4, 30.0, 1000.0])
def test_large_and_small_weights_give_finite_gradients(name, scale, with_bfloat16):
    """float16 would overflow: T5's published weights give activations above 65,504."""
    model, params = make_student(precision=name)
    params = jax.tree.map(lambda leaf: leaf * scale, params)
    batch = make_batch(make_examples(4))
    grads, metrics = gradients(model, params, batch, 0.5)
    assert np.isfinite(metrics["loss"])
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    assert np.isfinite(forward(model, params, batch)).all()


@pytest.mark.slow
def test_limited_instructions_give_the_result_of_float32_with_a_note():
    code = """
import jax, numpy as np
from dsbs_jax.commands import app
from dsbs_jax import cli
from support.students import forward, make_batch, make_examples, make_student
batch = make_batch(make_examples(2))
model, params = make_student()
mixed, _ = make_student(precision="mixed")
left, right = forward(mixed, params, batch), forward(model, params, batch)
np.testing.assert_array_equal(left, right)
print("equal")
"""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "equal\n"
