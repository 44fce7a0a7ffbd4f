"""Measures the cross-entropy of the output layer, with all logits and in parts.

    python benchmarks/cross_entropy.py

Computes the weighted loss and the gradients of the decoder's output and of the weights
for T5 v1.1 small: width 512, 32,128 tokens. "All logits" is the plain formula, which
XLA differentiates. Prints the milliseconds, median of the runs, which take turns, and
the temporary memory of XLA's plan.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tabulate

from dsbs_jax.student import cross_entropy, objective, precision
from dsbs_jax.student.products import product

RUNS, WIDTH, VOCAB_SIZE = 7, 512, 32_128
# Rows of a batch and positions of a row.
SHAPES = ((8, 80), (16, 96), (64, 96))
MIB = 2**20


def all_logits(
    x: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    types: precision.ComputeTypes,
) -> jax.Array:
    """Returns the weighted loss, from the logits of all tokens."""
    logits = product(x, kernel, types).astype(jnp.float32)
    return jnp.sum(objective.token_cross_entropy(logits, targets) * weights)


def in_parts(
    x: jax.Array,
    kernel: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    types: precision.ComputeTypes,
) -> jax.Array:
    """Returns the weighted loss, as a training step computes it."""
    parts = cross_entropy.num_parts(targets.shape[0], targets.shape[1], VOCAB_SIZE)
    return cross_entropy.weighted_cross_entropy(
        x, kernel, targets, weights, types, parts
    )[0]


def measure(
    functions: Mapping[str, Callable], rows: int, positions: int
) -> dict[str, tuple[float, float]]:
    """Returns the milliseconds and MiB of the gradients of each function."""
    rng = np.random.default_rng(0)
    arguments = (
        jnp.asarray(rng.normal(size=(rows, positions, WIDTH)), jnp.float32),
        jnp.asarray(rng.normal(size=(WIDTH, VOCAB_SIZE)) / WIDTH**0.5, jnp.float32),
        jnp.asarray(rng.integers(1, VOCAB_SIZE, (rows, positions)), jnp.int32),
        jnp.full((rows, positions), 1 / (rows * positions), jnp.float32),
    )
    compiled = {
        name: jax.jit(jax.value_and_grad(function, argnums=(0, 1)))
        .lower(*arguments)
        .compile()
        for name, function in functions.items()
    }
    memory: dict[str, Any] = {n: f.memory_analysis() for n, f in compiled.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(RUNS):
        for name, function in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            times[name].append(1000 * (time.perf_counter() - start))
    return {
        name: (
            # The first run gets its memory from the kernel.
            statistics.median(times[name][1:]),
            memory[name].temp_size_in_bytes / MIB,
        )
        for name in functions
    }


def main() -> None:
    """Prints a Markdown table."""
    table = []
    for name in ("float32", "mixed"):
        types = precision.compute_types(name)
        functions = {
            "all logits": functools.partial(all_logits, types=types),
            "in parts": functools.partial(in_parts, types=types),
        }
        for rows, positions in SHAPES:
            found = measure(functions, rows, positions)
            ms = [f"{milliseconds:.0f}" for milliseconds, _ in found.values()]
            mib = [f"{memory:,.0f}" for _, memory in found.values()]
            table.append([name, f"{rows} x {positions}", *ms, *mib])
    headers = ["precision", "rows x positions"]
    headers += [f"{name}, {unit}" for unit in ("ms", "MiB") for name in functions]
    print(tabulate.tabulate(table, headers, tablefmt="github"))


if __name__ == "__main__":
    main()
