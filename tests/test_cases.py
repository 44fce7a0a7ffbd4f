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
# These train several students one after another. Shorter tests of the same behavior
# run for every commit.
LONG = {
    "19-fewer-steps-than-done",
    "20-other-data-on-resume",
    "21-other-optimizer-on-resume",
    "22-two-runs-one-folder",
    "24-settings-of-another-type",
    "28-student-without-its-data",
    "30-output-not-writable-found-at-the-end",
    "31-gold-label-overwritten",
    "37-rows-counted-up-to-20000",
    "39-mt5-folder",
    "72-infer-from-a-damaged-checkpoint",
    "73-older-checkpoint-damaged",
    "75-disk-fills-while-training",
    "76-gin-file-runs-a-command",
    "92-other-method-same-folder",
    "99-unlabeled-train-labeled-validation",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.scheduled if name in LONG else ())
        for name in NAMES
    ],
)
def test_case(name):
    folders = [str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    # As in a user's shell, where output to a file is written in blocks.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "cmd"],
        cwd=CASES / name,
        env={
            **inherited,
            "PATH": os.pathsep.join(folders),
            "PYTHONPATH": str(CASES.parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_case_says_what_is_expected():
    assert set(NAMES) > LONG
    for name in NAMES:
        assert "Expected:" in (CASES / name / "why.md").read_text()
