"""Freed memory that a process keeps."""

import os
import subprocess
import sys

import pytest

from dsbs_jax import malloc

# A step of training in small: a thread, as those of XLA, allocates and frees arrays.
PROGRAM = """
import concurrent.futures, resource, sys
from dsbs_jax import malloc
malloc.keep_freed_memory()
import numpy as np

def step():
    for size in (100_000, 3_000_000, 20_000_000):
        np.ones(size)

with concurrent.futures.ThreadPoolExecutor(1) as pool:
    pool.submit(step).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        pool.submit(step).result()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**environment):
    kept = {n: v for n, v in os.environ.items() if n != "GLIBC_TUNABLES"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


@pytest.mark.parametrize(
    ("platforms", "packages", "expected"),
    [
        ("cpu", {"libtpu"}, True),
        ("cuda,cpu", set(), False),
        (None, set(), True),
        (None, {"libtpu"}, False),
        (None, {"jax_plugins"}, False),
    ],
)
def test_accelerators_are_found_without_jax(monkeypatch, platforms, packages, expected):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if platforms:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    found = {name: name if name in packages else None for name in malloc._ACCELERATORS}
    monkeypatch.setattr(malloc.importlib.util, "find_spec", found.get)
    assert malloc._computes_on_cpu() is expected


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is set up on Linux only")
def test_freed_memory_is_allocated_again_without_page_faults():
    # 185 MB in each of five steps are 225,000 pages of 4 KiB, or 440 of 2 MiB.
    assert page_faults() < 100


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is set up on Linux only")
@pytest.mark.parametrize(
    "environment",
    [{"GLIBC_TUNABLES": ""}, {"JAX_PLATFORMS": "cuda,cpu"}],
    ids=["user's choice", "accelerator"],
)
def test_malloc_is_left_unchanged(environment):
    assert page_faults(**environment) > 400
