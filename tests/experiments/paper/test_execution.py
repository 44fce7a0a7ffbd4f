"""Grids of small runs: skipped, resumed, failed, interrupted and killed runs."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dsbs_jax import files
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import execution, generated, planning
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.experiments.paper.execution import Grid
from dsbs_jax.local.run_lock import RunLock

COMMAND = [sys.executable, "-m", "dsbs_jax", "paper"]


def start(file, output, *more):
    return subprocess.Popen(
        [*COMMAND, f"--study={file}", "--output", str(output), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(file, output, *more):
    """Runs the command to its end; returns status and output."""
    process = start(file, output, *more)
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def report_of(output):
    """The report's numbers, without times and without what names the folder."""
    values = json.loads((output / "report/toy/report.json").read_text())
    del values["hours"]
    pages = [
        (output / f"report/toy/{n}.csv").read_text() for n in ("report", "comparisons")
    ]
    return values, pages


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.scheduled
def test_run_that_fails_is_trained_by_the_next_command(toy_file, tmp_path):
    file, output = toy_file(), tmp_path / "grid"
    # The first run cannot write its folder.
    output.mkdir()
    (output / "jars-tiny-finetune-seed0").write_text("a file")
    status, text = finish(file, output)
    assert status == 1
    assert "1 of 2 runs are finished, 1 failed" in text
    assert "  jars-tiny-finetune-seed0: " in text
    error = output / "logs/jars-tiny-finetune-seed0.error"
    assert "exit status 2" in error.read_text()
    page = (output / "report/toy/report.html").read_text()
    assert "exit status 2" in page
    # The next try trains the failed run only, and removes its message.
    (output / "jars-tiny-finetune-seed0").unlink()
    results = output / "jars-tiny-step_by_step-teacher-seed0/results.json"
    written = results.stat().st_mtime_ns
    status, text = finish(file, output, "--remove_checkpoints")
    assert (status, "2 of 2 runs are finished, 0 failed" in text) == (0, True)
    assert results.stat().st_mtime_ns == written
    assert not error.exists()
    assert not list(output.glob("*/checkpoints"))


def fake_run(output, macros=None, method="finetune"):
    cell = Cell("d", "tiny", method)
    return planning.PlannedRun(cell, 0, (), macros or {})


def write_results(grid, run):
    """Writes the file that a finished run has."""
    grid.folder(run).mkdir(exist_ok=True)
    (grid.folder(run) / "results.json").write_text('{"seconds": 1}')


def test_failed_run_does_not_stop_the_others(tmp_path, monkeypatch):
    first, second = fake_run(tmp_path), fake_run(tmp_path, method="distill")
    grid = Grid([first, second], tmp_path)
    trained = []

    def train(grid, run):
        trained.append(run)
        if trained == [first]:
            return "no space left (exit status 2)"
        write_results(grid, run)
        (grid.folder(run) / "config.gin").write_text("")
        return None

    monkeypatch.setattr(execution, "_train", train)
    assert execution.execute(grid) is None
    assert trained == [first, second]
    assert grid.failures() == {first.name: "no space left (exit status 2)"}
    # The next try trains the failed run only, and removes its message.
    assert execution.execute(grid) is None
    assert trained == [first, second, first]
    assert grid.failures() == {}


def test_finished_run_with_other_settings_is_an_error(tmp_path, monkeypatch):
    run = fake_run(tmp_path, {"TRAIN_STEPS": 5, "VOCABULARY_PATH": "new"})
    grid = Grid([run], tmp_path)
    write_results(grid, run)
    config = grid.folder(run) / "config.gin"
    config.write_text("TRAIN_STEPS = 5\nVOCABULARY_PATH = 'old'\n")
    monkeypatch.setattr(execution, "_train", lambda *_: pytest.fail("trained"))
    assert execution.execute(grid) is None
    assert grid.failures() == {}
    config.write_text("TRAIN_STEPS = 4\n")
    assert execution.execute(grid) is None
    (message,) = grid.failures().values()
    assert "finished run with TRAIN_STEPS = 4, expected 5" in message


