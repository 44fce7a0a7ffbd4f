"""Estimates the memory of training per device, from XLA's plan for virtual CPU devices.

    python benchmarks/memory.py --size=base --rows=128 --microbatches=8
    python benchmarks/memory.py --size=large --devices=8 --partitions=4

Compiles the local engine's training step for the given number of CPU devices, without
creating weights, and prints a row of a table: weights, those that are updated, memory
per device for parameters and optimizer state, the temporary memory of a step, and their
sum, in GiB. The plan of another backend differs, so the result is an estimate.
"""

import argparse
import os


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--size", default="base", help="a file of gin/sizes")
    add("--rows", type=int, default=128, help="rows of a batch: B")
    add("--source", type=int, default=128, help="source tokens of a row: S")
    add("--target", type=int, default=96, help="target tokens of a row: T")
    add("--microbatches", type=int, default=1, help="parts of a batch")
    add("--remat", default="none", help="REMAT")
    add("--attention_queries", type=int, help="ATTENTION_QUERIES")
    add("--scan", action="store_true", help="compile one layer for each stack")
    add("--precision", default="bfloat16", help="PRECISION")
    add("--optimizer", default="adamw", help="OPTIMIZER")
    add("--trainable", default="all", help="TRAINABLE")
    add("--lora_rank", type=int, default=0, help="LORA_RANK")
    add("--devices", type=int, default=1, help="virtual devices")
    add("--partitions", type=int, default=1, help="devices per copy of the student")
    add("--dims", type=int, default=1, help="PARAMETER_PARTITIONING_DIMS")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Compiles one step and prints a row of a table."""
    import jax
    from systems import training_step

    from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
    from dsbs_jax.local.partitioning import Partitioner

    settings = {
        "PRECISION": options.precision,
        "REMAT": options.remat,
        "ATTENTION_QUERIES": options.attention_queries,
        "SCAN_LAYERS": options.scan,
    }
    partitioner = Partitioner(
        options.partitions, parameter_partitioning_dims=options.dims
    )
    step = training_step.TrainingStep(
        options.size,
        settings,
        partitioner,
        optimizer=OptimizerConfig(optimizer=options.optimizer),
        updated=TrainableConfig(
            trainable=options.trainable, lora_rank=options.lora_rank
        ),
        microbatches=options.microbatches,
    )
    program = step.compile(options.rows, options.source, options.target)
    held, temporary = training_step.memory_of(program)
    weights = sum(leaf.size for leaf in jax.tree.leaves(step.abstract.weights))
    trained = sum(leaf.size for leaf in jax.tree.leaves(step.abstract.params))
    print(
        f"| {options.size} | {weights / 1e6:,.0f} M | {trained / 1e6:,.1f} M | "
        f"{options.optimizer} | {options.devices} x "
        f"{options.partitions} | {options.rows} x ({options.source} + "
        f"{options.target}) | {options.microbatches} | {options.precision} | "
        f"{held:.1f} | {temporary:.1f} | {held + temporary:.1f} |"
    )


if __name__ == "__main__":
    chosen = parse_options()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={chosen.devices}"
    )
    main(chosen)
