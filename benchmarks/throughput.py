r"""Compares training and labelling speed with a PyTorch loop and with T5X.

    python benchmarks/throughput.py --release=datasets.zip
    python benchmarks/throughput.py --release=datasets.zip --work=label --forced

A quick check that everything runs, without meaningful numbers:

    python benchmarks/throughput.py --release=datasets.zip --size=tiny --pairs=2 \
      --batches=1 --runs=1

Each run is a separate process, and the systems take turns. The tables show medians of
pairs (or examples) per second, their spread, and the ratio of the medians. All systems
get the same CommonsenseQA rows, token ids, T5 v1.1 size and pairs per batch, in float32
on a CPU.

- The PyTorch loop is what people write with Transformers (extra `hf`): for each batch
  one forward pass over label rows and one over rationale rows, each padded to its
  longest row, `alpha` between their losses, clipped AdamW, dropout 0.1. It labels rows
  in their order or, like this project and T5X here, sorted by length.
- T5X runs if it is installed: its own step and network with this project's objective,
  over rows padded to the longest of all, because its shapes are fixed.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from systems import workload

# As launch/run.sh sets it: 2 MiB pages of memory, and freed memory is kept.
MALLOC = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0"
    ":glibc.malloc.trim_threshold=17179869184"
}
# The systems by kind of work, with the environment variables of their processes.
SYSTEMS: dict[str, dict[str, dict[str, str]]] = {
    "train": {
        "dsbs_jax": MALLOC,
        "dsbs_jax mixed": MALLOC,
        "dsbs_jax, rows not merged": MALLOC,
        "pytorch": {},
        "pytorch, malloc.sh": MALLOC,
        "pytorch bfloat16 autocast": {},
        "pytorch bfloat16 autocast, malloc.sh": MALLOC,
        "t5x": MALLOC,
    },
    "label": {
        "dsbs_jax": MALLOC,
        "dsbs_jax mixed": MALLOC,
        "pytorch": {},
        "pytorch, sorted": {},
        "pytorch, sorted, malloc.sh": MALLOC,
        "t5x": MALLOC,
    },
}
# The module of each system, by the first word of its name.
MODULES = {
    "dsbs_jax": "systems.local_engine",
    "pytorch": "systems.pytorch_loop",
    "t5x": "systems.t5x_engine",
}


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--release", required=True, help="the authors' data: datasets.zip or a folder")
    add("--work", default="train", choices=("train", "label"), help="what to measure")
    add("--size", default="small", choices=workload.SHAPES, help="student size")
    add("--pairs", type=int, default=16, help="pairs per batch")
    add("--batches", type=int, default=6, help="timed batches of each run")
    add("--runs", type=int, default=3, help="runs of each system")
    add("--forced", action="store_true", help="label: always decode 64 tokens")
    add("--weights", default="", help="label: Hugging Face folder with the weights")
    add("--vocabulary", default="", help="SentencePiece file of the weights")
    add("--examples", type=int, default=0, help="label: number of rows, 0 is all")
    add("--run", help=argparse.SUPPRESS)
    add("--data", help=argparse.SUPPRESS)
    return parser.parse_args()


def run_one(options: argparse.Namespace) -> None:
    """Runs one system in a child process and prints its result as a line of JSON."""
    batches = json.loads(pathlib.Path(options.data).read_text())
    system = options.run.partition(" ")[0].strip(",")
    start = time.perf_counter()
    # Imported here, because a process should import only what its system needs.
    module = importlib.import_module(MODULES[system])
    import_seconds = time.perf_counter() - start
    result = getattr(module, options.work)(options, batches)
    if options.work == "train":
        # The time to the first step includes imports, the time to the first pass not.
        result["first"] += import_seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(result | {"peak": peak / 2**20}))


def compared_systems(work: str) -> list[str]:
    """Lists the systems to compare; T5X only if it is installed."""
    missing = set() if importlib.util.find_spec("t5x") else {"t5x"}
    return [system for system in SYSTEMS[work] if system not in missing]


def run_in_turns(options: argparse.Namespace) -> dict[str, list[dict]]:
    """Runs every system `--runs` times, alternating, and returns their results."""
    systems = compared_systems(options.work)
    results: dict[str, list[dict]] = {system: [] for system in systems}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "batches.json"
        data.write_text(json.dumps(workload.make_batches(options)))
        for number in range(options.runs):
            for system in systems:
                child = subprocess.run(
                    [sys.executable, *sys.argv, "--run", system, "--data", data],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | SYSTEMS[options.work][system],
                )
                result = json.loads(child.stdout.splitlines()[-1])
                results[system].append(result)
                rate = result["rate"]
                print(f"run {number + 1} {system}: {rate:.2f}/s", file=sys.stderr)
    return results


def print_table(results: dict[str, list[dict]], work: str) -> None:
    """Prints a row for each system."""
    unit, first = ("pairs/s", "step") if work == "train" else ("examples/s", "pass")
    print(f"| system | {unit}, median (runs) | peak GiB | first {first}, s |")
    print("| --- | --- | --- | --- |")
    for system, runs in results.items():
        rates = sorted(run["rate"] for run in runs)
        peak = max(run["peak"] for run in runs)
        seconds = statistics.median(run["first"] for run in runs)
        print(
            f"| {system} | {statistics.median(rates):.2f} "
            f"({rates[0]:.2f}–{rates[-1]:.2f}) | {peak:.1f} | {seconds:.0f} |"
        )


def print_ratios(results: dict[str, list[dict]]) -> None:
    """Prints how many times as fast this project is as each other system."""
    medians = {
        system: statistics.median(run["rate"] for run in runs)
        for system, runs in results.items()
    }
    for system in [s for s in results if s != "dsbs_jax"]:
        print(f"dsbs_jax : {system} = {medians['dsbs_jax'] / medians[system]:.2f}")


def print_operations(system: str, result: dict, work: str) -> None:
    """Compares a system's operations per second with a matrix product's of its type."""
    unit = "pairs/s" if work == "train" else "examples/s"
    flops, product = result["flops"], result["matrix_product"]
    print(
        f"{system}: model operations {flops / 1e9:.0f} GFLOP/s, matrix product "
        f"{product / 1e9:.0f} GFLOP/s: {100 * flops / product:.0f} %; "
        f"at its rate {result['rate'] * product / flops:.1f} {unit}"
    )
    if "tokens" in result:
        print(f"{system}: tokens of a prediction, mean {result['tokens']:.1f}")


def print_differences(results: dict[str, list[dict]]) -> None:
    """Compares the answers in mixed precision with those in float32."""
    float32, mixed = (
        results[system][-1]["answers"] for system in ("dsbs_jax", "dsbs_jax mixed")
    )
    different = [
        i
        for i, pair in enumerate(zip(float32, mixed, strict=True))
        if pair[0] != pair[1]
    ]
    equal = len(float32) - len(different)
    print(
        f"answers of mixed precision that equal those of float32: {equal} of "
        f"{len(float32)}, {100 * equal / len(float32):.2f} %"
    )
    for i in different:
        print(f"row {i}: token ids {float32[i]} in float32, {mixed[i]} in mixed")


def main(options: argparse.Namespace) -> None:
    """Compares the systems and prints the tables."""
    results = run_in_turns(options)
    print_table(results, options.work)
    print()
    print_ratios(results)
    for system in ("dsbs_jax", "dsbs_jax mixed"):
        print_operations(system, results[system][-1], options.work)
    if options.work == "label":
        print_differences(results)


if __name__ == "__main__":
    chosen = parse_options()
    run_one(chosen) if chosen.run else main(chosen)