def test_pretrained_student_may_have_moved_with_its_grid(tmp_path):
    first = planning.PlannedRun(Cell("d", "tiny", "pretrain"), 0, (), {})
    moved = {"INITIAL_CHECKPOINT_PATH": str(tmp_path / first.name)}
    run = fake_run(tmp_path, moved)
    grid = Grid([first, run], tmp_path)
    write_results(grid, run)
    config = grid.folder(run) / "config.gin"
    config.write_text(f"INITIAL_CHECKPOINT_PATH = 'old/{first.name}'\n")
    assert execution._difference(grid, run) is None
    config.write_text("INITIAL_CHECKPOINT_PATH = 'old/other'\n")
    assert "INITIAL_CHECKPOINT_PATH = 'old/other'" in execution._difference(grid, run)
    config.write_text("INITIAL_CHECKPOINT_PATH = None\n")
    assert "INITIAL_CHECKPOINT_PATH = None" in execution._difference(grid, run)


def test_message_of_a_failure_is_that_of_the_last_try(tmp_path, monkeypatch):
    run = fake_run(tmp_path)
    grid = Grid([run], tmp_path)
    files.write(grid.log(run), "error: VOCAB_SIZE is 2\n")
    monkeypatch.setattr(execution.child, "__name__", "no_such_module")
    message = execution._train(grid, run)
    assert "No module named no_such_module" in message and "VOCAB_SIZE" not in message


@pytest.mark.parametrize("content", ["{}", '{"seconds": 1', '{"seconds": "1"}'])
def test_damaged_results_are_one_error(tmp_path, content):
    run = fake_run(tmp_path)
    grid = Grid([run], tmp_path)
    write_results(grid, run)
    (grid.folder(run) / "results.json").write_text(content)
    message = r"results.json: .*; remove the file and run"
    with pytest.raises(UserError, match=message):
        grid.seconds(run)
    # The other runs of the grid are trained.
    assert execution.execute(grid) is None
    assert re.search(message, grid.failures()[run.name])


def test_run_of_another_process_is_left_to_it(tmp_path, monkeypatch):
    first, second = fake_run(tmp_path), fake_run(tmp_path, method="distill")
    grid = Grid([first, second], tmp_path)
    trained = []

    def train(grid, run):
        trained.append(run)
        write_results(grid, run)

    lock = RunLock(grid.folder(first))
    lock.__enter__()

    def other_process_ends(seconds):
        lock.__exit__()
        train(grid, first)

    monkeypatch.setattr(execution, "_train", train)
    monkeypatch.setattr(execution.time, "sleep", other_process_ends)
    # A lock of this process looks like that of another one.
    assert execution.execute(grid) is None
    assert trained == [second, first]


def test_run_that_another_grid_starts_is_left_to_it(tmp_path, monkeypatch):
    grid = Grid([fake_run(tmp_path)], tmp_path)
    (run,) = grid.runs
    taken = []

    def start(grid, run):
        # The run has not locked its folder yet: it imports JAX.
        taken.append(execution._train_if_free(grid, run))
        write_results(grid, run)

    monkeypatch.setattr(execution, "_train", start)
    assert execution._train_if_free(grid, run)
    assert taken == [False]
    assert not list(grid.output.glob("logs/*"))


def test_grids_wait_for_data_that_another_grid_writes(tmp_path, monkeypatch, capsys):
    run = planning.PlannedRun(Cell("tickets", "tiny", "finetune"), 0, (), {})
    grid = Grid([run], tmp_path)
    folder = generated.folder_of(tmp_path, "tickets")
    lock = RunLock(folder)
    lock.__enter__()

    def other_process_ends(seconds):
        lock.__exit__()

    monkeypatch.setattr(execution.time, "sleep", other_process_ends)
    execution.prepare(grid)
    message = f"waiting: --output {folder}: process {os.getpid()} on "
    assert message in capsys.readouterr().out
    assert all(map(os.path.exists, generated.files_of(folder).values()))


