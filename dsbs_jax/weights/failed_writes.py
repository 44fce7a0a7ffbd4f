"""One error for a checkpoint that cannot be written, instead of hundreds of lines.

Orbax and TensorStore write a checkpoint in several threads and futures. If the disk is
full, each of them reports the failure, and some report it only later, when Python
deletes a future whose exception nobody read.
"""

import contextlib
import logging
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterator

from dsbs_jax.weights import arrays

# Seconds to wait for the threads of a write that failed.
_THREADS_END = 10.0
# What operating systems and TensorStore report for a full disk.
_DISK_FULL = re.compile(r"No space left on device|RESOURCE_EXHAUSTED|Disk quota")
# The loggers of Orbax, and of futures whose exception nobody read.
_LOGGERS = ("absl", "asyncio")


def reason(error: Exception) -> str:
    """Returns the cause of a failed write in a few words."""
    text = arrays.reason(error)
    return "no space left on the disk" if _DISK_FULL.search(text) else text


@contextlib.contextmanager
def without_library_messages(checkpoint: pathlib.Path) -> Iterator[None]:
    """Drops what libraries log and what their threads print about a checkpoint.

    While the checkpoint is written, all their messages are dropped. If the write fails,
    messages about this checkpoint are dropped until the process ends, because the error
    that the caller gets has the same text.

    Args:
        checkpoint: The folder that is written in this context.
    """
    hook, disabled = threading.excepthook, logging.root.manager.disable
    threading.excepthook = lambda _: None
    logging.disable(logging.CRITICAL)
    before = set(threading.enumerate())
    try:
        yield
    except BaseException:
        deadline = time.monotonic() + _THREADS_END
        for thread in set(threading.enumerate()) - before:
            thread.join(max(0.0, deadline - time.monotonic()))
        hook = _drop_late_messages(checkpoint, hook)
        raise
    finally:
        logging.disable(disabled)
        threading.excepthook = hook


_Hook = Callable[[threading.ExceptHookArgs], object]


def _drop_late_messages(checkpoint: pathlib.Path, hook: _Hook) -> _Hook:
    """Filters the loggers, and returns a filtered hook for exceptions in threads."""

    def is_about(*parts: object) -> bool:
        text = " ".join(map(str, parts))
        return str(checkpoint) in text or _DISK_FULL.search(text) is not None

    def keep(record: logging.LogRecord) -> bool:
        return not is_about(record.getMessage(), record.exc_info)

    def filtered_hook(arguments: threading.ExceptHookArgs) -> None:
        if not is_about(arguments.exc_value):
            hook(arguments)

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(keep)
    return filtered_hook
