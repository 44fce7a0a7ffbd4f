r"""Stores raw replies in a log that survives a kill, a power loss and a full disk.

`replies.jsonl` is append-only, one line per reply. Each line is forced to the disk
before the next step, so a stored reply is never requested again. Each line holds a
checksum of its other fields. When the log is opened, damaged lines move to
`damaged.jsonl` and are reported, and only their requests are sent again. A line with
`key` null records spending without a reply.

    {"checksum": "9f…", "finish_reason": "stop", "id": "7", "key": "c0…", "sample": 0,
     "spent": [1, 812, 40], "text": "It is hot. So the answer is yes."}

The log is not an SQLite database, because one changed byte in a database can make all
of its replies unreadable. In the log it costs at most two replies.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import finish_reasons
from dsbs_jax.teacher.budget import Spending

LOG = "replies.jsonl"
DAMAGED = "damaged.jsonl"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply and its cost.

    Attributes:
        key: The request's key (`sampling.request_key`).
        id: Id of the input that the reply was first requested for.
        sample: Number of the sample, from 0.
        text: The raw completion.
        finish_reason: The server's reason for the end of the completion, or None.
        spent: Requests and tokens of all attempts until the reply arrived.
        reasoning: The model's reasoning, if the server separates it from the text.
        problem: Why there is no text, in the server's words, or None.
        tokens: Tokens of the completion that the server counted, or None.
        max_tokens: The token limit of the request; None in logs of version 0.1.
        changes: Changes to the request that the server needed (`features`).
        batch: The server's id of the batch that the reply is from, or None.
    """

    key: str
    id: str
    sample: int
    text: str
    finish_reason: str | None
    spent: Spending
    reasoning: str | None = None
    problem: str | None = None
    tokens: int | None = None
    max_tokens: int | None = None
    changes: tuple[str, ...] = ()
    batch: str | None = None

    @property
    def may_be_incomplete(self) -> bool:
        """Whether the server may have cut the reply off."""
        return finish_reasons.may_be_incomplete(
            self.finish_reason, self.tokens, self.max_tokens
        )

    @property
    def answer_text(self) -> str:
        """The text to read; without one the complete reasoning, or an empty text.

        Some servers put everything into the reasoning if the model does not mark its
        end.
        """
        if self.text.strip() or self.problem or self.may_be_incomplete:
            return self.text
        return self.reasoning or self.text

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self.answer_text.strip()

    def why_empty(self) -> str:
        """Returns why there is nothing to read, in the server's words if it says so."""
        if self.problem:
            return self.problem
        count = "" if self.tokens is None else f", {self.tokens:,} tokens"
        ended = f"finish reason {self.finish_reason!r}{count}"
        if self.may_be_incomplete:
            return f"the reply was cut off before its text ({ended}); raise MAX_TOKENS"
        return f"the reply is empty ({ended})"

    def entry(self) -> dict[str, Any]:
        """Returns the fields of the log's line, without those that are not known."""
        fields = dataclasses.asdict(self)
        fields["changes"] = list(self.changes) or None
        optional = ("reasoning", "problem", "tokens", "max_tokens", "changes", "batch")
        return {n: v for n, v in fields.items() if v is not None or n not in optional}


class Store:
    """The replies of one output folder, open in one process at a time.

    All methods raise OSError if a file cannot be read or written.

    Attributes:
        path: The log file.
        replies: The replies by key.
        spent: Everything ever spent on the folder.
        damaged: The problem of each damaged line that was moved: "line 3: cut short".
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Opens the folder, or creates it, and reads the log.

        Raises:
            UserError: Another process has the folder open.
        """
        self._folder = pathlib.Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder / _LOCK)
        self.path = self._folder / LOG
        self.replies: dict[str, StoredReply] = {}
        self.spent = Spending()
        self.damaged: list[str] = []
        if self.path.exists():
            self._read()
        self._log = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        _sync_folder(self._folder)

    def close(self) -> None:
        """Closes the log and releases the folder."""
        os.close(self._log)
        os.close(self._lock)

    def add(self, *replies: StoredReply) -> None:
        """Writes the replies to one request to the disk, in one step."""
        self._append([(reply.entry(), reply.spent) for reply in replies])
        self.replies |= {reply.key: reply for reply in replies}

    def add_spent(self, spent: Spending) -> None:
        """Writes spending without a reply to the disk."""
        self._append([({"key": None}, spent)])

    def _append(self, entries: list[tuple[dict[str, Any], Spending]]) -> None:
        line = b""
        for entry, spent in entries:
            entry["spent"] = list(spent.entry().values())
            line += _encode({**entry, "checksum": _checksum(entry)}) + b"\n"
        size = os.fstat(self._log).st_size
        try:
            remaining = memoryview(line)
            while remaining:
                remaining = remaining[os.write(self._log, remaining) :]
            # Without this, a power loss could lose a reply that was paid for.
            os.fsync(self._log)
        except OSError:
            # On a full disk, remove the partial line: the next one must not follow it.
            os.ftruncate(self._log, size)
            raise
        for _, spent in entries:
            self.spent.add(spent)

    def _read(self) -> None:
        good, damaged = [], []
        with self.path.open("rb") as log:
            for number, line in enumerate(log, 1):
                problem = self._read_line(line)
                if problem:
                    self.damaged.append(f"line {number}: {problem}")
                    damaged.append(line.removesuffix(b"\n") + b"\n")
                else:
                    good.append(line)
        if damaged:
            # In this order, because a kill between the two steps then leaves the
            # damaged lines in both files and loses nothing.
            _write_synced(self._folder / DAMAGED, damaged, "ab")
            repaired = self._folder / f".{LOG}.new"
            _write_synced(repaired, good, "wb")
            os.replace(repaired, self.path)

    def _read_line(self, line: bytes) -> str | None:
        """Reads one line of the log; returns its problem, or None."""
        if not line.endswith(b"\n"):
            return "cut short"
        try:
            entry = json.loads(line)
            if entry.pop("checksum") != _checksum(entry):
                return "wrong checksum"
            spent = Spending(*entry["spent"])
            if entry["key"] is not None:
                changes = tuple(entry.get("changes", ()))
                reply = StoredReply(**{**entry, "spent": spent, "changes": changes})
                self.replies[reply.key] = reply
        except (ValueError, RecursionError):
            return "not valid JSON"
        except (AttributeError, KeyError, TypeError):
            return "not an entry of the log"
        self.spent.add(spent)
        return None


def _write_synced(path: pathlib.Path, lines: list[bytes], mode: str) -> None:
    with open(path, mode) as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def _encode(entry: dict[str, Any]) -> bytes:
    # ASCII with escapes can represent any text, lone surrogates included.
    return json.dumps(entry, sort_keys=True).encode("ascii")


def _checksum(entry: dict[str, Any]) -> str:
    return hashlib.sha256(_encode(entry)).hexdigest()[:32]


def _lock(path: pathlib.Path) -> int:
    """Locks a folder. The operating system releases the lock if the process dies."""
    lock = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise UserError(f"{path.parent}: another process is writing to it") from error
    return lock


def _sync_folder(folder: pathlib.Path) -> None:
    """Forces the names of new files to the disk; `fsync` of a file does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
