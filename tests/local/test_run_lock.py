import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import run_lock
from dsbs_jax.local.run_lock import LOCK_FILE, RunLock

HOLD = """
import pathlib, sys, time
from dsbs_jax.local.run_lock import RunLock
with RunLock(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path / "run"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_with_host_and_pid(holder, tmp_path):
    message = f"process {holder.pid} on {socket.gethostname()} trains in this folder"
    with pytest.raises(UserError, match=message), RunLock(tmp_path / "run"):
        pass
    with pytest.raises(UserError, match=message):
        run_lock.check_free(tmp_path / "run")
    assert (tmp_path / "run" / LOCK_FILE).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_was_killed_is_stale(holder, tmp_path, number):
    holder.send_signal(number)
    holder.wait()
    assert (tmp_path / "run" / LOCK_FILE).exists()
    run_lock.check_free(tmp_path / "run")
    with RunLock(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / LOCK_FILE).read_text())
        assert owner == {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1, 2]",
        b'{"pid": 1}',
        b'{"host": "another", "pid": 99999999}',
    ],
)
def test_a_file_that_nobody_locks_is_stale(tmp_path, content):
    (tmp_path / LOCK_FILE).write_bytes(content)
    with RunLock(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_second_run_in_the_same_process_is_refused(tmp_path):
    with RunLock(tmp_path):
        with pytest.raises(UserError, match=f"process {os.getpid()} "):
            RunLock(tmp_path).__enter__()
        assert (tmp_path / LOCK_FILE).exists()
    with RunLock(tmp_path):
        pass


def test_folders_that_remain_empty_are_removed(tmp_path):
    with RunLock(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "a").exists()
    with RunLock(tmp_path / "a/b"):
        (tmp_path / "a/b/file").touch()
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["file"]


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    message = "MODEL_DIR .*file/run: cannot be written"
    with pytest.raises(UserError, match=message), RunLock(tmp_path / "file/run"):
        pass


def test_a_folder_that_another_process_removes_is_created_again(tmp_path, monkeypatch):
    """The other process leaves the folder empty, so it removes it with its lock."""
    lock, removals = RunLock._lock, [1, 2, 3]

    def lock_later(self):
        if removals.pop():
            (tmp_path / "logs/a").rmdir()
        return lock(self)

    removals.insert(0, 0)
    monkeypatch.setattr(RunLock, "_lock", lock_later)
    with RunLock(tmp_path / "logs/a"):
        assert (tmp_path / "logs/a" / LOCK_FILE).exists()
    assert not removals and not (tmp_path / "logs").exists()


def test_without_locks_of_the_file_system_the_named_process_counts(
    tmp_path, monkeypatch
):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_lock.fcntl, "flock", unsupported)
    message = "if that process has ended, delete"
    with RunLock(tmp_path), pytest.raises(UserError, match=message):
        RunLock(tmp_path).__enter__()
    ended = {"host": socket.gethostname(), "pid": 2**30}
    (tmp_path / LOCK_FILE).write_text(json.dumps(ended))
    with RunLock(tmp_path):
        pass
