"""Estimates the memory of training per device, from XLA's plan for virtual CPU devices.

    python benchmarks/memory.py --size=base --rows=128 --microbatches=8
    python benchmarks/memory.py --size=large --devices=8 --partitions=4

Compiles the local engine's training step for the given number of CPU devices, without
creating weights, and prints a row of a table: weights, those that are updated, memory
per device for parameters and optimizer state, the temporary memory of a step, and their
sum, in GiB. The plan of
another backend differs, so the result is an estimate.
"""

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsbs_jax.student.network import Transformer

GIB = 2**30


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

    from dsbs_jax.local import optimizers, partitioning, state, step
    from dsbs_jax.local.config import OptimizerConfig, TrainableConfig

    model = make_model(options)
    partitioner = partitioning.Partitioner(
        options.partitions, parameter_partitioning_dims=options.dims
    )
    settings = OptimizerConfig(optimizer=options.optimizer)
    schedule = optimizers.make_schedule(settings, total_steps=10_000)
    optimizer = optimizers.make_optimizer(settings, schedule)
    updated = TrainableConfig(trainable=options.trainable, lora_rank=options.lora_rank)
    abstract = state.abstract_state(model, optimizer, partitioner, updated)
    train_step = step.make_train_step(
        model, optimizer, partitioner, 0.5, options.microbatches
    )
    batch = abstract_batch(options, partitioner.batch)
    key = jax.eval_shape(lambda: jax.random.key(0))
    # `make_train_step` returns a function compiled by `jax.jit`.
    compiled: Any = train_step
    plan = compiled.lower(abstract, batch, key).compile().memory_analysis()
    weights = sum(leaf.size for leaf in jax.tree.leaves(abstract.weights))
    trained = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
    held = plan.argument_size_in_bytes / GIB
    temporary = plan.temp_size_in_bytes / GIB
    print(
        f"| {options.size} | {weights / 1e6:,.0f} M | {trained / 1e6:,.1f} M | "
        f"{options.optimizer} | {options.devices} x "
        f"{options.partitions} | {options.rows} x ({options.source} + "
        f"{options.target}) | {options.microbatches} | {options.precision} | "
        f"{held:.1f} | {temporary:.1f} | {held + temporary:.1f} |"
    )


def make_model(options: argparse.Namespace) -> "Transformer":
    """Creates the network of a size."""
    from dsbs_jax import cli, weights
    from dsbs_jax.student.config import T5Config
    from dsbs_jax.student.network import Transformer

    cli.configure([f"sizes/{options.size}.gin"])
    values = {
        # The rows of the published vocabulary.
        "VOCAB_SIZE": 32_128,
        **cli.given(T5Config),
        "PRECISION": options.precision,
        "REMAT": options.remat,
        "ATTENTION_QUERIES": options.attention_queries,
        "SCAN_LAYERS": options.scan,
    }
    return Transformer(weights.student_config(values))


def abstract_batch(options: argparse.Namespace, sharding: object) -> dict:
    """Describes a batch: int32 features, encoder [B, S] and decoder [B, T]."""
    import jax

    lengths = {
        "encoder_input_tokens": options.source,
        "decoder_input_tokens": options.target,
        "decoder_target_tokens": options.target,
        "decoder_task_ids": options.target,
    }
    return {
        name: jax.ShapeDtypeStruct((options.rows, length), "int32", sharding=sharding)
        for name, length in lengths.items()
    }


if __name__ == "__main__":
    chosen = parse_options()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={chosen.devices}"
    )
    main(chosen)
