"""The lock of a run folder: only one process at a time trains in it.

The process holds a lock of the operating system on `run.lock`, which ends with the
process. So the file of a run that was killed is stale, and the next run replaces it.
The file names host and process for the error message.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
from typing import Any, Self

from absl import logging

from dsbs_jax import files, interruption
from dsbs_jax.errors import UserError

LOCK_FILE = "run.lock"
# Errors of file systems without such locks.
_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class RunLock:
    """Holds the lock of a run folder inside a `with` block.

    Creates the folder. Folders that the block leaves empty are removed again.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Takes the folder; entering the block locks it."""
        self._folder, self._path = folder, folder / LOCK_FILE
        self._created: list[pathlib.Path] = []
        self._file = -1

    def __enter__(self) -> Self:
        """Locks the folder.

        Raises:
            UserError: Another process holds the lock, or the folder cannot be written.
        """
        folder = self._folder
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._created = missing
            self._file = _lock(self._path)
            self._removed = interruption.removed(self._path)
            self._removed.__enter__()
        except OSError as error:
            self._remove_created()
            raise UserError(
                f"MODEL_DIR {folder}: cannot be written ({error.strerror})"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the file and the lock."""
        # In this order: a process that waits for the lock finds that its file is gone.
        self._removed.__exit__(None, None, None)
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._remove_created()

    def _remove_created(self) -> None:
        with contextlib.suppress(OSError):
            for folder in self._created:
                folder.rmdir()  # fails if the folder has files


def check_free(folder: pathlib.Path) -> None:
    """Checks that no process trains in a folder, which need not exist.

    Raises:
        UserError: Another process holds the lock.
    """
    if (folder / LOCK_FILE).exists():
        with RunLock(folder):
            pass


def _lock(path: pathlib.Path) -> int:
    """Opens and locks the file, and writes who holds it; returns its descriptor."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, files.default_mode())
        try:
            _take(file, path)
            # Another process may have removed the file after it was opened.
            if _is_same_file(file, path):
                _write_owner(file)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _take(file: int, path: pathlib.Path) -> None:
    """Takes the lock of the operating system.

    Raises:
        UserError: Another process holds it. On a file system without locks, the file
            names a process that may still run.
    """
    owner = _read_owner(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Read again: the other process may have written it a moment ago.
        raise UserError(_in_use(path, _read_owner(file))) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if owner and _may_run(owner):
            raise UserError(
                f"{_in_use(path, owner)}; if that process has ended, delete {path}"
            ) from None
    if owner:
        logging.info(
            "%s: process %s on %s ended without removing its lock; the lock is stale",
            path.parent,
            owner.get("pid"),
            owner.get("host"),
        )


def _in_use(path: pathlib.Path, owner: dict[str, Any]) -> str:
    who = "another process"
    if owner:
        who = f"process {owner.get('pid')} on {owner.get('host')}"
    return (
        f"MODEL_DIR {path.parent}: {who} trains in this folder; wait until it ends, or "
        "use another MODEL_DIR"
    )


def _read_owner(file: int) -> dict[str, Any]:
    """Returns host and process in the file; {} for a new or partly written file."""
    try:
        owner = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _write_owner(file: int) -> None:
    owner = {"host": socket.gethostname(), "pid": os.getpid()}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(owner).encode() + b"\n", 0)


def _is_same_file(file: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _may_run(owner: dict[str, Any]) -> bool:
    """Returns whether the process may still run; on another host this is assumed."""
    if owner.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(owner["pid"]), 0)
    except (ProcessLookupError, ValueError, KeyError, TypeError):
        return False
    except PermissionError:
        return True
    return True
