"""The environment in which libtpu compiles without a TPU."""

import os

# libtpu would ask the metadata server of a TPU VM for the first three.
VARIABLES = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    # Compilation uses no device, so several processes may load libtpu.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # JAX would look for a TPU, because libtpu is installed.
    "JAX_PLATFORMS": "cpu",
}


def prepare() -> None:
    """Sets the variables that libtpu and JAX read when they are imported.

    A variable that is set keeps its value.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
