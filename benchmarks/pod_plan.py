"""What a run on T5X needs of a pod: memory of a device, operations, time.

    python benchmarks/pod_plan.py --size=base --devices=4 --microbatches=4
    python benchmarks/pod_plan.py --size=xxl --devices=32 --partitions=8 --scalable \
      --parameter_dims=2 --rows=64 --steps=4000

Compiles the training step that `t5x.train` runs, for that many virtual CPU devices,
with activations in bfloat16 and without a weight being made, and prints a line of a
table. Memory is what XLA plans for a CPU device, so an estimate for others. Operations
are counted from shapes: 6 for each weight that a token meets (2 forward, 4 backward;
embeddings look up and count nothing), 12 for each pair of positions, head and head
width that attention compares; with layers computed again (`--scalable`), a third more
is executed and not counted. Time is operations / (devices x --peak x --utilisation), an
estimate: nothing was measured on a pod.
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
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=1, help="devices a student")
    parser.add_argument("--parameter_dims", type=int, default=1, choices=(1, 2))
    parser.add_argument("--scalable", action="store_true", help="the scanned network")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--peak", type=float, default=275.0, help="TFLOP/s; v4: 275")
    parser.add_argument("--utilisation", type=float, default=0.4)
    return parser.parse_args()


def operations(config: object, rows: int, source: int, target: int) -> float:
    """Operations of one training step, from the student's shape.

    Args:
        config: T5X's `T5Config`.
        rows: B.
        source: S.
        target: T.
    """
    attention = 4 * config.emb_dim * config.num_heads * config.head_dim
    mlp = (1 + len(config.mlp_activations)) * config.emb_dim * config.mlp_dim
    head = config.emb_dim * config.vocab_size
    encoder, decoder = config.num_encoder_layers, config.num_decoder_layers
    # Keys and values of the decoder's second attention are made of source tokens.
    weights = source * (encoder * (attention + mlp) + decoder * attention // 2)
    weights += target * (decoder * (attention * 3 // 2 + mlp) + head)
    pairs = encoder * source**2 + decoder * (target**2 + target * source)
    return rows * (6 * weights + 12 * pairs * config.num_heads * config.head_dim)


def make_model(options: argparse.Namespace) -> object:
    """The model as gin binds it."""
    import gin

    from dsbs_jax import cli
    from dsbs_jax.pods import models

    files = ["t5x/student.gin", f"sizes/{options.size}.gin", "methods/step_by_step.gin"]
    files[1:1] = ["t5x/scalable.gin"] if options.scalable else []
    gin.add_config_file_search_path(str(cli.config_dir()))
    gin.parse_config_files_and_bindings(files, ["ACTIVATION_DTYPE = 'bfloat16'"])
    return gin.get_configurable(models.DistillationModel)()


def make_trainer(model: object, options: argparse.Namespace) -> tuple:
    """The trainer, the abstract state and the abstract batch of a run."""
    import jax
    from t5x import partitioning, utils

    from dsbs_jax.local import optimizers as schedules
    from dsbs_jax.pods import trainer

    names = ("input_tokens", "target_tokens", "loss_weights", "task_ids")
    lengths = {f"decoder_{name}": options.target for name in names}
    lengths["encoder_input_tokens"] = options.source
    batch = {
        name: jax.ShapeDtypeStruct((options.rows, length), "int32")
        for name, length in lengths.items()
    }
    partitioner = partitioning.PjitPartitioner(
        num_partitions=None,
        # Of virtual devices, as of all CPUs: processes x devices of each.
        model_parallel_submesh=(1, options.partitions),
        logical_axis_rules=partitioning.standard_logical_axis_rules(
            parameter_partitioning_dims=options.parameter_dims
        ),
    )
    initializer = utils.TrainStateInitializer(
        model.optimizer_def,
        model.get_initial_variables,
        {name: leaf.shape for name, leaf in batch.items()},
        partitioner,
    )
    state = initializer.global_train_state_shape
    made = trainer.Trainer(
        model=model,
        train_state=state,
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=initializer.train_state_axes,
        rng=jax.random.PRNGKey(0),
        learning_rate_fn=schedules.linear_decay(5e-5, options.steps),
        num_microbatches=options.microbatches,
    )
    return made, state, batch


def main(options: argparse.Namespace) -> None:
    """Compiles one step and prints a line of a table."""
    import jax

    model = make_model(options)
    made, state, batch = make_trainer(model, options)
    compiled = made._partitioner.compile(made._partitioned_train_step, state, batch)
    planned = compiled.memory_analysis()
    made.close()
    gib = 2**30
    held = planned.argument_size_in_bytes / gib
    more = planned.temp_size_in_bytes / gib
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    flops = operations(
        model.module.config, options.rows, options.source, options.target
    )
    rate = options.devices * options.peak * 1e12 * options.utilisation
    mesh = made._partitioner.mesh.shape
    print(
        f"| {options.size} | {count / 1e6:,.0f} M | {mesh['data']} x {mesh['model']}"
        f"{', parameters over both' if options.parameter_dims == 2 else ''} | "
        f"{options.rows} x ({options.source} + {options.target}) | "
        f"{options.microbatches} | {held:.1f} | {more:.1f} | {held + more:.1f} | "
        f"{flops / 1e12:,.1f} | {options.steps:,} | "
        f"{options.steps * flops / rate / 3600:.2f} |"
    )


if __name__ == "__main__":
    chosen = parse()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} "
        f"--xla_force_host_platform_device_count={chosen.devices}"
    )
    main(chosen)
