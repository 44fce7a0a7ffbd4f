"""Servers that fail in many ways: each input is stored or reported exactly once.

More kills at random moments than the default of three, with a log:

    DSBS_KILLS=30 python -m pytest tests/teacher/test_faults.py -k kill -s
"""

import email.utils
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import extraction, runner, store
from support.extract_command import ENVIRONMENT, start

KILLS = int(os.environ.get("DSBS_KILLS", "3"))
FILES = ("rationales.jsonl", "filtered.jsonl", "failed.jsonl")
GOOD = "The line is dead. So the answer is visit."


def assert_each_ends_once(rows, count):
    ids = [row["id"] for name in FILES for row in rows(name)]
    assert sorted(ids) == sorted(f"n{n}" for n in range(count))


def soon():
    return email.utils.formatdate(time.time() + 1, usegmt=True)


# Faults after which a retry succeeds.
FAULTS = {
    "429": lambda act: act["status"](429, "slow down"),
    "429 with seconds": lambda act: act["status"](429, Retry_After="0.05"),
    "429 with a date": lambda act: act["status"](429, Retry_After=soon()),
    "429 with nonsense": lambda act: act["status"](429, Retry_After="soon, -1 or nan"),
    "500": lambda act: act["status"](500),
    "503 without JSON": lambda act: lambda handler: handler.send_error(503),
    "body cut off": lambda act: act["cut_off"](),
    "hangs up": lambda act: act["hang_up"],
    "broken JSON": lambda act: act["raw"](b'{"choices": [{"message": '),
    "not JSON": lambda act: act["raw"](b"<html>busy</html>"),
    "another JSON type": lambda act: act["raw"](b"[1, 2]"),
    "nested too deeply": lambda act: act["raw"](b"[" * 200_000),
    "no choices": lambda act: act["raw"](b'{"choices": []}'),
    "empty choice": lambda act: act["raw"](b'{"choices": [{}]}'),
    "choice without text": lambda act: act["reply"](None),
    "another encoding": lambda act: act["raw"](
        act["message"]("caf\u00e9").decode("unicode_escape").encode("latin-1")
    ),
    "UTF-16": lambda act: act["raw"](act["message"](GOOD).decode().encode("utf-16")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.slow
def test_failed_attempt_is_retried(serve, act, extract, rows, fault):
    server = serve(lambda _, earlier: GOOD if earlier else FAULTS[fault](act))
    assert extract(server) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4
    assert set(server.request_counts.values()) == {2}
    assert_each_ends_once(rows, 4)
    # All replies are stored, so nothing is requested again.
    assert extract(server) == extraction.DONE
    assert set(server.request_counts.values()) == {2}


@pytest.mark.parametrize("fault", ["500", "broken JSON", "no choices", "hangs up"])
def test_failed_input_is_reported_and_requested_again_in_the_next_run(
    serve, act, extract, rows, fault
):
    broken = {"line 1", "line 2"}

    def script(question, _):
        return FAULTS[fault](act) if question in broken else GOOD

    server = serve(script)
    assert extract(server) == extraction.SOME_FAILED
    failed = rows("failed.jsonl")
    assert [row["id"] for row in failed] == ["n1", "n2"]
    assert all("(2 attempts)" in row["reason"] for row in failed)
    assert_each_ends_once(rows, 4)
    broken.clear()
    assert extract(server) == extraction.DONE
    assert server.request_counts == {"line 0": 1, "line 1": 3, "line 2": 3, "line 3": 1}
    assert not rows("failed.jsonl")
    assert_each_ends_once(rows, 4)


@pytest.mark.parametrize("fault", ["hang", "drip", "endless"])
def test_attempt_ends_in_time(serve, act, extract, rows, fault):
    action = act["endless"]() if fault == "endless" else act[fault]
    server = serve(lambda question, _: GOOD if question != "line 1" else action)
    start_time = time.monotonic()
    assert extract(server, TIMEOUT=0.3) == extraction.SOME_FAILED
    assert time.monotonic() - start_time < 3
    (failed,) = rows("failed.jsonl")
    expected = ("no complete reply within 0.3 s", "the reply exceeds 8388608 bytes")
    assert failed["reason"].startswith(expected)
    assert_each_ends_once(rows, 4)


TEXTS = {
    "control characters": "".join(map(chr, range(32))) + GOOD,
    "NULs": "\0" * 1000 + GOOD,
    "lone surrogates": "\ud800 \udfff " + GOOD,
    "only half an emoji": GOOD[:-1] + "\ud83d.",
    "line separators": "a\u2028b\u2029c\x85d " + GOOD,
    "not an answer": "I cannot help with that.",
    "two answers": GOOD + " " + GOOD,
    "looks like a log": '{"key": null, "spent": [0, 0, 0]}\n{"checksum": "',
}


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_is_stored_unchanged(serve, extract, rows, tmp_path, name):
    server = serve(lambda question, _: TEXTS[name] if question == "line 1" else GOOD)
    assert extract(server) == extraction.DONE
    assert_each_ends_once(rows, 4)
    opened = store.Store(tmp_path / "out/completions")
    assert TEXTS[name] in {stored.text for stored in opened.replies.values()}
    assert not opened.damaged
    opened.close()
    assert extract(server) == extraction.DONE
    assert set(server.request_counts.values()) == {1}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("It is dead. So the answer is vis", None),
        ("It is dead. So the answer is visit.\n\nQ: another li", "visit"),
    ],
)
def test_truncated_answer_gives_no_label(serve, act, extract, rows, text, label):
    server = serve(lambda *_: act["reply"](text, finish_reason="length"))
    assert extract(server, count=1) == extraction.DONE
    labels = [row["teacher_label"] for row in rows("rationales.jsonl")]
    assert labels == ([label] if label else [])
    assert [row["completions"] for row in rows("filtered.jsonl")] == (
        [] if label else [[text]]
    )


