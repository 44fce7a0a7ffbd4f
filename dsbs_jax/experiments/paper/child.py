"""Trains one run of a grid in a process that ends with the process of the grid.

    python -m dsbs_jax.experiments.paper.child --gin_file=sizes/tiny.gin …

The flags are those of `dsbs_jax.train`. If the grid's process is killed, this process
gets SIGTERM, so that it saves a checkpoint and frees the run folder for the next grid.
"""

import os
import runpy
import signal
import sys
import threading
import time

from dsbs_jax import malloc
from dsbs_jax.experiments.paper.planning import TRAIN_MODULE

# The process of the grid.
PARENT = "DSBS_JAX_GRID_PROCESS"
_PERIOD = 1.0  # seconds between two checks


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PERIOD)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Starts the watch, then the training command in this process."""
    malloc.keep_freed_memory()  # before the thread starts
    parent = os.environ.get(PARENT)
    if parent:
        watch = threading.Thread(target=_end_with, args=[int(parent)], daemon=True)
        watch.start()
    sys.argv[0] = TRAIN_MODULE
    runpy.run_module(TRAIN_MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
