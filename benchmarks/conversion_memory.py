"""Measures the memory and the time that converting and loading large weights takes.

    python benchmarks/conversion_memory.py --folder=/tmp

Writes random weights of the given size to the folder as sharded Hugging Face files,
converts them from format to format with `dsbs_jax.weights.convert`, and loads the last
checkpoint into a student; then removes everything. Each conversion is a process of its
own. Prints a row of a table for each: the formats, the size of the weights, the largest
anonymous memory of the process (without files that are mapped to memory), the same for
the smallest student, which is what Python and its libraries need, and seconds.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

MB = 1e6
POLL_SECONDS = 0.002
STACKED = ("--scan_layers",)
# Source, target and settings of each conversion, in their order.
CONVERSIONS = (
    ("hf", "t5x", ()),
    ("hf", "t5x_scanned", ("--format=t5x", *STACKED)),
    ("t5x", "hf_again", ("--format=hf", "--vocabulary_path=bytes")),
    ("t5x_scanned", "t5x_orbax", ("--format=t5x_orbax",)),
    ("t5x_scanned", "orbax_scanned", ("--format=t5x_orbax", *STACKED)),
)
LOAD = """
import sys
import jax
from flax import traverse_util
from dsbs_jax import weights

reader = weights.open_checkpoint(sys.argv[1])
device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
abstract = {
    name: jax.ShapeDtypeStruct(shape, "float32", sharding=device)
    for name, shape in reader.shapes().items()
}
params = weights.load_params(reader, traverse_util.unflatten_dict(abstract, sep="/"))
jax.block_until_ready(params)
"""


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--folder", type=pathlib.Path, required=True, help="a folder for the weights")
    add("--size", default="small", help="size of the student")
    add("--rows", type=int, default=32_128, help="rows of the embedding")
    add("--shard_megabytes", type=int, default=50, help="size of a Hugging Face file")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Prints a row of the table for each conversion, and one for loading."""
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        large, tiny = pathlib.Path(scratch, "large"), pathlib.Path(scratch, "tiny")
        size = write(large / "hf", options.size, options.rows, options.shard_megabytes)
        write(tiny / "hf", "micro", 384, options.shard_megabytes)
        for source, target, settings in CONVERSIONS:
            commands = [
                convert_command(folder, source, target, settings, options)
                for folder in (large, tiny)
            ]
            print_row(f"{source} → {target}", size, commands)
        commands = [
            [sys.executable, "-c", LOAD, str(folder / "t5x_scanned")]
            for folder in (large, tiny)
        ]
        print_row("t5x_scanned → arrays of JAX", size, commands)


def write(folder: pathlib.Path, size: str, rows: int, shard_megabytes: int) -> int:
    """Writes random weights of a size, and returns their size in bytes."""
    import numpy as np

    from dsbs_jax.settings import settings_of
    from dsbs_jax.student.config import T5Config
    from dsbs_jax.student.network import parameter_shapes
    from dsbs_jax.student.sizes import size_of
    from dsbs_jax.weights import huggingface_reader

    macros = {**size_of(size), "VOCAB_SIZE": rows}
    fields = {info.macro: info.field for info in settings_of(T5Config)}
    config = T5Config(**{fields[name]: value for name, value in macros.items()})
    source = np.random.default_rng(0)
    params = {
        name: source.standard_normal(shape, np.float32)
        for name, shape in parameter_shapes(config).items()
    }
    folder.mkdir(parents=True)
    shard_bytes = round(shard_megabytes * MB)
    huggingface_reader.write_model(folder, params, config, shard_bytes)
    return sum(array.nbytes for array in params.values())


def convert_command(
    folder: pathlib.Path,
    source: str,
    target: str,
    settings: tuple[str, ...],
    options: argparse.Namespace,
) -> list[str]:
    """Returns the command of one conversion."""
    return [
        *(sys.executable, "-m", "dsbs_jax.weights.convert"),
        *(f"--checkpoint_path={folder / source}", f"--output_dir={folder / target}"),
        *(settings or (f"--format={target}",)),
        f"--shard_megabytes={options.shard_megabytes}",
    ]


def print_row(name: str, size: int, commands: list[list[str]]) -> None:
    """Runs the commands for the large and the smallest student."""
    (peak, seconds), (least, _) = map(measure, commands)
    print(
        f"| {name} | {size / MB:,.0f} MB | {peak / MB:,.0f} MB | {least / MB:,.0f} MB "
        f"| {seconds:.0f} s |",
        flush=True,
    )


def measure(command: list[str]) -> tuple[int, float]:
    """Runs a command; returns its peak anonymous memory in bytes (Linux) and seconds.

    Pages of files that are mapped to memory do not count: the system drops them when
    another process needs memory.
    """
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
        status = pathlib.Path(f"/proc/{child.pid}/status")
        while child.poll() is None:
            match = re.search(r"RssAnon:\s*([0-9]+) kB", status.read_text())
            peak = max(peak, int(match[1]) * 1024 if match else 0)
            time.sleep(POLL_SECONDS)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return peak, time.monotonic() - start


if __name__ == "__main__":
    main(parse_options())
