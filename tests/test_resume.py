"""Runs that are stopped, killed or damaged, or whose loss is not finite.

More kills than the suite's five, with a log:

    DSBS_KILLS=50 python -m pytest tests/test_resume.py -k killed -s
"""

import functools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.local import checkpoints, curves, datasets, evaluation, step, stopping
from dsbs_jax.weights.huggingface_names import EMBEDDING

ROOT = pathlib.Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("DSBS_KILLS", "2"))
RUN = {"TRAIN_STEPS": 30, "EVAL_PERIOD": 10, "LOG_PERIOD": 5}


@pytest.fixture
def train(train_tiny):
    def train(folder, **macros):
        return train_tiny(folder, **{**RUN, **macros})

    return train


@pytest.fixture(scope="module")
def uninterrupted(train_tiny, tmp_path_factory):
    """A run that was never stopped: its folder and its results."""
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    return folder, {**train_tiny(folder, **RUN), "seconds": 0}


def assert_same_run(folder, uninterrupted):
    """Compares parameters, optimizer state, scores and predictions bit for bit."""
    expected, results = uninterrupted
    written = json.loads((folder / "results.json").read_text())
    assert {**written, "seconds": 0} == results
    states = []
    for path in (expected, folder):
        saved = checkpoints.Checkpoints(path / "checkpoints")
        states.append(dict(saved._manager.restore(saved.last).items()))
        saved.close()
    assert len(jax.tree.leaves(states[0])) > 20
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert scored_steps(folder) == scored_steps(expected) == [10, 20, 30]
    curve = curves.read_curve(folder)
    assert [p.step for p in curve] == [5, 10, 15, 20, 25, 30]
    lines = (folder / curves.FILE).read_text().splitlines()
    assert len(lines) == 9  # six of training, three of validation
    for path in (expected / "predictions").iterdir():
        assert (folder / "predictions" / path.name).read_bytes() == path.read_bytes()


def scored_steps(folder):
    return [point.step for point in curves.read_curve(folder) if point.validation]


def send_sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def send_sigterm_with_batch_13(monkeypatch):
    make = datasets.training_batches

    def batches(*args, **kwargs):
        for number, batch in enumerate(make(*args, **kwargs), 1):
            if number == 13:
                send_sigterm()
            yield batch

    monkeypatch.setattr(datasets, "training_batches", batches)


@pytest.mark.slow
def test_sigterm_between_steps(train, uninterrupted, tmp_path, monkeypatch):
    send_sigterm_with_batch_13(monkeypatch)
    with pytest.raises(stopping.Terminated):
        train(tmp_path / "run")
    saved = checkpoints.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.last == 13 and not saved.is_scored(13)
    monkeypatch.undo()
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        # The run stops after 13 of 15 updates on rationales alone.
        {"ALPHA_SCHEDULE": "cosine", "ALPHA_END": 0.9, "EXPLAIN_FIRST_STEPS": 15},
        {
            "LORA_RANK": 2,
            "LORA_DROPOUT": 0.3,
            "PRECISION": "mixed",
            "SCAN_LAYERS": True,
        },
        {
            "method": "mutual_information",
            "BATCH_SIZE": 8,
            "OPTIMIZER": "adafactor",
            "SCAN_LAYERS": True,
        },
        # One change at a time.
        *(
            pytest.param(changes, marks=pytest.mark.scheduled)
            for changes in (
                {"PRECISION": "mixed"},
                {"PRECISION": "bfloat16"},
                {"method": "label_then_rationale"},
                {"method": "step_by_step_correct"},
                {"method": "mutual_information", "BATCH_SIZE": 8},
                {"OPTIMIZER": "adafactor"},
                {"OPTIMIZER": "lion"},
                {"SCAN_LAYERS": True, "LORA_RANK": 2},
                {"TRAINABLE": "decoder", "FREEZE_EMBEDDING": True},
            )
        ),
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_other_runs_resume_bit_for_bit(train, tmp_path, monkeypatch, changes):
    expected = train(tmp_path / "expected", **changes)
    test_sigterm_between_steps(
        functools.partial(train, **changes),
        (tmp_path / "expected", {**expected, "seconds": 0}),
        tmp_path,
        monkeypatch,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "changes"),
    [
        (True, {"OPTIMIZER": "adafactor"}),
        (False, {"OPTIMIZER": "adamw"}),
        (True, {"LORA_RANK": 2}),
        *(
            pytest.param(*case, marks=pytest.mark.scheduled)
            for case in (
                (False, {"OPTIMIZER": "adafactor"}),
                (False, {"LORA_RANK": 2}),
                (True, {"TRAIN_LAST_LAYERS": 1}),
                (False, {"TRAINABLE": "encoder"}),
            )
        ),
    ],
    ids=str,
)
def test_run_resumes_with_the_other_value_of_scan_layers(
    train, tmp_path, monkeypatch, scan, changes
):
    """The layers are in one array in the state, or each has its own arrays."""
    train = functools.partial(train, DROPOUT_RATE=0.0, **changes)
    expected = train(tmp_path / "expected", SCAN_LAYERS=scan)
    send_sigterm_with_batch_13(monkeypatch)
    with pytest.raises(stopping.Terminated):
        train(tmp_path / "run", SCAN_LAYERS=scan)
    monkeypatch.undo()
    results = train(tmp_path / "run", SCAN_LAYERS=not scan)
    assert results["last"]["step"] == expected["last"]["step"] == 30
    readers = [
        weights.open_checkpoint(str(folder / "checkpoints/checkpoint_30"))
        for folder in (tmp_path / "run", tmp_path / "expected")
    ]
    assert readers[0].shapes() == readers[1].shapes()
    for name in readers[0].shapes():
        values = [reader.read(name) for reader in readers]
        np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.scheduled
