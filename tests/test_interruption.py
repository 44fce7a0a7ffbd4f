"""Signals in small processes, and in the commands at many moments."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from tolerance import interruptions

from dsbs_jax import interruption
from dsbs_jax.commands.app import OWN_SIGNALS

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def default_handler():
    """Processes inherit an ignored SIGINT, as background jobs of a shell have it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_recorded_signal_does_not_end_the_process(number):
    before = signal.getsignal(number)
    with interruption.recorded():
        assert interruption.signal_received() is None
        interruption.check()
        send(number)
        assert interruption.signal_received() == number
        with pytest.raises(interruption.Stopped, match=signal.Signals(number).name):
            interruption.check()
    assert signal.getsignal(number) is before
    interruption.check()  # outside of a block, nothing is recorded
    with interruption.recorded():
        assert interruption.signal_received() is None


def test_a_second_ctrl_c_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt), interruption.recorded():
        send(signal.SIGINT)
        send(signal.SIGINT)
        time.sleep(5)


def run(body, number, *, times=1, before=""):
    """Runs a small program that prints "ready", and sends it signals."""
    code = f"""
import signal, sys, time
{before}
from dsbs_jax import interruption
interruption.install()
interruption.GRACE = 1.0
def ready():
    print("ready", flush=True)
{body}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.2)
    # `communicate` would lose what `readline` has read ahead.
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(timeout=30), out, err


def line(number, text):
    return f"{signal.Signals(number).name}: {text}; run the same command again\n"


MOMENTS = {
    "the command waits": "ready(); time.sleep(20)",
    "a library catches every exception": (
        "ready()\nwhile True:\n  try: time.sleep(20)\n  except BaseException: pass"
    ),
    # A loop without a system call.
    "Python computes": "ready()\nwhile True: pass",
    # One call that does not return to Python.
    "a library computes": (
        "import hashlib; ready(); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)"
    ),
    # As while TensorFlow is imported.
    "standard error is redirected": (
        "import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "ready(); time.sleep(20)"
    ),
    # Another thread has the lock.
    "a write does not end": (
        "interruption._PATIENCE = 0.2\n"
        "with interruption.complete_write(): ready(); time.sleep(20)"
    ),
    "a run saves its state, and a second signal arrives": (
        "interruption.GRACE = 60\nwith interruption.recorded(): ready(); time.sleep(9)"
    ),
}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(("moment", "end"), interruptions.SECTION.rows)
@pytest.mark.slow
def test_a_command_ends_at_once_with_one_line(number, moment, end):
    times = 2 if "second signal" in moment else 1
    status, out, err = run(MOMENTS[moment], number, times=times)
    assert (status, out) == (128 + number, "")
    assert err == line(number, end)


@pytest.mark.parametrize("number", SIGNALS)
def test_output_that_is_not_flushed_is_kept(number):
    status, out, _ = run("ready(); print('result'); time.sleep(20)", number)
    assert (status, out) == (128 + number, "result\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_block_that_records_saves_first(number):
    body = """
with interruption.recorded():
    ready()
    while not interruption.signal_received():
        time.sleep(0.01)
    time.sleep(2)
    print("saved")
"""
    assert run(body, number) == (0, "saved\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_block_that_does_not_notice_the_signal_ends(number):
    body = "with interruption.recorded(): ready(); time.sleep(20)"
    status, _, err = run(body, number)
    assert status == 128 + number
    assert err == line(number, "the step did not end within 1 s; stopped")


def test_an_ignored_signal_stays_ignored():
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    body = "ready(); time.sleep(0.5); print('done')"
    assert run(body, signal.SIGINT, before=before) == (0, "done\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_temporary_files_are_removed_and_written_files_are_complete(number, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/file").touch()
    (tmp_path / "lock").touch()
    body = f"""
import pathlib, threading
from dsbs_jax import files
folder = pathlib.Path({str(tmp_path)!r})
with interruption.removed(folder / "scratch"), interruption.removed(folder / "lock"):
    ready()
    while True:
        files.write(folder / "rows", b"x" * 1_000_000)
