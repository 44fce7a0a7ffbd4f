"""Runs that are stopped, killed, damaged or going wrong.

More random moments than the suite's five, with a log:

    DSBS_KILLS=50 python -m pytest tests/test_resume.py -k killed -s
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import gin
import jax
import numpy as np
import pytest

from dsbs_jax import cli, weights
from dsbs_jax.errors import UserError
from dsbs_jax.local import checkpoints, datasets, evaluation, loop, stopping
from dsbs_jax.weights.huggingface_names import EMBEDDING

ROOT = pathlib.Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("DSBS_KILLS", "5"))
RUN = {"TRAIN_STEPS": 30, "EVAL_PERIOD": 10, "LOG_PERIOD": 5}


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


@pytest.fixture
def train(tiny_settings):
    def train(folder, **macros):
        files, bindings = tiny_settings(MODEL_DIR=str(folder), **{**RUN, **macros})
        cli.configure(files, bindings)
        return loop.train()

    return train


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    """A run that was never stopped, and what it says of itself."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    files, bindings = tiny_settings(MODEL_DIR=str(folder), **RUN)
    cli.configure(files, bindings)
    results = loop.train()
    gin.clear_config()
    return folder, {**results, "seconds": 0}


def assert_same_run(folder, whole):
    """Parameters, optimiser state, scores and predictions, bit for bit."""
    expected, results = whole
    found = json.loads((folder / "results.json").read_text())
    assert {**found, "seconds": 0} == results
    states = []
    for path in (expected, folder):
        saved = checkpoints.Checkpoints(path / "checkpoints")
        states.append(dict(saved._manager.restore(saved.last).items()))
        saved.close()
    assert len(jax.tree.leaves(states[0])) > 20
    jax.tree.map(np.testing.assert_array_equal, *states)
    for path in (expected / "predictions").iterdir():
        assert (folder / "predictions" / path.name).read_bytes() == path.read_bytes()


def ask_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_between_steps(train, whole, tmp_path, monkeypatch):
    make = datasets.training_batches

    def batches(*args, **kwargs):
        for number, batch in enumerate(make(*args, **kwargs), 1):
            if number == 13:
                ask_to_stop()
            yield batch

    monkeypatch.setattr(datasets, "training_batches", batches)
    with pytest.raises(stopping.Terminated):
        train(tmp_path / "run")
    saved = checkpoints.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.last == 13 and not saved.is_scored(13)
    monkeypatch.undo()
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_sigterm_in_an_evaluation(train, whole, tmp_path, monkeypatch):
    score = evaluation.Scorer.__call__

    def asked(self, *args):
        ask_to_stop()
        return score(self, *args)

    monkeypatch.setattr(evaluation.Scorer, "__call__", asked)
    with pytest.raises(stopping.Terminated):
        train(tmp_path / "run")
    saved = checkpoints.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.last == 10 and not saved.is_scored(10)
    monkeypatch.undo()
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_damaged_checkpoint_costs_the_steps_behind_the_one_before(
    train, whole, tmp_path, capsys
):
    train(tmp_path / "run", TRAIN_STEPS=30)
    last = tmp_path / "run/checkpoints/checkpoint_30"
    for path in last.glob("progress/d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "run/results.json").unlink()
    capsys.readouterr()
    train(tmp_path / "run")
    said = capsys.readouterr().out
    assert "checkpoint_30 is damaged (progress/d/" in said
    assert "Going on from step 20" in said
    assert_same_run(tmp_path / "run", whole)


def test_run_without_a_whole_checkpoint_begins_as_it_began(train, whole, tmp_path):
    macros = {"INITIAL_CHECKPOINT_PATH": str(whole[0]), "TRAIN_STEPS": 4}
    first = train(tmp_path / "run", **macros)
    for path in (tmp_path / "run/checkpoints").glob("checkpoint_*/params/_METADATA"):
        path.unlink()
    again = train(tmp_path / "run", **macros)
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert (tmp_path / "run/checkpoints/damaged_checkpoint_4").is_dir()
    start, end = (
        weights.open_checkpoint(str(path)).read(EMBEDDING)
        for path in (whole[0], tmp_path / "run")
    )
    # Four steps from there, not from random weights.
    assert 0 < np.abs(end - start).max() < 0.05


def test_infinite_loss_names_the_step_and_saves_its_batch(train, tmp_path):
    with pytest.raises(UserError, match=r"loss of step \d+ is (nan|inf); its batch is"):
        train(tmp_path / "run", LEARNING_RATE=1e30)
    lines = (tmp_path / "run/bad_batch.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 16
    assert all(
        row["encoder_input_tokens_text"].startswith(("predict: Jar", "explain: Jar"))
        for row in rows
    )
    assert {row["task_id"] for row in rows} == {1, 2}
    assert not (tmp_path / "run/results.json").exists()


def test_run_that_gets_no_better_stops_where_asked(train, tmp_path, capsys):
    results = train(tmp_path / "run", LEARNING_RATE=0.0, PATIENCE=2, TRAIN_STEPS=90)
    assert results["steps"] == 30 and results["last"]["step"] == 30
    assert "step 30: no better for 2 evaluations" in capsys.readouterr().out
    again = train(tmp_path / "run", LEARNING_RATE=0.0, PATIENCE=2, TRAIN_STEPS=90)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


# Imports once; each run is a fork, which begins at its first line of work.
ZYGOTE = """
import json, os, sys
from dsbs_jax import cli
cli.quiet_tensorflow()
from dsbs_jax.local import loop
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        cli.configure(job["files"], job["bindings"])
        loop.train()
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runs:
    """Processes that train, and are killed where asked."""

    def __init__(self, tiny_settings, folder):
        self.settings, self.log = tiny_settings, folder / "log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder, kill_after=None):
        """Trains; returns the status, and the seconds that it took."""
        files, bindings = self.settings(MODEL_DIR=str(folder), **RUN)
        job = {"files": files, "bindings": bindings, "log": str(self.log)}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            # Until it is waited for, a child that has ended still has its number.
            if not pathlib.Path(f"/proc/{child}").exists():
                return int(self.process.stdout.readline()), kill_after
            os.kill(child, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        return status, time.monotonic() - began

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.mark.slow
def test_killed_at_any_moment_goes_on_bit_for_bit(tiny_settings, whole, tmp_path):
    runs = Runs(tiny_settings, tmp_path)
    status, _ = runs.run(tmp_path / "warm")
    assert status == 0, runs.log.read_text()[-2000:]
    status, seconds = runs.run(tmp_path / "timed")
    assert status == 0
    assert_same_run(tmp_path / "timed", whole)
    print(f"\na run takes {seconds:.1f} s")
    rng, number, finished = random.Random(KILLS), 0, 0
    while number < KILLS:
        folder = tmp_path / f"run{finished}"
        moment = rng.uniform(0, seconds)
        status, _ = runs.run(folder, kill_after=moment)
        if status == 0:
            assert_same_run(folder, whole)
            finished += 1
            continue
        assert status == -signal.SIGKILL, runs.log.read_text()[-2000:]
        number += 1
        there = sorted(p.name for p in folder.glob("checkpoints/*_*"))
        print(f"kill {number} after {moment:.2f} s: {', '.join(there) or 'nothing'}")
    status, _ = runs.run(folder)
    assert status == 0, runs.log.read_text()[-2000:]
    assert_same_run(folder, whole)
    print(f"{number} kills, {finished + 1} runs ended like one never stopped")
    runs.close()
