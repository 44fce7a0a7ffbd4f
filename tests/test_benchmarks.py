"""The benchmarks run. Their numbers are not tested."""

import pathlib
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.mark.scheduled
@pytest.mark.parametrize("work", ["train", "label"])
def test_throughput_compares_all_systems(work, release_dir, tiny_vocabulary):
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    command = [
        *(sys.executable, BENCHMARKS / "throughput.py", f"--work={work}"),
        *("--size=tiny", "--pairs=2", "--batches=1", "--runs=1", "--examples=4"),
        *(f"--release={release_dir}", f"--vocabulary={tiny_vocabulary}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    systems = [line.split(" | ")[0] for line in done.stdout.splitlines()]
    for system in ("| dsbs_jax", "| dsbs_jax mixed", "| pytorch"):
        assert system in systems, done.stdout
