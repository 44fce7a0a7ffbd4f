"""Starts the extraction command in a process of its own, for tests that stop it."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(bindings, output=subprocess.PIPE):
    """Starts the command with gin bindings; both of its outputs go to one place."""
    arguments = [f"--gin.{b.replace(' = ', '=', 1)}" for b in bindings]
    module = [sys.executable, "-m", "dsbs_jax.teacher.extract"]
    return subprocess.Popen(
        [*module, "--gin_file=teacher/extract.gin", *arguments],
        env=ENVIRONMENT,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )
