r"""Replies as they came, in a log that a kill at any moment cannot hurt.

`replies.jsonl` only ever grows: a line a reply, written in one piece and forced to the
disk before the next step is taken. Each line holds a checksum of the rest of it, so
that one that was cut short or changed is noticed: it is set aside in `damaged.jsonl`,
named, and its request is sent again. Lines without a reply (`key` is null) say only
what was spent in vain.

    {"checksum": "9f…", "finish_reason": "stop", "id": "7", "key": "c0…", "sample": 0,
     "spent": [1, 812, 40], "text": "It is hot. So the answer is yes."}
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.teacher.budget import Spending

LOG = "replies.jsonl"
DAMAGED = "damaged.jsonl"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """One reply.

    Attributes:
        key: The request's (`sampling.Sampling.key`).
        id: Of the example it was first asked for.
        sample: The sample's number, from 0.
        text: The raw completion.
        finish_reason: As the server gave it.
        spent: Requests and tokens until it came.
    """

    key: str
    id: str
    sample: int
    text: str
    finish_reason: str | None
    spent: Spending


class Store:
    """The replies of one output folder; only one process may have it open.

    Attributes:
        path: The log.
        replies: By key.
        spent: All that was ever spent.
        damaged: What is wrong with each line that was set aside, by number.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens or makes the folder, and reads what is there.

        Raises:
            UserError: Another process has it open.
            OSError: It cannot be read or written.
        """
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder / _LOCK)
        self.path = self._folder / LOG
        self.replies: dict[str, Stored] = {}
        self.spent = Spending()
        self.damaged: list[str] = []
        self._read()
        self._log = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        _sync_folder(self._folder)

    def close(self) -> None:
        """Lets others open it."""
        os.close(self._log)
        os.close(self._lock)

    def add(self, stored: Stored) -> None:
        """Keeps a reply for good.

        Raises:
            OSError: It cannot be written.
        """
        self._append(
            {
                "key": stored.key,
                "id": stored.id,
                "sample": stored.sample,
                "text": stored.text,
                "finish_reason": stored.finish_reason,
                "spent": dataclasses.astuple(stored.spent),
            }
        )
        self.replies[stored.key] = stored
        self.spent.add(stored.spent)

    def add_spent(self, spent: Spending) -> None:
        """Keeps what was spent without a reply.

        Raises:
            OSError: It cannot be written.
        """
        self._append({"key": None, "spent": dataclasses.astuple(spent)})
        self.spent.add(spent)

    def _append(self, entry: dict[str, Any]) -> None:
        # A tuple would read back as a list, and the checksum is of what is read.
        entry["spent"] = list(entry["spent"])
        line = _encode({**entry, "checksum": _checksum(entry)}) + b"\n"
        size = os.fstat(self._log).st_size
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._log, view) :]
            os.fsync(self._log)
        except OSError:
            # A full disk: the next line must not be glued to half of this one.
            os.ftruncate(self._log, size)
            raise

    def _read(self) -> None:
        try:
            content = self.path.open("rb")
        except FileNotFoundError:
            return
        bad: dict[int, bytes] = {}
        with content:
            for number, line in enumerate(content, 1):
                problem = self._take(line)
                if problem:
                    bad[number] = line.removesuffix(b"\n") + b"\n"
                    self.damaged.append(f"line {number}: {problem}")
        if bad:
            self._set_aside(bad)

    def _take(self, line: bytes) -> str | None:
        """Reads one line; returns what is wrong with it."""
        if not line.endswith(b"\n"):
            return "cut short"
        try:
            entry = json.loads(line)
            checksum = entry.pop("checksum")
            if checksum != _checksum(entry):
                return "its checksum is another"
            spent = Spending(*entry["spent"])
            if entry["key"] is not None:
                stored = Stored(**{**entry, "spent": spent})
                self.replies[stored.key] = stored
        except (ValueError, RecursionError):
            return "broken JSON"
        except (AttributeError, KeyError, TypeError):
            return "not an entry"
        self.spent.add(spent)
        return None

    def _set_aside(self, bad: dict[int, bytes]) -> None:
        """Moves damaged lines to a file of their own.

        First they are written there and then the log anew, so that a kill in between
        leaves them in both, which does no harm.
        """
        with (self._folder / DAMAGED).open("ab") as file:
            file.write(b"".join(bad.values()))
            file.flush()
            os.fsync(file.fileno())
        whole = self._folder / f".{LOG}.new"
        with self.path.open("rb") as old, whole.open("wb") as new:
            for number, line in enumerate(old, 1):
                if number not in bad:
                    new.write(line)
            new.flush()
            os.fsync(new.fileno())
        os.replace(whole, self.path)


def _encode(entry: dict[str, Any]) -> bytes:
    # In ASCII with escapes, whatever characters a teacher comes up with.
    return json.dumps(entry, sort_keys=True).encode("ascii")


def _checksum(entry: dict[str, Any]) -> str:
    return hashlib.sha256(_encode(entry)).hexdigest()[:32]


def _lock(path: pathlib.Path) -> int:
    """Takes the lock of a folder; it ends with the process, however that ends."""
    lock = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise UserError(f"{path.parent}: another process is writing to it") from error
    return lock


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes sure that the names of new files are on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
