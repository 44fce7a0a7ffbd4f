"""Measures what settings that save memory cost on a CPU: time of a step, and memory.

    python benchmarks/remat.py --size=base --rows=8
    python benchmarks/remat.py --size=small --rows=4 --source=1024 --queries=128

Runs training steps of the local engine with each value of REMAT, one after another, on
random tokens, with `--queries` also with this ATTENTION_QUERIES. Prints the median
processor seconds of a step, which other programs on the machine change less than the
elapsed time, and the temporary memory of XLA's plan.
"""

import argparse
import itertools
import statistics
import time
from typing import Any

import jax
import tabulate
from systems import workload

from dsbs_jax.local import optimizers, state, step
from dsbs_jax.local.config import OptimizerConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.settings import from_values
from dsbs_jax.student import sizes
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer

POLICIES = ("none", "dots", "full")
GIB = 2**30


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--size", default="base", help="size of the student")
    add("--rows", type=int, default=8, help="rows of a batch: B")
    add("--source", type=int, default=128, help="source tokens of a row: S")
    add("--target", type=int, default=96, help="target tokens of a row: T")
    add("--queries", type=int, help="also measure this ATTENTION_QUERIES")
    add("--runs", type=int, default=3, help="timed steps of each setting")
    return parser.parse_args()


def make_model(size: str, remat: str, queries: int | None) -> Transformer:
    """Creates a network with scanned layers and the given settings."""
    values = {
        **sizes.size_of(size),
        "VOCAB_SIZE": workload.VOCAB_SIZE,
        "SCAN_LAYERS": True,
        "REMAT": remat,
        "ATTENTION_QUERIES": queries,
    }
    return Transformer(from_values(T5Config, values))


def main(options: argparse.Namespace) -> None:
    """Measures each setting and prints a table."""
    partitioner = Partitioner()
    config = OptimizerConfig()
    schedule = optimizers.make_schedule(config, total_steps=10_000)
    optimizer = optimizers.make_optimizer(config, schedule)
    rows = workload.random_rows(options.rows, options.source, options.target)
    batch, key = partitioner.put_batch(rows), jax.random.key(0)
    queries = (None, options.queries) if options.queries else (None,)
    measured = list(itertools.product(POLICIES, queries))
    # The states of all settings have the same shapes.
    model = make_model(options.size, "none", None)
    abstract = state.abstract_state(model, optimizer, partitioner)
    current = state.init_state(model, optimizer, abstract, jax.random.key(1))
    steps: dict[tuple, Any] = {}
    for setting in measured:
        model = make_model(options.size, *setting)
        function: Any = step.make_train_step(model, optimizer, partitioner, 0.5)
        steps[setting] = function.lower(abstract, batch, key).compile()
    seconds: dict[tuple, list[float]] = {setting: [] for setting in measured}
    for _ in range(options.runs):
        for setting in measured:
            start = time.process_time()
            current, metrics = steps[setting](current, batch, key)
            jax.block_until_ready((current, metrics))
            seconds[setting].append(time.process_time() - start)
    table = [
        (
            setting[0],
            setting[1] or "all",
            statistics.median(seconds[setting]),
            steps[setting].memory_analysis().temp_size_in_bytes / GIB,
        )
        for setting in measured
    ]
    head = ("REMAT", "queries at a time", "processor seconds", "temporary, GiB")
    print(tabulate.tabulate(table, head, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main(parse_options())
