"""Runs the cases of `tests/cases`: inputs that failed in version 0.1.

Each folder has the inputs, `why.md` with what was observed and expected, and `cmd`,
which exits with status 0 if the behaviour is right.
"""

import os
import pathlib
import subprocess
import sys

import pytest

CASES = pathlib.Path(__file__).parent / "cases"
NAMES = sorted(path.parent.name for path in CASES.glob("*/cmd"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_case(name):
    folders = [str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        ["bash", "cmd"],
        cwd=CASES / name,
        env={
            **os.environ,
            "PATH": os.pathsep.join(folders),
            "PYTHONPATH": str(CASES.parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_case_says_what_is_expected():
    assert NAMES
    for name in NAMES:
        assert "Expected:" in (CASES / name / "why.md").read_text()
