"""Measures the model FLOPs utilization of training and of labeling on one device.

    python benchmarks/mfu.py --size=base --rows=64
    python benchmarks/mfu.py --size=large --rows=64 --remat=dots --compile_for=h100

Runs training steps and greedy decoding of the local engine on random tokens, without
padding, and prints the milliseconds, the operations per second and their share of the
device's peak. The operations are those of `student/operations.py`: a forward and a
backward pass, without those that are computed again.

With `--compile_for`, nothing runs. The training step is compiled for a GPU that this
machine does not have, and the memory that it needs is printed. This needs JAX's plugin
for CUDA (extra `cuda`) and JAX_PLATFORMS=cpu.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import tabulate
from jax.experimental import topologies
from systems import training_step, workload

from dsbs_jax.local import state
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import decoding, operations, precision, sizes, stacked_layers

# TFLOP/s of dense products of bfloat16 numbers, from NVIDIA's data sheets, by the name
# that the driver gives a device. Variants with other peaks have other names.
PEAKS = {
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H200": 989.4,
    "NVIDIA L4": 121.0,
    "NVIDIA L40S": 362.1,
}
# What XLA must know of a GPU that is not present: the figures of NVIDIA's H100 SXM.
TARGETS = {
    "h100": """
        gpu_device_info {
          cuda_compute_capability { major: 9 }
          core_count: 132
          fpus_per_core: 128
          threads_per_warp: 32
          threads_per_block_limit: 1024
          threads_per_core_limit: 2048
          block_dim_limit_x: 2147483647
          block_dim_limit_y: 65535
          block_dim_limit_z: 65535
          shared_memory_per_block: 49152
          shared_memory_per_block_optin: 232448
          shared_memory_per_core: 233472
          registers_per_block_limit: 65536
          registers_per_core_limit: 65536
          l2_cache_size: 52428800
          clock_rate_ghz: 1.98
          memory_bandwidth: 3352320000000
          device_memory_size: 84929347584
        }
        platform_name: "CUDA"
        dnn_version_info { major: 9 }
        runtime_version { major: 12 minor: 9 }
        device_description_str: "NVIDIA H100 80GB HBM3"
    """
}


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--size", default="base", help="size of the student")
    add("--rows", type=int, default=64, help="rows of a batch: B")
    add("--source", type=int, default=128, help="source tokens of a row: S")
    add("--target", type=int, default=96, help="target tokens of a row: T")
    add("--decoded", type=int, default=16, help="tokens of a prediction")
    add("--microbatches", type=int, default=1, help="parts of a training batch")
    add("--precision", default="bfloat16", help="PRECISION")
    add("--remat", default="none", help="REMAT")
    add("--scan", action="store_true", help="SCAN_LAYERS")
    add("--runs", type=int, default=10, help="timed steps")
    add("--peak", type=float, help="TFLOP/s of the device, if it is not in the table")
    add(
        "--compile_for",
        choices=TARGETS,
        help="only compile the training step, for this GPU; --runs, --decoded and "
        "--peak have no effect",
    )
    return parser.parse_args()


def prepare(
    options: argparse.Namespace, partitioner: Partitioner
) -> training_step.TrainingStep:
    """Prepares the training step for given devices."""
    settings = {
        "PRECISION": options.precision,
        "REMAT": options.remat,
        "SCAN_LAYERS": options.scan,
    }
    return training_step.TrainingStep(
        options.size, settings, partitioner, microbatches=options.microbatches
    )


def seconds_of(run: Callable[[], Any], runs: int) -> float:
    """Returns the median seconds of a function, after a call that compiles it."""
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def compile_only(options: argparse.Namespace) -> None:
    """Compiles the training step for a GPU, and prints a row of a table."""
    target = topologies.get_topology_desc(
        "", "cuda", target_config=TARGETS[options.compile_for], topology="1x1x1"
    )
    with precision.for_platform("gpu"):
        training = prepare(options, Partitioner(1, list(target.devices)))
        program = training.compile(options.rows, options.source, options.target)
    held, temporary = training_step.memory_of(program)
    row = (
        *(options.compile_for, options.size, options.precision, options.remat),
        *(options.rows, held, temporary, held + temporary),
    )
    head = (
        *("compiled for", "size", "precision", "remat", "rows"),
        *("held, GiB", "temporary, GiB", "sum, GiB"),
    )
    print(tabulate.tabulate([row], head, tablefmt="github", floatfmt=".2f"))


def measure(options: argparse.Namespace) -> None:
    """Runs training and decoding on the first device, and prints a table."""
    device = jax.local_devices()[0]
    partitioner = Partitioner(1, [device])
    training = prepare(options, partitioner)
    key = jax.random.key(0)
    current = state.init_state(
        training.model, training.optimizer, training.abstract, key
    )
    rows = workload.random_rows(options.rows, options.source, options.target)
    batch = partitioner.put_batch(rows)

    def train() -> Any:
        nonlocal current
        current, metrics = training.run(current, batch, key)
        return metrics

    def decode() -> Any:
        tokens = batch["encoder_input_tokens"]
        return decoding.greedy(
            training.model, params, tokens, options.decoded, stop_at_eos=False
        )

    size = sizes.size_of(options.size)
    lengths = (options.source, options.target)
    results = [
        (
            "training",
            seconds_of(train, options.runs),
            operations.training_operations(size, *lengths),
        )
    ]
    # As the engine decodes: kernels in the type of the products.
    layers = stacked_layers.unstack(current.params)
    params = precision.round_factors(layers, training.model.config.types)
    del current, layers
    results.append(
        (
            "labeling",
            seconds_of(decode, options.runs),
            operations.forward_operations(size, options.source, options.decoded),
        )
    )
    peak = options.peak or PEAKS.get(device.device_kind)
    table = []
    for work, seconds, each in results:
        rate = options.rows * each / seconds / 1e12
        share = f"{100 * rate / peak:.1f} %" if peak else "peak unknown: --peak"
        table.append((work, 1e3 * seconds, options.rows / seconds, rate, share))
    print(f"{device.device_kind}, {options.size}, {options.precision}")
    head = ("work", "ms", "rows/s", "TFLOP/s", "MFU (of the bfloat16 peak)")
    print(tabulate.tabulate(table, head, tablefmt="github", floatfmt=".3f"))


if __name__ == "__main__":
    chosen = parse_options()
    compile_only(chosen) if chosen.compile_for else measure(chosen)
