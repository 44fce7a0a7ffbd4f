"""Tests of launch/local_pod.sh: connected processes of t5x.train on one machine."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax import cli  # noqa: E402
from support import recorded_steps  # noqa: E402

pytestmark = pytest.mark.slow
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "launch/local_pod.sh"
RECORDING = pathlib.Path(recorded_steps.__file__).with_suffix(".gin")
RUN = {"TRAIN_STEPS": 12, "EVAL_PERIOD": 3, "NUM_MICROBATCHES": 2, "RANDOM_SEED": 2}


@pytest.fixture(scope="module")
def start_pod(pod_settings, tmp_path_factory):
    """Starts the script: (model_dir, processes, devices, submesh)."""
    started = []

    def start(model_dir, processes, devices, submesh):
        files, bindings = pod_settings(
            MODEL_DIR=str(model_dir), MODEL_PARALLEL_SUBMESH=submesh, **RUN
        )
        arguments = [
            f"--gin_search_paths={cli.config_dir()}",
            *(f"--gin_file={file}" for file in [*files, RECORDING]),
            *(f"--gin.{binding.replace(' = ', '=', 1)}" for binding in bindings),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PROCESSES": str(processes),
            "DEVICES": str(devices),
            "PYTHON": sys.executable,
            "LOGS": str(tmp_path_factory.mktemp("logs")),
        }
        pod = subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(pod)
        return pod, pathlib.Path(environment["LOGS"])

    yield start
    for pod in started:
        if pod.poll() is None:
            pod.terminate()
            pod.wait()


@pytest.fixture(scope="module")
def finish(start_pod):
    """Runs the script until it ends; takes the arguments of `start_pod`."""

    def run(*arguments):
        pod, logs = start_pod(*arguments)
        out, err = pod.communicate(timeout=500)
        tails = [path.read_text()[-2000:] for path in sorted(logs.glob("*.log"))]
        assert pod.returncode == 0, (out, err, tails)
        return logs

    return run


@pytest.fixture(scope="module")
def single_process(finish, tmp_path_factory):
    """Runs one process with one device and returns its run folder."""
    folder = tmp_path_factory.mktemp("single")
    finish(folder, 1, 1, (1, 1))
    return folder


def assert_same_losses(scalars, folder, expected):
    for name in ("loss", "label_loss", "rationale_loss"):
        losses, wanted = (scalars(f / "train")[name] for f in (folder, expected))
        assert losses and losses.keys() <= wanted.keys() == set(range(1, 13))
        np.testing.assert_allclose(
            list(losses.values()), [wanted[step] for step in losses], atol=1e-4, rtol=0
        )


def assert_same_examples(folder, expected):
    """Compares the rows of each step, which all processes together recorded."""
    steps = recorded_steps.examples_of_steps(expected)
    assert sorted(steps) == list(range(1, 13))
    assert all([n for n, _ in rows] == list(range(16)) for rows in steps.values())
    assert recorded_steps.examples_of_steps(folder) == steps


@pytest.mark.parametrize(
    ("processes", "devices", "submesh", "mesh"),
    [
        (2, 2, (1, 1), (4, 1)),
        (2, 2, (1, 2), (2, 2)),
        (2, 1, (2, 1), (1, 2)),
        (4, 1, (1, 1), (4, 1)),
        (4, 1, (2, 1), (2, 2)),
    ],
    ids=["2x2-data", "2x2-both", "2x1-model", "4x1-data", "4x1-both"],
)
def test_losses_match_those_of_one_process(
    finish, single_process, scalars, tmp_path, processes, devices, submesh, mesh
):
    logs = finish(tmp_path, processes, devices, submesh)
    outputs = [path.read_text() for path in logs.glob("*.log")]
    assert len(outputs) == processes
    assert all(f"global_mesh devices shape: {mesh}" in text for text in outputs)
    assert_same_losses(scalars, tmp_path, single_process)
    assert_same_examples(tmp_path, single_process)
    metrics = "inference_eval/tiny_predict-metrics.jsonl"
    assert (tmp_path / metrics).read_text() == (single_process / metrics).read_text()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(path, pod):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert pod.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def read_pids(pod, processes):
    lines = [pod.stdout.readline() for _ in range(processes)]
    return [int(re.search(r"pid (\d+),", line)[1]) for line in lines]


def test_a_killed_process_stops_the_job_which_resumes_when_restarted(
    start_pod, finish, single_process, scalars, tmp_path
):
    pod, _ = start_pod(tmp_path, 2, 1, (1, 1))
    pids = read_pids(pod, 2)
    wait_for(tmp_path / "checkpoint_3", pod)
    os.kill(pids[1], signal.SIGKILL)
    _, err = pod.communicate(timeout=30)
    assert pod.returncode == 1
    assert f"error: pid {pids[1]} failed" in err and "stopping all processes" in err
    assert not any(map(alive, pids))
    assert not (tmp_path / "checkpoint_12").exists()
    finish(tmp_path, 2, 1, (1, 1))
    assert (tmp_path / "checkpoint_12").exists()
    assert_same_losses(scalars, tmp_path, single_process)


def step_saved_after_sigterm(pod, logs, pids):
    """Waits for the end of a stopped pod; returns the step that all processes saved."""
    _, err = pod.communicate(timeout=100)
    outputs = [path.read_text() for path in sorted(logs.glob("*.log"))]
    assert pod.returncode == 143, (err, [text[-2000:] for text in outputs])
    assert "run the same command to resume" in err and "error" not in err
    assert not any(map(alive, pids))
    found = [
        re.findall(r"^SIGTERM: saving a checkpoint after step (\d+);", text, re.M)
        for text in outputs
    ]
    assert len(pids) == len(found) and all(steps == found[0] for steps in found)
    assert not any("Traceback" in text for text in outputs)
    (step,) = found[0]
    return int(step)


def test_sigterm_to_one_process_saves_a_step_between_periodic_checkpoints(
    start_pod, finish, single_process, scalars, tmp_path
):
    pod, logs = start_pod(tmp_path, 2, 1, (1, 1))
    pids = read_pids(pod, 2)
    wait_for(tmp_path / "checkpoint_3", pod)
    os.kill(pids[1], signal.SIGTERM)
    stopped = step_saved_after_sigterm(pod, logs, pids)
    assert stopped % RUN["EVAL_PERIOD"]
    assert (tmp_path / f"checkpoint_{stopped}").exists()
    finish(tmp_path, 2, 1, (1, 1))
    assert (tmp_path / "checkpoint_12").exists()
    assert_same_losses(scalars, tmp_path, single_process)
    # The losses since the last LOG_PERIOD, here 1, are not written.
    assert set(scalars(tmp_path / "train")["loss"]) == {*range(1, 13)} - {stopped}


def test_a_run_of_4_processes_resumes_with_2_and_then_with_1(
    start_pod, finish, single_process, scalars, tmp_path
):
    """Each example is fed at the same step as by one process, and only once."""
    stops = [0]
    for processes in (4, 2):
        pod, logs = start_pod(tmp_path, processes, 1, (1, 1))
        pids = read_pids(pod, processes)
        wait_for(tmp_path / f"checkpoint_{stops[-1] + RUN['EVAL_PERIOD']}", pod)
        pod.terminate()
        stops.append(step_saved_after_sigterm(pod, logs, pids))
    finish(tmp_path, 1, 1, (1, 1))
    assert (tmp_path / "checkpoint_12").exists()
    assert_same_losses(scalars, tmp_path, single_process)
    assert_same_examples(tmp_path, single_process)
    assert set(scalars(tmp_path / "train")["loss"]) == {*range(1, 13)} - {*stops}
