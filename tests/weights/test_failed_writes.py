"""Tests of the messages about a checkpoint that cannot be written."""

import logging
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from dsbs_jax.weights import failed_writes

FULL = "RESOURCE_EXHAUSTED: Error writing local file: No space left on device"


@pytest.fixture
def clean_up():
    """Removes the filters that a failed write leaves."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    filters = [list(logger.filters) for logger in loggers]
    hooks = threading.excepthook, sys.unraisablehook
    yield
    for logger, before in zip(loggers, filters, strict=True):
        logger.filters[:] = before
    threading.excepthook, sys.unraisablehook = hooks


def fail(folder):
    with failed_writes.without_library_messages(folder):
        raise OSError("the disk is full")


def fail_in_thread(message):
    def target():
        raise RuntimeError(message)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


@pytest.mark.parametrize("name", ["absl", "asyncio"])
def test_late_messages_about_the_checkpoint_are_dropped(
    tmp_path, clean_up, caplog, name
):
    with pytest.raises(OSError, match="the disk is full"):
        fail(tmp_path / "checkpoint_6")
    logger = logging.getLogger(name)
    logger.error("%s/checkpoint_6.orbax-checkpoint-tmp: it failed", tmp_path)
    logger.error("Task exception was never retrieved", exc_info=RuntimeError(FULL))
    assert not caplog.records
    logger.error("%s/checkpoint_8: another message", tmp_path)
    logger.error("Task exception was never retrieved", exc_info=RuntimeError("other"))
    assert len(caplog.records) == 2


def test_late_exceptions_of_threads_are_dropped(tmp_path, clean_up, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with pytest.raises(OSError, match="the disk is full"):
        fail(tmp_path)
    fail_in_thread(FULL)
    fail_in_thread("another failure")
    assert [str(arguments.exc_value) for arguments in seen] == ["another failure"]


def test_late_exceptions_of_callbacks_are_dropped(tmp_path, clean_up, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with pytest.raises(OSError, match="the disk is full"):
        fail(tmp_path)
    for message in (FULL, "Event loop is closed", "another failure"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(message)))
    assert [str(arguments.exc_value) for arguments in seen] == ["another failure"]


def test_threads_that_have_not_started_do_not_replace_the_error(
    tmp_path, clean_up, monkeypatch, caplog
):
    waiting = threading.Thread()
    with (
        pytest.raises(OSError, match="the disk is full"),
        failed_writes.without_library_messages(tmp_path),
    ):
        # `threading.enumerate` also lists threads that are about to start.
        listed = [*threading.enumerate(), waiting]
        monkeypatch.setattr(threading, "enumerate", lambda: listed)
        raise OSError("the disk is full")
    logging.getLogger("asyncio").error(FULL)
    assert not caplog.records


def test_messages_return_after_a_write(tmp_path, caplog):
    hooks = threading.excepthook, sys.unraisablehook
    with failed_writes.without_library_messages(tmp_path):
        logging.getLogger("absl").error("a message of a library")
    assert not caplog.records
    logging.getLogger("absl").error("%s: another message", tmp_path)
    assert len(caplog.records) == 1
    assert (threading.excepthook, sys.unraisablehook) == hooks


def test_messages_return_after_writes_of_two_threads(tmp_path, caplog):
    hooks = threading.excepthook, sys.unraisablehook
    entered, second_runs, first_ended = (threading.Event() for _ in range(3))

    def write_first():
        with failed_writes.without_library_messages(tmp_path / "first"):
            entered.set()
            assert second_runs.wait(10)
            time.sleep(0.1)
        first_ended.set()

    def write_second():
        second_runs.set()
        with failed_writes.without_library_messages(tmp_path / "second"):
            assert first_ended.wait(10)

    first = threading.Thread(target=write_first)
    second = threading.Thread(target=write_second)
    first.start()
    assert entered.wait(10)
    second.start()
    for thread in (first, second):
        thread.join(20)
    logging.getLogger("absl").error("another message")
    assert [record.getMessage() for record in caplog.records] == ["another message"]
    assert (threading.excepthook, sys.unraisablehook) == hooks


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (FULL, "no space left on the disk"),
        ("[Errno 28] No space left on device", "no space left on the disk"),
        ("Permission denied", "Permission denied"),
    ],
)
def test_reason(message, expected):
    assert expected in failed_writes.reason(OSError(message))