@pytest.mark.parametrize("code", [401, 403, 404, 307])
def test_refusal_ends_the_run_with_one_error(serve, act, extract, tmp_path, code):
    server = serve(lambda *_: act["status"](code, "go away", Location="/elsewhere"))
    with pytest.raises(UserError, match=f"status {code}: go away"):
        extract(server, CONCURRENCY=1)
    assert len(server.bodies) == 1
    assert not (tmp_path / "out/rationales.jsonl").exists()


def test_rejected_requests_do_not_stop_the_others(serve, act, extract, rows):
    """Also if they come first, and if no other request is left."""
    refused = {f"line {n}" for n in (0, 1, 5, 6, 7, 8)}

    def script(question, _):
        return act["status"](400, "too long") if question in refused else GOOD

    server = serve(script)
    options = {"CONCURRENCY": 1, "MAX_FAILURES_IN_A_ROW": 3}
    for runs in (1, 2):
        assert extract(server, count=9, **options) == extraction.SOME_FAILED
        failed = rows("failed.jsonl")
        assert {row["input"] for row in failed} == refused
        assert {row["reason"] for row in failed} == {"status 400: too long"}
        assert_each_ends_once(rows, 9)
        assert {server.request_counts[x] for x in refused} == {runs}
        assert server.request_counts["line 2"] == 1


@pytest.mark.parametrize("code", [400, 500])
def test_run_in_which_every_request_fails_ends_in_one_error(
    serve, act, extract, tmp_path, code
):
    server = serve(lambda *_: act["status"](code, "no JSON schema here"))
    expected = f"all 4 requests failed; .*: status {code}: no JSON schema here"
    with pytest.raises(UserError, match=expected):
        extract(server)
    assert not (tmp_path / "out/failed.jsonl").exists()


def test_progress_is_reported_while_the_server_hangs(
    serve, act, extract, monkeypatch, capsys
):
    monkeypatch.setattr(runner, "_REPORT_PERIOD", 0.2)
    server = serve(lambda _, earlier: GOOD if earlier else act["hang"])
    assert extract(server, count=1, TIMEOUT=0.9) == extraction.DONE
    assert re.search(r"^replies 0/1 .* left$", capsys.readouterr().out, re.M)


def test_consecutive_failures_abort_the_run(serve, act, extract):
    server = serve(lambda *_: act["status"](500, "out of order"))
    with pytest.raises(UserError, match="3 requests in a row failed .*out of order"):
        extract(server, count=30, MAX_FAILURES_IN_A_ROW=3, CONCURRENCY=2)
    assert len(server.bodies) <= 10


def test_all_requests_wait_as_long_as_the_server_asks(serve, act, extract):
    times = []

    def script(*_):
        times.append(time.monotonic())
        return GOOD if len(times) > 1 else act["status"](429, Retry_After="1")

    assert extract(serve(script), count=6, CONCURRENCY=1) == extraction.DONE
    assert times[1] - times[0] >= 1


