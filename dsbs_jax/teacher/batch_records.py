"""The batches of an output folder: a request file and a record for each.

Each batch has two files in OUTPUT_DIR/batches: `1.jsonl` with its requests, and
`1.json` with the record. A record is written before each step on the server, so a
killed run finds every batch again. When all replies of a batch are stored, only a short
record of the batch is kept.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher.budget import Spending
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.sampling import CHAT

FOLDER = "batches"
Body = dict[str, Any]
# Limits of the API for one file.
MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000


class BatchRow(msgspec.Struct, frozen=True):
    """One request of a batch.

    Attributes:
        key: The line's custom_id, which is the key of the first sample.
        id: Id of the input.
        samples: Numbers of the samples that the request asks for.
        keys: The key of each sample.
        prompt_tokens: Estimated tokens of the prompt.
        completion_tokens: Maximum tokens of the completions.
    """

    key: str
    id: str
    samples: tuple[int, ...]
    keys: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int

    @property
    def max_spending(self) -> Spending:
        """The most that the request can cost."""
        return Spending(1, self.prompt_tokens, self.completion_tokens).in_batch()


class Refusal(msgspec.Struct, frozen=True):
    """Why a server refused all requests of a batch.

    Attributes:
        url: The server's address.
        reason: What it said.
        detail: What it said, with the field that it named.
    """

    url: str
    reason: str
    detail: str = ""


class BatchRecord(msgspec.Struct):
    """The record of a batch.

    Attributes:
        fingerprint: SHA-256 of the request file, which the batch's metadata holds.
        max_tokens: The token limit of the requests.
        rows: The requests; empty once the replies are stored.
        file_id: The server's id of the uploaded file, or None.
        batch_id: The server's id of the batch, or None if it may not exist yet.
        is_collected: Whether all replies are stored.
        changes: Changes to the requests that the server needed (`features`).
        refusal: Why the server refused all requests for one of their fields, or None.
        server_files: Ids of the files that are still on the server, once the replies
            are stored.
    """

    fingerprint: str
    max_tokens: int
    rows: tuple[BatchRow, ...]
    file_id: str | None = None
    batch_id: str | None = None
    is_collected: bool = False
    changes: tuple[str, ...] = ()
    refusal: Refusal | None = None
    server_files: tuple[str, ...] = ()


class BatchFiles:
    """The files of an output folder's batches."""

    def __init__(self, output: pathlib.Path) -> None:
        """Takes the output folder; creates nothing."""
        self._folder = output / FOLDER

    def read(self) -> dict[int, BatchRecord]:
        """Reads the records by their numbers, in order.

        Raises:
            UserError: A record is corrupt.
        """
        numbers = [int(p.stem) for p in self._folder.glob("*.json") if _is_number(p)]
        records = {}
        for number in sorted(numbers):
            path = self.record_path(number)
            try:
                records[number] = json_input.parse(path.read_bytes(), BatchRecord)
            except JsonError as error:
                raise UserError(
                    f"{path}: {error}; remove the file to send its requests again, "
                    "which pays for them again"
                ) from error
        return records

    def write(self, number: int, record: BatchRecord) -> None:
        """Writes a record."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # ASCII with escapes can represent any id, lone surrogates included.
        content = json.dumps(msgspec.to_builtins(record))
        files.write(self.record_path(number), content)

    def write_requests(self, number: int, content: bytes) -> pathlib.Path:
        """Writes the request file of a batch and returns its path."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{number}.jsonl"
        files.write(path, content)
        return path

    def remove(self, number: int) -> None:
        """Removes the files of a batch that the server does not have."""
        self.record_path(number).unlink(missing_ok=True)
        self._remove_others(number)

    def finish(
        self, number: int, record: BatchRecord, server_files: tuple[str, ...]
    ) -> None:
        """Records that all replies of a batch are stored.

        Args:
            number: The number of the batch.
            record: Its record.
            server_files: Ids of the files that the server no longer needs.
        """
        record.is_collected, record.rows = True, ()
        record.server_files = server_files
        self.write(number, record)
        self._remove_others(number)

    def record_path(self, number: int) -> pathlib.Path:
        """Returns the path of a record."""
        return self._folder / f"{number}.json"

    def result_path(self, number: int, name: str) -> pathlib.Path:
        """Returns the path of a downloaded file: "1.output.jsonl"."""
        return self._folder / f"{number}.{name}.jsonl"

    def _remove_others(self, number: int) -> None:
        for path in self._folder.glob(f"{number}.*jsonl"):
            path.unlink(missing_ok=True)


def check_none_pending(output: pathlib.Path) -> None:
    """Raises UserError if a direct run would pay for requests of a batch again."""
    batch_files = BatchFiles(output)
    for number, record in batch_files.read().items():
        if not record.is_collected:
            raise UserError(
                f"{batch_files.record_path(number)}: the replies of this batch are "
                "not stored yet; run the same command with --batch to collect them, "
                "or remove the file to pay for its requests again"
            )


def split(
    plan: RequestPlan,
    requests: Sequence[Request],
    adapt: Callable[[Body], Body] = dict,
) -> Iterator[tuple[bytes, BatchRecord]]:
    """Yields the request file and the record of each batch, within the API's limits.

    Args:
        plan: Gives the bodies of requests.
        requests: The requests.
        adapt: Changes a body to one that the server accepts.
    """
    lines: list[bytes] = []
    rows: list[BatchRow] = []
    size = 0
    for request in requests:
        line = _line(plan, request, adapt)
        if rows and (len(rows) == MAX_REQUESTS or size + len(line) > MAX_BYTES):
            yield _batch(plan, lines, rows)
            lines, rows, size = [], [], 0
        lines.append(line)
        rows.append(_row(request))
        size += len(line)
    if rows:
        yield _batch(plan, lines, rows)


def endpoint_path(style: str) -> str:
    """Returns the path of the API that a batch's requests are for."""
    return "/v1/chat/completions" if style == CHAT else "/v1/completions"


def _batch(
    plan: RequestPlan, lines: list[bytes], rows: list[BatchRow]
) -> tuple[bytes, BatchRecord]:
    content = b"".join(lines)
    fingerprint = hashlib.sha256(content).hexdigest()
    return content, BatchRecord(fingerprint, plan.sampling.max_tokens, tuple(rows))


def _row(request: Request) -> BatchRow:
    return BatchRow(
        key=request.keys[0],
        id=request.row.id,
        samples=request.samples,
        keys=request.keys,
        prompt_tokens=request.max_spending.prompt_tokens,
        completion_tokens=request.max_spending.completion_tokens,
    )


def request_body(plan: RequestPlan, request: Request) -> Body:
    """Returns the body of a request, as a server that accepts every field gets it."""
    body = plan.request_body(request.row.input, request.samples[0])
    if len(request.samples) > 1:
        body["n"] = len(request.samples)
    return body


def _line(plan: RequestPlan, request: Request, adapt: Callable[[Body], Body]) -> bytes:
    line = {
        "custom_id": request.keys[0],
        "method": "POST",
        "url": endpoint_path(plan.sampling.style),
        "body": adapt(request_body(plan, request)),
    }
    return json.dumps(line).encode("ascii") + b"\n"


def _is_number(path: pathlib.Path) -> bool:
    return path.stem.isascii() and path.stem.isdigit()