def test_run_on_several_rationales_resumes_bit_for_bit(
    train, tiny_jsonl, tmp_path, monkeypatch
):
    rows = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
    for row in rows[::2]:
        row["rationales"] = [row["rationale"], "green and gold"]
        row["rationale_weights"] = [0.75, 0.25]
    path = tmp_path / "several.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    changes = {"method": "step_by_step_multi", "DATA_FILES": str(path)}
    test_other_runs_resume_bit_for_bit(train, tmp_path, monkeypatch, changes)


@pytest.mark.scheduled
def test_counterfactual_run_resumes_bit_for_bit(
    train, tiny_counterfactual_jsonl, tmp_path, monkeypatch
):
    changes = {"method": "counterfactual"}
    changes["DATA_FILES"] = str(tiny_counterfactual_jsonl)
    test_other_runs_resume_bit_for_bit(train, tmp_path, monkeypatch, changes)


@pytest.mark.slow
def test_sigterm_in_an_evaluation(train, uninterrupted, tmp_path, monkeypatch):
    score = evaluation.Scorer.__call__

    def interrupted(self, *args):
        send_sigterm()
        return score(self, *args)

    monkeypatch.setattr(evaluation.Scorer, "__call__", interrupted)
    with pytest.raises(stopping.Terminated):
        train(tmp_path / "run")
    saved = checkpoints.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.last == 10 and not saved.is_scored(10)
    monkeypatch.undo()
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_ctrl_c_in_the_final_scores(
    train, uninterrupted, tmp_path, monkeypatch, capsys
):
    score = evaluation.Scorer.__call__

    def interrupted(self, params, folder, name):
        if name == "best":
            os.kill(os.getpid(), signal.SIGINT)
        return score(self, params, folder, name)

    monkeypatch.setattr(evaluation.Scorer, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run")
    out = capsys.readouterr().out
    assert "SIGINT: step 30 is saved, without scores; run the same command" in out
    assert not (tmp_path / "run/results.json").exists()
    assert not (tmp_path / "run/run.lock").exists()
    monkeypatch.undo()
    train(tmp_path / "run")
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_never_replaces_a_checkpoint(
    train, tmp_path, monkeypatch
):
    """LOG_PERIOD is longer than EVAL_PERIOD, so the log is not written between."""
    make = step.make_train_step

    def diverges(*args):
        train_step = make(*args)

        def diverging(state, batch, key):
            state, metrics = train_step(state, batch, key)
            if int(state.step) == 12:
                metrics = {**metrics, "loss": metrics["loss"] * np.nan}
            return state, metrics

        return diverging

    monkeypatch.setattr(step, "make_train_step", diverges)
    with pytest.raises(UserError, match=r"loss of step 12 is nan; .* checkpoints are"):
        train(tmp_path / "run", LOG_PERIOD=1000)
    saved = checkpoints.Checkpoints(tmp_path / "run/checkpoints")
    assert saved.last == 10


@pytest.mark.slow
def test_run_resumes_from_the_checkpoint_before_a_damaged_one(
    train, uninterrupted, tmp_path, capsys, caplog
):
    train(tmp_path / "run", TRAIN_STEPS=30)
    last = tmp_path / "run/checkpoints/checkpoint_30"
    for path in last.glob("progress/d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "run/results.json").unlink()
    capsys.readouterr()
    train(tmp_path / "run")
    assert "checkpoint_30 is damaged (progress/d/" in caplog.text
    assert "Resuming from step 20" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_run_takes_missing_sizes_from_its_own_checkpoint(train_tiny, tmp_path, capsys):
    """Settings of version 0.1 may have had more rows than the vocabulary needs."""
    train_tiny(tmp_path / "run", VOCAB_SIZE=384, TRAIN_STEPS=2)
    results = train_tiny(
        tmp_path / "run",
        drop=["VOCAB_SIZE"],
        INITIAL_CHECKPOINT_PATH=str(tmp_path / "no_longer_there"),
        TRAIN_STEPS=4,
    )
    assert results["steps"] == 4
    assert "Resuming from step 2" in capsys.readouterr().out
    assert weights.open_checkpoint(str(tmp_path / "run")).shapes()[EMBEDDING][0] == 384


@pytest.mark.slow
def test_run_without_a_complete_checkpoint_starts_again(train, uninterrupted, tmp_path):
    macros = {"INITIAL_CHECKPOINT_PATH": str(uninterrupted[0]), "TRAIN_STEPS": 4}
    first = train(tmp_path / "run", **macros)
    for path in (tmp_path / "run/checkpoints").glob("checkpoint_*/params/_METADATA"):
        path.unlink()
    again = train(tmp_path / "run", **macros)
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert (tmp_path / "run/checkpoints/damaged_checkpoint_4").is_dir()
    start, end = (
        weights.open_checkpoint(str(path)).read(EMBEDDING)
        for path in (uninterrupted[0], tmp_path / "run")
    )
    # Four steps from these weights, not from random ones.
    assert 0 < np.abs(end - start).max() < 0.05


@pytest.mark.slow
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


@pytest.mark.slow
def test_run_stops_early_after_patience_evaluations(train, tmp_path, capsys):
    stopped = {"LEARNING_RATE": 0.0, "PATIENCE": 2, "TRAIN_STEPS": 90}
    results = train(tmp_path / "run", **stopped)
    curve = (tmp_path / "run/curve.jsonl").read_text()
    assert results["steps"] == 30 and results["last"]["step"] == 30
    assert "step 30: no better score in 2 evaluations" in capsys.readouterr().out
    again = train(tmp_path / "run", **stopped)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}
    # A run of an earlier version has no curve.
    (tmp_path / "run/curve.jsonl").unlink()
    assert train(tmp_path / "run", **stopped)["steps"] == 30
    # Two evaluations are too few now, and one more is enough, after five steps.
    (tmp_path / "run/curve.jsonl").write_text(curve)
    more = {**stopped, "PATIENCE": 3, "EVAL_PERIOD": 5}
    assert train(tmp_path / "run", **more)["steps"] == 35


# Imports once; each run is a fork, which starts after the imports.
ZYGOTE = """
import json, os, sys
from dsbs_jax import cli, tensorflow_import, train
tensorflow_import.import_quietly()
from dsbs_jax.local import loop
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        cli.configure(job["files"], job["bindings"])
        train.main()
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runs:
    """Processes that train, and are killed after a given time."""

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
        """Trains; returns the exit status and the seconds it took."""
        files, bindings = self.settings(MODEL_DIR=str(folder), **RUN)
        job = {"files": files, "bindings": bindings, "log": str(self.log)}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            # A child that has ended keeps its process id until its parent waits.
            if not pathlib.Path(f"/proc/{child}").exists():
                return int(self.process.stdout.readline()), kill_after
            os.kill(child, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        return status, time.monotonic() - began

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.mark.slow
def test_run_killed_at_any_moment_resumes_bit_for_bit(
    tiny_settings, uninterrupted, tmp_path
):
    runs = Runs(tiny_settings, tmp_path)
    status, _ = runs.run(tmp_path / "warm")
    assert status == 0, runs.log.read_text()[-2000:]
    status, seconds = runs.run(tmp_path / "timed")
    assert status == 0
    assert_same_run(tmp_path / "timed", uninterrupted)
    print(f"\na run takes {seconds:.1f} s")
    rng, number, finished = random.Random(KILLS), 0, 0
    while number < KILLS:
        folder = tmp_path / f"run{finished}"
        moment = rng.uniform(0, seconds)
        status, _ = runs.run(folder, kill_after=moment)
        if status == 0:
            assert_same_run(folder, uninterrupted)
            finished += 1
            continue
        assert status == -signal.SIGKILL, runs.log.read_text()[-2000:]
        number += 1
        there = sorted(p.name for p in folder.glob("checkpoints/*_*"))
        print(f"kill {number} after {moment:.2f} s: {', '.join(there) or 'nothing'}")
    status, _ = runs.run(folder)
    assert status == 0, runs.log.read_text()[-2000:]
    assert_same_run(folder, uninterrupted)
    print(f"{number} kills, {finished + 1} runs equal the uninterrupted one")
    runs.close()
