"""One error for a checkpoint that cannot be written, instead of hundreds of lines.

Orbax and TensorStore write a checkpoint in several threads and futures. If the disk is
full, each of them reports the failure, and some report it only later, when Python
deletes a future whose exception nobody read.
"""

import contextlib
import logging
import pathlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator

from dsbs_jax import errors
from dsbs_jax.weights import arrays

# Seconds to wait for the threads of a write that failed.
_THREADS_END = 10.0
# What operating systems and TensorStore report for a full disk.
_DISK_FULL = re.compile(r"No space left on device|RESOURCE_EXHAUSTED|Disk quota")
# What a late callback of TensorStore raises, after Orbax has closed its event loop.
_CLOSED = "Event loop is closed"
# The loggers of Orbax, and of futures whose exception nobody read.
_LOGGERS = ("absl", "asyncio")
# The state below belongs to the process. Without the lock, of two writes in two threads
# the later one would restore what the earlier one had set.
_lock = threading.RLock()


def reason(error: Exception) -> str:
    """Returns the cause of a failed write in a few words."""
    is_system = isinstance(error, OSError) and error.strerror
    text = errors.reason(error) if is_system else arrays.reason(error)
    return "no space left on the disk" if _DISK_FULL.search(text) else text


@contextlib.contextmanager
def without_library_messages(checkpoint: pathlib.Path) -> Iterator[None]:
    """Drops what libraries log and what their threads print about a checkpoint.

    While the checkpoint is written, all their messages are dropped, and writes of other
    threads wait. If the write fails, messages about this checkpoint are dropped until
    the process ends, because the error that the caller gets has the same text.

    Args:
        checkpoint: The folder that is written in this context.
    """
    with _lock:
        yield from _without_messages(checkpoint)


def _without_messages(checkpoint: pathlib.Path) -> Iterator[None]:
    hooks = threading.excepthook, sys.unraisablehook
    disabled = logging.root.manager.disable
    # TensorStore prints exceptions of its callbacks with the second hook.
    threading.excepthook, sys.unraisablehook = lambda _: None, lambda _: None
    logging.disable(logging.CRITICAL)
    before = set(threading.enumerate())
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + _THREADS_END
        for thread in set(threading.enumerate()) - before:
            # A thread that has not started yet cannot be joined.
            with contextlib.suppress(RuntimeError):
                thread.join(max(0.0, deadline - time.monotonic()))
        hooks = _drop_late_messages(checkpoint, *hooks)
        raise
    finally:
        logging.disable(disabled)
        threading.excepthook, sys.unraisablehook = hooks


_ThreadHook = Callable[[threading.ExceptHookArgs], object]
_Hook = Callable[["sys.UnraisableHookArgs"], object]


def _drop_late_messages(
    checkpoint: pathlib.Path, thread_hook: _ThreadHook, hook: _Hook
) -> tuple[_ThreadHook, _Hook]:
    """Filters the loggers, and returns filtered hooks for exceptions."""

    def is_about(*parts: object) -> bool:
        text = " ".join(map(str, parts))
        return str(checkpoint) in text or _DISK_FULL.search(text) is not None

    def keep(record: logging.LogRecord) -> bool:
        return not is_about(record.getMessage(), record.exc_info)

    def filtered_thread_hook(arguments: threading.ExceptHookArgs) -> None:
        if not is_about(arguments.exc_value):
            thread_hook(arguments)

    def filtered_hook(arguments: "sys.UnraisableHookArgs") -> None:
        value = arguments.exc_value
        if not is_about(value) and _CLOSED not in str(value):
            hook(arguments)

    # Handlers too, for messages of loggers below these.
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for filterer in (*loggers, *logging.root.handlers):
        filterer.addFilter(keep)
    return filtered_thread_hook, filtered_hook
