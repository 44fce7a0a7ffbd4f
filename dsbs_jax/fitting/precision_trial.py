"""Measures on this machine whether mixed precision is faster than float32."""

import functools
import statistics
import time

import jax
import jax.numpy as jnp

from dsbs_jax.student import precision as precisions
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.precision import ComputeTypes, Precision
from dsbs_jax.student.products import product

# Most rows of the measured product, and how often each precision is measured.
_ROWS, _RUNS = 2048, 5
# How much faster mixed precision has to be. Below this, the other operations of a step,
# which are float32 in both precisions, leave no gain.
_WORTHWHILE = 1.2
# Width from which products take most of a step. A step of a student of width 64 takes
# the same time in both precisions although its products are faster.
_SMALLEST_WIDTH = 256


def choose(network: T5Config, tokens: int) -> tuple[Precision, str]:
    """Chooses the precision of a run, and gives the reason.

    Measures the product of an MLP and its gradients, which training spends most of its
    time on.

    Args:
        network: The student's size.
        tokens: Tokens of a batch.
    """
    if network.emb_dim < _SMALLEST_WIDTH:
        return "float32", f"products of width {network.emb_dim} take little of a step"
    types = precisions.compute_types("mixed")
    if types == precisions.compute_types("float32"):
        return "float32", "products of bfloat16 numbers are not supported"
    shape = (min(tokens, _ROWS), network.emb_dim, network.mlp_dim)
    rates = {
        name: _operations_per_second(precisions.compute_types(name), *shape)
        for name in ("float32", "mixed")
    }
    reason = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    faster = rates["mixed"] > _WORTHWHILE * rates["float32"]
    return "mixed" if faster else "float32", f"measured GFLOP/s: {reason}"


@functools.cache
def _operations_per_second(
    types: ComputeTypes, rows: int, inputs: int, outputs: int
) -> float:
    x, kernel = jnp.ones((rows, inputs)), jnp.ones((inputs, outputs))

    @jax.jit
    def gradients(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        result, backward = jax.vjp(
            lambda x, kernel: product(x, kernel, types), x, kernel
        )
        return backward(result)

    jax.block_until_ready(gradients(x, kernel))  # compiles
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        jax.block_until_ready(gradients(x, kernel))
        seconds.append(time.perf_counter() - start)
    # The product, and one more for each gradient, of a multiplication and an addition.
    return 6 * rows * inputs * outputs / statistics.median(seconds)
