"""Keeps the memory that a process frees, which training on a CPU allocates again.

A training step allocates and frees its temporary arrays. By default glibc returns them
to the kernel, and the next step gets them back in page faults (benchmarks/README.md,
"Kept memory", has the cost).
"""

import ctypes
import importlib.util
import os
import sys

# Parameters of `mallopt` in glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_ARENA_MAX = -8
# Packages through which JAX finds GPUs (plugins) and TPUs.
_ACCELERATORS = ("jax_plugins", "libtpu")


def keep_freed_memory() -> None:
    """Sets up malloc for computation on the CPU; call it before threads start.

    The process then gets memory from one heap, which grows and never shrinks: large
    arrays have no mapping of their own, and threads have no heap of their own, which
    glibc would unmap as soon as it is empty.

    Does nothing where the user has chosen (`GLIBC_TUNABLES` is set), with another C
    library, or if JAX may compute on an accelerator, where the many threads that read
    the data need their own heaps.
    """
    if "GLIBC_TUNABLES" in os.environ or not _computes_on_cpu():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if _is_linux() else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # never
        mallopt(_ARENA_MAX, 1)


def _is_linux() -> bool:
    return sys.platform == "linux"


def _computes_on_cpu() -> bool:
    """Whether JAX will use the CPU, as far as one can say before JAX is imported."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms == "cpu"
    return not any(map(importlib.util.find_spec, _ACCELERATORS))
