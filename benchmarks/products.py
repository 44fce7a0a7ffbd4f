"""Measures the matrix products of a training step in float32 and in mixed precision.

    python benchmarks/products.py

Prints GFLOP/s for the shapes of T5 v1.1 small and a batch of 2,048 tokens; the logits
have 1,024 tokens. "XLA's layout" multiplies bfloat16 factors as they are; "rows" is the
product of `dsbs_jax.student.products`, which copies the left factor of a kernel's
gradient into rows. Both include rounding the factors from float32.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import tabulate

from dsbs_jax.student import products

RUNS = 11
# Tokens, inputs and outputs of a layer: of MLPs, of attention, and of the logits.
SHAPES = ((2048, 512, 1024), (2048, 1024, 512), (2048, 512, 384), (1024, 512, 32_128))


def forward(x: jax.Array, kernel: jax.Array, _: jax.Array) -> jax.Array:
    """The product itself."""
    return products.wide_dot(x, kernel)


def input_gradient(_: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    """The gradient of the layer's input."""
    return products.wide_dot(g, kernel, transpose_right=True)


def kernel_gradient(x: jax.Array, _: jax.Array, g: jax.Array) -> jax.Array:
    """The gradient of the weights, in XLA's layout."""
    contracted = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(x, g, contracted, preferred_element_type=jnp.float32)


def kernel_gradient_in_rows(x: jax.Array, _: jax.Array, g: jax.Array) -> jax.Array:
    """The gradient of the weights, with the left factor copied into rows."""
    return products.wide_sum_over_rows(x, g)


def rate(function: Callable, dtype: str, shape: tuple[int, int, int]) -> float:
    """Returns GFLOP/s of a product whose factors are rounded from float32."""
    tokens, inputs, outputs = shape
    rng = np.random.default_rng(0)
    arrays = [
        jnp.asarray(rng.normal(size=size), jnp.float32)
        for size in ((tokens, inputs), (inputs, outputs), (tokens, outputs))
    ]
    compiled = jax.jit(lambda *args: function(*(arg.astype(dtype) for arg in args)))
    compiled(*arrays).block_until_ready()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        compiled(*arrays).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * tokens * inputs * outputs / statistics.median(seconds) / 1e9


def main() -> None:
    """Prints the table."""
    lines = []
    for shape in SHAPES:
        name = f"{shape[0]}×{shape[1]}, {shape[1]}×{shape[2]}"
        for label, in_layout, in_rows in (
            ("product", forward, forward),
            ("gradient of the input", input_gradient, input_gradient),
            ("gradient of the weights", kernel_gradient, kernel_gradient_in_rows),
        ):
            lines.append(
                (
                    name,
                    label,
                    rate(in_layout, "float32", shape),
                    rate(in_layout, "bfloat16", shape),
                    rate(in_rows, "bfloat16", shape),
                )
            )
    headers = ("factors", "", "float32", "bfloat16, XLA's layout", "bfloat16, rows")
    print(tabulate.tabulate(lines, headers, tablefmt="github", floatfmt=".0f"))


if __name__ == "__main__":
    main()
