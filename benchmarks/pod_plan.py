"""Estimates what a run on T5X needs of a pod: memory per device, operations and time.

    python benchmarks/pod_plan.py --size=base --devices=4 --microbatches=4
    python benchmarks/pod_plan.py --size=xxl --devices=32 --partitions=8 --scalable \
      --parameter_dims=2 --rows=64 --steps=4000

Compiles the training step of `t5x.train` for the given number of virtual CPU devices,
with activations in bfloat16 and without creating weights, and prints a row of a table.

- Memory is XLA's plan for a CPU device, so it is an estimate for other devices.
- Operations are counted from shapes: 6 for each weight that a token is multiplied with
  (2 forward, 4 backward; embedding lookups count nothing), and 12 for each pair of
  positions that attention compares, times heads and head width. The recomputed layers
  of `--scalable` execute a third more, which is not counted.
- Time is operations / (devices x --peak x --utilisation), in hours. Nothing was
  measured on a pod.
"""

import argparse
import os

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
    add("--devices", type=int, default=4, help="virtual devices")
    add("--partitions", type=int, default=1, help="devices per copy of the student")
    add(
        "--parameter_dims",
        type=int,
        default=1,
        choices=(1, 2),
        help="2 shards parameters over the copies too",
    )
    add("--scalable", action="store_true", help="T5X's scanned network")
    add("--steps", type=int, default=10_000, help="steps of the run")
    add("--peak", type=float, default=275.0, help="TFLOP/s of a device; TPU v4: 275")
    add("--utilisation", type=float, default=0.4, help="share of --peak, 0 to 1")
    return parser.parse_args()


def step_flops(config: object, rows: int, source: int, target: int) -> float:
    """Counts the operations of one training step.

    Args:
        config: The dimensions, T5X's `T5Config`.
        rows: Rows of the batch, B.
        source: Source tokens of a row, S.
        target: Target tokens of a row, T.
    """
    encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
    joined = config.num_heads * config.head_dim
    # Weights of one layer's self-attention, of its MLP, and of the output.
    attention = 4 * config.emb_dim * joined
    mlp = (1 + len(config.mlp_activations)) * config.emb_dim * config.mlp_dim
    output = config.emb_dim * config.vocab_size
    # Cross-attention has the weights of self-attention: queries and output for target
    # tokens (half of them), keys and values for source tokens (the other half).
    products = source * (encoder * (attention + mlp) + decoder * attention // 2)
    products += target * (decoder * (attention + attention // 2 + mlp) + output)
    pairs = encoder * source**2 + decoder * (target**2 + target * source)
    return rows * (6 * products + 12 * pairs * joined)


def make_model(options: argparse.Namespace) -> object:
    """Creates the model from the gin files."""
    import gin

    from dsbs_jax import cli
    from dsbs_jax.pods import models

    files = [
        "t5x/student.gin",
        *(["t5x/scalable.gin"] if options.scalable else []),
        f"sizes/{options.size}.gin",
        "methods/step_by_step.gin",
        "datasets/cqa.gin",
    ]
    gin.add_config_file_search_path(str(cli.config_dir()))
    # The rows of the published vocabulary. A training step does not use the vocabulary
    # itself, so it is not downloaded.
    bindings = ["VOCAB_SIZE = 32_128", "VOCABULARY = None"]
    bindings.append("PRECISION = 'bfloat16'")
    gin.parse_config_files_and_bindings(files, bindings)
    return gin.get_configurable(models.DistillationModel)()


def abstract_batch(options: argparse.Namespace) -> dict:
    """Describes a batch: int32 features, encoder [B, S] and decoder [B, T]."""
    import jax

    names = ("input_tokens", "target_tokens", "loss_weights", "task_ids")
    lengths = {f"decoder_{name}": options.target for name in names}
    lengths["encoder_input_tokens"] = options.source
    return {
        name: jax.ShapeDtypeStruct((options.rows, length), "int32")
        for name, length in lengths.items()
    }


def make_partitioner(options: argparse.Namespace) -> object:
    """Creates T5X's mesh of the virtual devices."""
    from t5x import partitioning

    return partitioning.PjitPartitioner(
        num_partitions=None,
        # T5X arranges CPU devices as processes x devices of each process.
        model_parallel_submesh=(1, options.partitions),
        logical_axis_rules=partitioning.standard_logical_axis_rules(
            parameter_partitioning_dims=options.parameter_dims
        ),
    )


def main(options: argparse.Namespace) -> None:
    """Compiles one step and prints a row of a table."""
    import jax

    from dsbs_jax.local.config import OptimizerConfig
    from dsbs_jax.local.optimizers import make_schedule
    from dsbs_jax.pods import compiling

    model, partitioner = make_model(options), make_partitioner(options)
    schedule = make_schedule(OptimizerConfig(), options.steps)
    batch = abstract_batch(options)
    trainer, state = compiling.make_trainer(
        model, schedule, partitioner, batch, options.microbatches
    )
    compiled = partitioner.compile(trainer._partitioned_train_step, state, batch)
    trainer.close()
    plan, mesh = compiled.memory_analysis(), partitioner.mesh.shape
    held = plan.argument_size_in_bytes / GIB
    temporary = plan.temp_size_in_bytes / GIB
    weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    flops = step_flops(
        model.module.config, options.rows, options.source, options.target
    )
    rate = options.devices * options.peak * 1e12 * options.utilisation
    sharding = ", parameters over both" if options.parameter_dims == 2 else ""
    print(
        f"| {options.size} | {weights / 1e6:,.0f} M | "
        f"{mesh['data']} x {mesh['model']}{sharding} | "
        f"{options.rows} x ({options.source} + {options.target}) | "
        f"{options.microbatches} | {held:.1f} | {temporary:.1f} | "
        f"{held + temporary:.1f} | {flops / 1e12:,.1f} | {options.steps:,} | "
        f"{options.steps * flops / rate / 3600:.2f} |"
    )


if __name__ == "__main__":
    chosen = parse_options()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={chosen.devices}"
    )
    main(chosen)
