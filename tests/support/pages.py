"""Commands and Python code of the documentation, to run as a reader does."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def section(page, heading):
    """Returns the text of a page below a heading, up to the next one of its level."""
    level = heading.split()[0]
    rest = page.partition(f"{heading}\n")[2]
    assert rest, f"no heading {heading!r}"
    return re.split(rf"^{level} ", rest, flags=re.MULTILINE)[0]


def commands(page):
    """Returns each command line and each block of Python code, as (language, text)."""
    found = []
    for language, block in _BLOCK.findall(page):
        if language == "bash":
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            found += [("bash", line) for line in lines]
        else:
            found.append(("python", block))
    return found


class Shell:
    """Runs commands in a folder, with the environment of these tests activated.

    Attributes:
        folder: The working folder.
        variables: The environment variables.
    """

    def __init__(self, folder, *, optimized=False, **variables):
        """Takes the folder and further environment variables.

        Complete trainings need XLA's optimizations, which conftest.py turns off.
        """
        self.folder = folder
        binaries = pathlib.Path(sys.executable).parent
        self.variables = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            # The commands share compiled programs.
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            **variables,
        }
        if optimized:
            self.variables.pop("XLA_FLAGS", None)

    def start(self, language, text):
        """Starts a command line or Python code, and returns the process."""
        program = ["bash", "-c"] if language == "bash" else [sys.executable, "-c"]
        return subprocess.Popen(
            [*program, text],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, language, text):
        """Runs a command line or Python code, and returns what it prints."""
        process = self.start(language, text)
        printed, _ = process.communicate(timeout=1200)
        assert process.returncode == 0, f"{text}\n{printed}"
        return printed