def test_too_long_wait_ends_the_run(serve, act, extract):
    server = serve(lambda *_: act["status"](429, "quota", Retry_After="86400"))
    with pytest.raises(UserError, match="429: quota; the server asks to wait 86,400 s"):
        extract(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_signal_stops_the_run_and_the_next_run_resumes(
    serve, command, extract, rows, tmp_path, number
):
    def script(*_):
        time.sleep(0.05)
        return GOOD

    server = serve(script)
    made = command(server, count=30, CONCURRENCY=2)
    with (tmp_path / "log").open("w+") as log:
        run = start(made, log)
        while len(server.bodies) < 5:
            time.sleep(0.01)
        run.send_signal(number)
        assert run.wait(20) == 128 + number
        log.seek(0)
        output = log.read()
    assert f"stopped by {number.name}" in output and "replies are missing" in output
    assert "Traceback" not in output
    stored = store.Store(tmp_path / "out/completions")
    # Requests in flight were finished.
    assert len(stored.replies) == len(server.bodies) < 30
    stored.close()
    assert not (tmp_path / "out/rationales.jsonl").exists()
    assert extract(server, CONCURRENCY=2) == extraction.DONE
    assert_each_ends_once(rows, 30)
    assert set(server.request_counts.values()) == {1}


def stored_inputs(folder):
    """The inputs whose replies are stored completely, without opening the store."""
    path = folder / "completions/replies.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    ids = [json.loads(line).get("id") for line in lines]
    return {f"line {id[1:]}" for id in ids if id}


def killed_script(act):
    """Some inputs fail at first, some always, and some get a useless answer."""

    def script(question, earlier):
        time.sleep(0.03)
        kind = int(question.split()[1]) % 10
        if kind == 3 and earlier == 0:
            return act["status"](500)
        if kind == 5:
            return act["raw"](b'{"choices": [')
        if kind == 7:
            return "\ud800 no idea"
        return f"{question} is dead. So the answer is visit."

    return script


def kill_at(rng, process, server, folder):
    """Kills a process at a random moment while it starts, sends requests or writes.

    The moment is counted in requests and not only in seconds, so that kills also reach
    all phases on a busy machine. Returns the moment, or None if the process has ended.
    """
    phase = rng.choice(["starting", "asking", "asking", "asking", "writing"])
    left = max(1, 60 - len(stored_inputs(folder)))
    target = len(server.bodies) + rng.randint(1, left)
    delay = rng.uniform(0, {"starting": 0.6, "asking": 0.03, "writing": 0.4}[phase])

    def reached():
        if phase == "asking":
            return len(server.bodies) >= target
        return phase == "starting" or (folder / "failed.jsonl").exists()

    while process.poll() is None and not reached():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    return f"{phase}, request {len(server.bodies)}" if process.wait() < 0 else None


@pytest.mark.slow
def test_kill_at_any_moment_loses_no_reply(serve, act, command, tmp_path):
    server = serve(killed_script(act))

    def begin(folder):
        made = command(server, count=60, OUTPUT_DIR=str(folder), CONCURRENCY=4)
        with (tmp_path / "log").open("a") as log:
            return start(made, log)

    def assert_ended(folder, status):
        output = (tmp_path / "log").read_text()[-2000:]
        assert status == extraction.SOME_FAILED, output
        return {name: (folder / name).read_bytes() for name in FILES}

    complete = tmp_path / "complete"
    expected = assert_ended(complete, begin(complete).wait(60))
    assert all(expected.values())
    rng, number, finished = random.Random(KILLS), 0, 0
    while number < KILLS:
        folder = tmp_path / f"run{finished}"
        before, counts = stored_inputs(folder), server.request_counts
        process = begin(folder)
        moment = kill_at(rng, process, server, folder)
        after = stored_inputs(folder)
        assert before <= after, "lost"
        assert all(server.request_counts[x] == counts[x] for x in before), "sent twice"
        if moment is None:
            assert assert_ended(folder, process.returncode) == expected
            finished += 1
            continue
        number += 1
        if (folder / "failed.jsonl").exists():
            # Killed while it wrote the output; the next run has to finish it.
            assert assert_ended(folder, begin(folder).wait(60)) == expected
            finished += 1
        print(
            f"\nkill {number} ({moment}): {len(before)} -> {len(after)} of 54", end=""
        )
    last = tmp_path / f"run{finished}"
    assert assert_ended(last, begin(last).wait(60)) == expected
    print(f"\n{number} kills, {finished + 1} runs ended like an uninterrupted one")


@pytest.mark.slow
def test_imports_neither_tensorflow_nor_jax(serve, command, tmp_path):
    """Holds for a complete extraction including the card."""
    server = serve(lambda *_: GOOD)
    arguments = [f"--gin_bindings={b}" for b in command(server)]
    code = """
import runpy, sys
sys.argv[0] = "extract"
try:
    runpy.run_module("dsbs_jax.teacher.extract", run_name="__main__")
except SystemExit as end:
    print("status", end.code)
print("heavy", [m for m in ("tensorflow", "jax", "seqio", "torch") if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "--gin_file=teacher/extract.gin", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.endswith("status 0\nheavy []\n"), done.stdout + done.stderr
    assert (tmp_path / "out/card.html").is_file()
