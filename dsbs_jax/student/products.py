"""Products of activations with weights, and their gradients."""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import layout

from dsbs_jax.student.precision import ComputeTypes, target_platform

# Before jax 0.7, `Layout` is another class.
_LayoutClass = getattr(layout, "DeviceLocalLayout", layout.Layout)
_ROW_MAJOR = _LayoutClass(major_to_minor=(0, 1))
# The name of the results of products, for a recomputation that stores them.
PRODUCT = "product"


def product(x: jax.Array, kernel: jax.Array, types: ComputeTypes) -> jax.Array:
    """Multiplies x [..., I] by kernel [I, O] -> [..., O].

    Args:
        x: The activations.
        kernel: The weights; their gradient has their type.
        types: The types of the factors and of the result.
    """
    if types.factors == types.activations:
        result = _product(x.astype(types.factors), kernel.astype(types.factors))
    else:
        result = _mixed_product(x.astype(types.activations), kernel, types)
    return checkpoint_name(result, PRODUCT)


def sum_over_rows(left: jax.Array, right: jax.Array) -> jax.Array:
    """Multiplies a transposed factor: [..., A] and [..., B] -> [A, B]."""
    rows = tuple(range(left.ndim - 1))
    return jax.lax.dot_general(left, right, ((rows, rows), ((), ())))


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies factors of the result's type.

    The gradients equal those of `jnp.dot`, and a CPU transposes less to compute them.
    The kernel's gradient sums over all rows of x and of g [..., O], the gradient of the
    result, and XLA transposes the left factor of this product:

        I <= O:   x^T g         transposes x
        I > O:    (g^T x)^T     transposes g

    So the smaller factor is transposed. Transposing the larger one takes more than a
    tenth of a training step of T5 small (benchmarks/README.md).
    """
    return jnp.dot(x, kernel)


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _product(x, kernel), (x, kernel)


def _product_backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    inputs, outputs = kernel.shape
    if inputs <= outputs:
        kernel_gradient = sum_over_rows(x, gradient)
    else:
        kernel_gradient = sum_over_rows(gradient, x).T
    x_gradient = jnp.dot(gradient, kernel.T)
    return x_gradient, kernel_gradient.astype(kernel.dtype)


_product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _mixed_product(x: jax.Array, kernel: jax.Array, types: ComputeTypes) -> jax.Array:
    """Rounds the factors, and returns the product in a wider type.

    A CPU multiplies bfloat16 factors at twice the rate of float32 if they are matrices
    whose rows are consecutive in memory (benchmarks/README.md). So the leading axes
    are joined, and the left factor of the kernel's gradient is transposed explicitly.
    """
    return _mixed_product_forward(x, kernel, types)[0]


def _mixed_product_forward(
    x: jax.Array, kernel: jax.Array, types: ComputeTypes
) -> tuple[jax.Array, tuple]:
    rows = x.astype(types.factors).reshape(-1, x.shape[-1])
    factor = kernel.astype(types.factors)
    result = wide_dot(rows, factor)
    # The empty array keeps the kernel's type.
    return result.reshape(*x.shape[:-1], -1), (rows, factor, kernel[:0])


def _mixed_product_backward(
    types: ComputeTypes, residuals: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows, factor, empty = residuals
    columns = gradient.astype(types.factors).reshape(-1, gradient.shape[-1])
    x_gradient = wide_dot(columns, factor, transpose_right=True)
    kernel_gradient = wide_sum_over_rows(rows, columns)
    return (
        x_gradient.reshape(*gradient.shape[:-1], -1),
        kernel_gradient.astype(empty.dtype),
    )


_mixed_product.defvjp(_mixed_product_forward, _mixed_product_backward)


def wide_dot(
    left: jax.Array, right: jax.Array, transpose_right: bool = False
) -> jax.Array:
    """Multiplies matrices [N, A] and [A, B], or [B, A], -> float32 [N, B]."""
    contracted = ((1,), (1 if transpose_right else 0,))
    result = jax.lax.dot_general(
        left, right, (contracted, ((), ())), preferred_element_type=jnp.float32
    )
    # XLA's CPU backend cannot write a float32 product of bfloat16 factors in columns.
    return _in_rows(result)


def wide_sum_over_rows(left: jax.Array, right: jax.Array) -> jax.Array:
    """Multiplies a transposed factor: [N, A] and [N, B] -> float32 [A, B].

    The factor is transposed in memory. XLA would read its rows as columns instead, and
    its product of bfloat16 factors is not faster than one of float32 factors then.
    """
    return wide_dot(_in_rows(left.T), right)


def _in_rows(x: jax.Array) -> jax.Array:
    """Makes the rows of a matrix consecutive in memory, on a CPU.

    Other platforms choose the layout. XLA does not partition the constraint: each
    device would gather the complete matrix, such as the logits of all devices.
    """
    if target_platform() != "cpu":
        return x
    return layout.with_layout_constraint(x, _ROW_MAJOR)
