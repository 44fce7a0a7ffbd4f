"""The lock of a folder: only one process at a time trains or writes in it.

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
from dsbs_jax.errors import UserError, reason

LOCK_FILE = "run.lock"
# Tries to lock a folder that other processes create and remove at the same time.
_TRIES = 100
# Errors of file systems without such locks.
_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class InUseError(UserError):
    """Another process holds the lock of a folder."""


class RunLock:
    """Holds the lock of a folder inside a `with` block.

    Creates the folder. Folders that the block leaves empty are removed again.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        name: str = "MODEL_DIR",
        use: str = "trains in this folder",
    ) -> None:
        """Takes the folder; entering the block locks it.

        Args:
            folder: The folder.
            name: The setting of the folder, for messages.
            use: What another process does with it, for messages.
        """
        self._folder, self._path = folder, folder / LOCK_FILE
        self._name, self._use = name, use
        self._created: list[pathlib.Path] = []
        self._file = -1

    def __enter__(self) -> Self:
        """Locks the folder.

        Raises:
            InUseError: Another process holds the lock.
            UserError: The folder cannot be written.
        """
        try:
            self._file = self._create_and_lock()
            self._removed = interruption.removed(self._path)
            self._removed.__enter__()
        except OSError as error:
            self._remove_created()
            raise UserError(
                f"{self._name} {self._folder}: cannot be written ({reason(error)})"
            ) from error
        return self

    def _create_and_lock(self, tries: int = _TRIES) -> int:
        """Creates the folder, and locks its file; returns the file's descriptor."""
        folder = self._folder
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._created = self._created or missing
            return self._lock()
        except (FileNotFoundError, FileExistsError):
            if tries == 1:
                raise
        # Another process has removed the folder, which it left empty.
        return self._create_and_lock(tries - 1)

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

    def _lock(self) -> int:
        """Opens and locks the file, and writes who holds it; returns its descriptor."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, files.default_mode())
            try:
                self._take(file)
                # Another process may have removed the file after it was opened.
                if _is_same_file(file, self._path):
                    _write_owner(file)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def _take(self, file: int) -> None:
        """Takes the lock of the operating system.

        Raises:
            InUseError: Another process holds it. On a file system without locks, the
                file names a process that may still run.
        """
        owner = _read_owner(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Read again: the other process may have written it a moment ago.
            raise InUseError(self._in_use(_read_owner(file))) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            if owner and _may_run(owner):
                raise InUseError(
                    f"{self._in_use(owner)}; if that process has ended, delete "
                    f"{self._path}"
                ) from None
        if owner:
            logging.info(
                "%s: process %s on %s ended without removing its lock, which is stale",
                self._folder,
                owner.get("pid"),
                owner.get("host"),
            )

    def _in_use(self, owner: dict[str, Any]) -> str:
        who = "another process"
        if owner:
            who = f"process {owner.get('pid')} on {owner.get('host')}"
        return (
            f"{self._name} {self._folder}: {who} {self._use}; wait until it ends, or "
            f"use another {self._name}"
        )


def check_free(folder: pathlib.Path) -> None:
    """Checks that no process trains in a folder, which need not exist.

    Raises:
        InUseError: Another process holds the lock.
    """
    if (folder / LOCK_FILE).exists():
        with RunLock(folder):
            pass


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
