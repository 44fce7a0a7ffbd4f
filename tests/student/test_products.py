import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsbs_jax.student.precision import ComputeTypes, for_platform
from dsbs_jax.student.products import product, wide_dot, wide_sum_over_rows
from support.students import BFLOAT16_PRODUCTS

SHAPES = [
    ((4,), 3, 5),
    ((2, 7), 16, 8),
    ((3, 1, 5), 9, 33),
    ((1,), 1, 1),
    ((64,), 8, 64),
]


def rounded(array):
    return np.asarray(jnp.asarray(array, jnp.bfloat16), np.float64)


def make(rows, inputs, outputs):
    rng = np.random.default_rng(0)
    shapes = ((*rows, inputs), (inputs, outputs), (*rows, outputs))
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def gradients(x, kernel, result_gradient, types):
    result, backward = jax.vjp(lambda *args: product(*args, types), x, kernel)
    return result, *backward(result_gradient.astype(result.dtype))


@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_products_are_exact_products_of_rounded_factors(shape):
    x, kernel, g = make(*shape)
    result, x_gradient, kernel_gradient = jax.jit(gradients, static_argnums=3)(
        x, kernel, g, BFLOAT16_PRODUCTS
    )
    left, right, of_result = rounded(x), rounded(kernel), rounded(g)
    flat = left.reshape(-1, left.shape[-1]).T @ of_result.reshape(-1, g.shape[-1])
    for found, expected in (
        (result, left @ right),
        (x_gradient, of_result @ right.T),
        (kernel_gradient, flat),
    ):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_other_products_have_the_gradients_of_dot(shape, dtype):
    x, kernel, g = make(*shape)
    types = ComputeTypes(dtype, dtype, dtype)

    def dot(x, kernel, g):
        result, backward = jax.vjp(jnp.dot, x.astype(dtype), kernel.astype(dtype))
        return result, *backward(g.astype(dtype))

    tolerance = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    found, expected = gradients(x, kernel, g, types), dot(x, kernel, g)
    assert found[0].dtype == dtype
    assert found[2].dtype == jnp.float32
    for left, right in zip(found, expected, strict=True):
        left, right = np.asarray(left, np.float32), np.asarray(right, np.float32)
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def test_rounded_weights_give_the_same_product():
    """Inference rounds the weights once (`precision.round_factors`)."""
    x, kernel, _ = make((6,), 16, 8)
    once = product(x, kernel.astype(jnp.bfloat16), BFLOAT16_PRODUCTS)
    np.testing.assert_array_equal(once, product(x, kernel, BFLOAT16_PRODUCTS))


@pytest.mark.parametrize("multiply", [wide_dot, wide_sum_over_rows])
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_only_programs_for_a_cpu_constrain_the_layout(multiply, platform):
    with for_platform(platform):
        # A function of its own, because JAX keeps what it traced of a function.
        lowered = jax.jit(lambda x, y: multiply(x, y)).lower(*jnp.ones((2, 8, 8)))
    # XLA gathers a constrained matrix on each device.
    assert ("LayoutConstraint" in lowered.as_text()) == (platform == "cpu")