def test_runs_wait_for_pretraining_of_another_process(tmp_path, monkeypatch):
    cell = Cell("d", "tiny", "pretrain")
    first = planning.PlannedRun(cell, 0, (), {})
    second = fake_run(tmp_path, {"INITIAL_CHECKPOINT_PATH": str(tmp_path / first.name)})
    grid = Grid([first, second], tmp_path, keep_checkpoints=False)
    trained = []

    def train(grid, run):
        trained.append(run)
        (grid.folder(run) / "checkpoints").mkdir(parents=True)
        values = [f"{name} = {value!r}\n" for name, value in run.macros.items()]
        (grid.folder(run) / "config.gin").write_text("".join(values))
        (grid.folder(run) / "results.json").write_text('{"seconds": 1}')

    monkeypatch.setattr(execution, "_train", train)
    # Another process pretrains.
    lock = RunLock(grid.folder(first))
    lock.__enter__()
    assert not execution._train_if_free(grid, first)
    assert not execution._train_if_free(grid, second)
    lock.__exit__()
    assert execution.execute(grid) is None
    assert trained == [first, second]
    # The other runs start from this checkpoint.
    assert (grid.folder(first) / "checkpoints").exists()
    assert not (grid.folder(second) / "checkpoints").exists()


def test_runs_do_not_wait_for_pretraining_that_failed(tmp_path):
    first = planning.PlannedRun(Cell("d", "tiny", "pretrain"), 0, (), {})
    second = fake_run(tmp_path, {"INITIAL_CHECKPOINT_PATH": str(tmp_path / first.name)})
    grid = Grid([first, second], tmp_path)
    assert execution._waits_for_pretraining(grid, second)
    grid.error_file(first).parent.mkdir()
    grid.error_file(first).write_text("no texts")
    assert not execution._waits_for_pretraining(grid, second)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_the_run_and_ends_the_grid(toy_file, tmp_path, number):
    file, output = toy_file(), tmp_path / "grid"
    process = start(file, output)
    log = output / "logs/jars-tiny-finetune-seed0.log"
    wait_for(lambda: log.exists() and "training examples" in log.read_text())
    process.send_signal(number)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "run the same command to resume" in text
    assert not (output / "jars-tiny-step_by_step-teacher-seed0").exists()


@pytest.mark.slow
def test_killed_grid_ends_its_run(toy_file, tmp_path):
    file, output = toy_file(), tmp_path / "grid"
    process = start(file, output)
    lock = output / "jars-tiny-finetune-seed0/run.lock"
    wait_for(lambda: lock.exists() and lock.read_text())
    child = json.loads(lock.read_text())["pid"]
    process.kill()
    process.communicate()

    def has_ended():
        try:
            stat = pathlib.Path(f"/proc/{child}/stat").read_text()
        except FileNotFoundError:
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    wait_for(has_ended)


def kill_until_done(file, output, kills, rng):
    """Kills the grid and its run at random moments, then lets it finish."""
    for _ in range(kills):
        process = start(file, output)
        time.sleep(rng.uniform(4, 25))
        for lock in output.glob("*/run.lock"):
            if rng.random() < 0.5 and lock.read_text():
                os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        process.kill()
        process.communicate()
    status, text = finish(file, output)
    assert status == 0, text


def compare_with_uninterrupted(file, tmp_path, kills, seed):
    rng = random.Random(seed)
    killed, complete = tmp_path / "killed", tmp_path / "complete"
    kill_until_done(file, killed, kills, rng)
    status, text = finish(file, complete)
    assert status == 0, text
    assert report_of(killed) == report_of(complete)
    shutil.rmtree(complete)


@pytest.mark.scheduled
def test_twelve_runs_killed_at_random_give_the_same_report(toy_file, tmp_path):
    """2 methods x 2 fractions x 3 seeds."""
    file = toy_file(fractions=(0.5, 1.0), seeds=(0, 1, 2))
    kills = int(os.environ.get("DSBS_KILLS", "8"))
    compare_with_uninterrupted(file, tmp_path, kills, seed=kills)