"""
    status, _, err = run(body, number)
    assert (status, err) == (128 + number, line(number, "stopped"))
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert len((tmp_path / "rows").read_bytes()) == 1_000_000


def start(arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process, number, *, after=None, seconds=0.0):
    """Sends a signal after a line that contains a text, and after some seconds."""
    for text in process.stdout if after else ():
        if after in text:
            break
    time.sleep(seconds)
    process.send_signal(number)
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=120)
    assert "Traceback" not in out + err, err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def trained(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_tiny(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("after", "steps"),
    [
        ("training examples", None),
        ("step 5/", range(5, 30)),
        pytest.param("step 40: validation", range(40, 60), marks=pytest.mark.scheduled),
    ],
)
def test_training_saves_what_is_complete(tiny_settings, tmp_path, after, steps, number):
    files, bindings = tiny_settings(
        MODEL_DIR=str(tmp_path / "run"), TRAIN_STEPS=4000, EVAL_PERIOD=40
    )
    arguments = [f"--gin_file={name}" for name in files]
    arguments += [f"--gin_bindings={binding}" for binding in bindings]
    process = start(["dsbs_jax.train", *arguments], tmp_path)
    status, out, err = interrupt(process, number, after=after)
    assert status == 128 + number
    saved = [p.name for p in (tmp_path / "run").glob("checkpoints/checkpoint_*")]
    if steps is None:
        assert "stopped" in err or "saved step" in out
        return
    (end,) = [x for x in out.splitlines() if x.startswith("SIG")]
    done = int(end.split("saved step ")[1].split(";")[0])
    assert done in steps and f"checkpoint_{done}" in saved
    assert not (tmp_path / "run/run.lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.4, 1.5, 4.0, 8.0])
@pytest.mark.parametrize(
    "command", ["train", "eval", "infer", "fit", "predict", "score"]
)
def test_every_command_ends_with_one_line(
    tiny_settings, tiny_jsonl, trained, tmp_path, command, seconds
):
    number = SIGNALS[int(seconds) % 2]
    files, bindings = tiny_settings(
        MODEL_DIR=str(tmp_path / "run"), TRAIN_STEPS=4000, EVAL_PERIOD=40
    )
    train = [f"--gin_file={name}" for name in files]
    train += [f"--gin_bindings={binding}" for binding in bindings]
    use = [f"--gin_file={trained}/config.gin", f"--gin.CHECKPOINT_PATH={trained}"]
    # Enough inputs for more seconds than the test needs.
    row = json.dumps({"input": "Jar 1: 5 red, 3 blue marbles.", "label": "red"})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n" * 300_000)
    rows = str(tmp_path / "rows.jsonl")
    arguments = {
        "train": ["dsbs_jax.train", *train],
        "eval": [
            "dsbs_jax.eval",
            "--gin_file=local/eval.gin",
            *use,
            f"--gin.DATA_FILES={{'train': {str(tiny_jsonl)!r}, 'test': {rows!r}}}",
            "--gin.EVAL_OUTPUT_DIR=scores",
        ],
        "infer": [
            "dsbs_jax.infer",
            "--gin_file=local/infer.gin",
            *use,
            f"--gin.INPUT_FILE={rows}",
            "--gin.OUTPUT_FILE=answers.jsonl",
        ],
        "fit": ["dsbs_jax", "fit", str(tiny_jsonl), "--output", "fitted"],
        "predict": ["dsbs_jax", "predict", str(trained), rows, "--output", "a.jsonl"],
        "score": ["dsbs_jax", "eval", str(trained), rows, "--output", "report"],
    }[command]
    process = start(arguments, tmp_path)
    status, out, err = interrupt(process, number, seconds=seconds)
    assert status == 128 + number, out + err
    lines = [x for x in (out + err).splitlines() if x.startswith("SIG")]
    assert len(lines) == 1
    assert not (tmp_path / "answers.jsonl").exists()


def test_extract_handles_its_own_signals():
    assert {"extract"} == OWN_SIGNALS
