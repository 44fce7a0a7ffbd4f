"""Ends commands on Ctrl-C (SIGINT) and SIGTERM: one line and exit status 130 or 143.

A command calls `install` before it imports anything large. A thread then waits for the
signals, so that a command ends at once even while the main thread is inside a library,
which would delay or swallow an exception.

Training saves its state first. It records signals in a `recorded` block, and calls
`check` or reads `signal_received` where it can stop. If the main thread has not reached
such a place after `GRACE` seconds, or a second signal arrives, the process ends without
saving; earlier checkpoints are complete.

In a program that uses the library, without `install`, Ctrl-C raises KeyboardInterrupt
as usual, except in a `recorded` block.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds in which the main thread must notice a signal that is recorded.
GRACE = 25.0
# Seconds that the process waits for a file that is being written, and for the output.
_PATIENCE = 5.0


class Stopped(BaseException):
    """A signal arrived; not an Exception, so that no library catches it.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """The state of the process."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.recorders = 0
        self.noticed = threading.Event()
        self.installed = False
        # Held while a file is replaced.
        self.writing = threading.RLock()
        self.temporary: list[str] = []
        # A copy of standard error: imports redirect the original for a moment.
        self.output = 2


_state = _State()


def install() -> None:
    """Ends this process on SIGINT and SIGTERM from now on.

    A signal that the process ignores, as background jobs of a shell ignore SIGINT,
    remains ignored.
    """
    if _state.installed or threading.current_thread() is not threading.main_thread():
        return
    _state.installed = True
    with contextlib.suppress(OSError):  # standard error may be closed
        _state.output = os.dup(2)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            # Python writes to the descriptor only for signals with a handler.
            signal.signal(number, _ignore)
    threading.Thread(target=_watch, args=[reading], daemon=True).start()


def _ignore(number: int, frame: types.FrameType | None) -> None:
    pass


def _watch(descriptor: int) -> None:
    """Waits for signals; runs in a thread of its own."""
    while True:
        for number in os.read(descriptor, 1):
            if number in SIGNALS:
                _handle(number)


def _handle(number: int) -> None:
    if not _state.recorders:
        _exit(number, "stopped")
    if _state.received is not None:
        _exit(number, "stopped at the second signal without saving")
    _state.received = number
    threading.Thread(target=_limit_time, args=[number], daemon=True).start()


def _limit_time(number: int) -> None:
    if not _state.noticed.wait(GRACE) and _state.recorders:
        _exit(number, f"the step did not end within {GRACE:.0f} s; stopped")


def _exit(number: int, what: str) -> None:
    """Ends the process with one line."""
    # A file is replaced in a moment; the process ends even if the lock is stuck.
    _state.writing.acquire(timeout=_PATIENCE)
    for path in _state.temporary:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(path)
    line = f"{signal.Signals(number).name}: {what}; run the same command again\n"
    printer = threading.Thread(target=_print, args=[line], daemon=True)
    printer.start()
    # Another thread may hold the lock of the output.
    printer.join(_PATIENCE)
    os._exit(128 + number)


def _print(line: str) -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(Exception):
        sys.stderr.flush()
        os.write(_state.output, line.encode())


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Records signals in a block that saves its state before the process ends.

    Without `install`, it installs handlers for the block, in the main thread only.
    """
    previous: dict[int, Any] = {}
    in_main = threading.current_thread() is threading.main_thread()
    if not _state.installed and in_main:
        previous = {n: signal.getsignal(n) for n in SIGNALS}
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _record)
    if not _state.recorders:
        _state.received = None
        _state.noticed.clear()
    _state.recorders += 1
    try:
        yield
    finally:
        _state.recorders -= 1
        for number, handler in previous.items():
            signal.signal(number, handler)


def _record(number: int, frame: types.FrameType | None) -> None:
    if _state.received is not None:
        # The second Ctrl-C does not wait for the end of a step.
        raise KeyboardInterrupt
    _state.received = number


def signal_received() -> int | None:
    """Returns the signal that arrived in the `recorded` block, or None."""
    if _state.received is not None:
        _state.noticed.set()
    return _state.received


def check() -> None:
    """Stops long work that changes no state, inside a `recorded` block.

    Raises:
        Stopped: A signal has arrived.
    """
    number = signal_received() if _state.recorders else None
    if number is not None:
        raise Stopped(number)


@contextlib.contextmanager
def complete_write() -> Iterator[None]:
    """Lets a signal wait for a block that replaces a file."""
    with _state.writing:
        yield


@contextlib.contextmanager
def removed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Removes a temporary file or folder if a signal ends the process in the block."""
    name = os.fspath(path)
    _state.temporary.append(name)
    try:
        yield
    finally:
        _state.temporary.remove(name)
