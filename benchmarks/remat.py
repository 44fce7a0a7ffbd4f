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

import jax
import tabulate
from systems import training_step, workload

from dsbs_jax.local import state
from dsbs_jax.local.partitioning import Partitioner

POLICIES = ("none", "dots", "full")


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


def main(options: argparse.Namespace) -> None:
    """Measures each setting and prints a table."""
    partitioner = Partitioner()
    queries = (None, options.queries) if options.queries else (None,)
    measured = list(itertools.product(POLICIES, queries))
    prepared = {
        setting: training_step.TrainingStep(
            options.size,
            {
                "SCAN_LAYERS": True,
                "REMAT": setting[0],
                "ATTENTION_QUERIES": setting[1],
            },
            partitioner,
        )
        for setting in measured
    }
    shape = options.rows, options.source, options.target
    steps = {setting: one.compile(*shape) for setting, one in prepared.items()}
    # The states of all settings have the same shapes.
    first = prepared[measured[0]]
    current = state.init_state(
        first.model, first.optimizer, first.abstract, jax.random.key(1)
    )
    batch = partitioner.put_batch(workload.random_rows(*shape))
    key = jax.device_put(jax.random.key(0), partitioner.replicated)
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
            training_step.memory_of(steps[setting])[1],
        )
        for setting in measured
    ]
    head = ("REMAT", "queries at a time", "processor seconds", "temporary, GiB")
    print(tabulate.tabulate(table, head, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main(parse_options())
