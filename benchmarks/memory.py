"""What training needs of memory, as XLA's compiler plans it for virtual devices.

    python benchmarks/memory.py --size=base --rows=128 --microbatches=8
    python benchmarks/memory.py --size=large --devices=8 --partitions=4

Compiles the local engine's training step for that many CPU devices, without a weight
being made, and prints what one device holds: parameters and optimiser state, and the
most that a step needs besides. Another backend's plan differs, so it is an estimate.
"""

import argparse
import os


def parse() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="base", help="a file of gin/sizes")
    parser.add_argument("--rows", type=int, default=128, help="of a batch: B")
    parser.add_argument("--source", type=int, default=128, help="tokens of a row: S")
    parser.add_argument("--target", type=int, default=96, help="tokens of a row: T")
    parser.add_argument("--microbatches", type=int, default=1)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--scan", action="store_true", help="one layer for all")
    parser.add_argument("--dtype", default="bfloat16", help="of activations")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=1, help="devices a student")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Compiles one step and prints a line of a table."""
    import gin
    import jax
    import numpy as np

    from dsbs_jax import cli
    from dsbs_jax.local import optimizers, partitioning, state, step
    from dsbs_jax.student.network import Transformer
    from dsbs_jax.weights import loading as weights

    cli.configure(
        [f"sizes/{options.size}.gin", "local/student.gin"],
        [
            f"ACTIVATION_DTYPE = {options.dtype!r}",
            f"REMAT = {options.remat}",
            f"SCAN_LAYERS = {options.scan}",
        ],
    )
    model = Transformer(weights.student_config())
    gin.clear_config()
    partitioner = partitioning.Partitioner(options.partitions)
    optimizer = optimizers.adamw(optimizers.linear_decay(5e-5, 10_000))
    abstract = state.abstract_state(model, optimizer, partitioner)
    batch = {
        name: jax.ShapeDtypeStruct(
            (options.rows, length), np.int32, sharding=partitioner.batch
        )
        for side, length in (("encoder", options.source), ("decoder", options.target))
        for name in (
            ["encoder_input_tokens"]
            if side == "encoder"
            else ["decoder_input_tokens", "decoder_target_tokens", "decoder_task_ids"]
        )
    }
    train_step = step.make_train_step(
        model, optimizer, partitioner, 0.5, options.microbatches
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    planned = train_step.lower(abstract, batch, key).compile().memory_analysis()
    count = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
    gib = 2**30
    held = planned.argument_size_in_bytes / gib
    more = planned.temp_size_in_bytes / gib
    print(
        f"| {options.size} | {count / 1e6:,.0f} M | {options.devices} x "
        f"{options.partitions} | {options.rows} x ({options.source} + "
        f"{options.target}) | {options.microbatches} | {options.dtype} | {held:.1f} | "
        f"{more:.1f} | {held + more:.1f} |"
    )


if __name__ == "__main__":
    chosen = parse()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={chosen.devices}"
    )
    main(chosen)
