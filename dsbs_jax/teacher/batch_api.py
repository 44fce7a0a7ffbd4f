"""The requests of OpenAI's Batch API: files and batches, with retries."""

import pathlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import openai
import tenacity
from msgspec import Meta

from dsbs_jax import json_input
from dsbs_jax.errors import UserError
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher.batch_records import endpoint_path
from dsbs_jax.teacher.connection import Connection
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.failures import RequestFailure, RunFailure

T = TypeVar("T")
_Id = Annotated[str, Meta(pattern=r"^[!-~]{1,1000}$")]

RUNNING = ("validating", "in_progress", "finalizing", "cancelling")
ENDED = ("completed", "failed", "expired", "cancelled")
# The field of a batch's metadata that holds the fingerprint of its requests.
FINGERPRINT = "dsbs_jax_requests"
_PAGE = 100
_MAX_JSON_BYTES = 8 << 20
# An output file has at most 50,000 replies of a few kilobytes.
_MAX_FILE_BYTES = 4 << 30
# Bytes per second of the slowest connection that can transfer a file.
_SLOWEST = 50_000
_NOT_FOUND = 404
_NO_BATCHES = (_NOT_FOUND, 405, 501)


class Batch(msgspec.Struct, frozen=True):
    """The server's description of a batch."""

    id: _Id
    status: str
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: Any = None
    metadata: Any = None
    errors: Any = None

    def file_ids(self) -> tuple[str, ...]:
        """Returns the ids of the batch's files."""
        files = (self.input_file_id, self.output_file_id, self.error_file_id)
        return tuple(file_id for file_id in files if file_id)

    def count(self, name: str) -> int:
        """Returns the number of requests in a count such as "failed"; 0 if unknown."""
        counts = self.request_counts if isinstance(self.request_counts, dict) else {}
        number = counts.get(name)
        return number if isinstance(number, int) else 0

    def is_for(self, fingerprint: str) -> bool:
        """Whether the batch has these requests, and has or may still get replies."""
        fields = self.metadata if isinstance(self.metadata, dict) else {}
        is_same = fields.get(FINGERPRINT) == fingerprint
        is_running = self.status in RUNNING and self.status != "cancelling"
        return is_same and (is_running or bool(self.output_file_id))

    def error_texts(self) -> list[str]:
        """Returns the server's reasons why the batch failed."""
        data = self.errors.get("data") if isinstance(self.errors, dict) else None
        texts = []
        for error in data if isinstance(data, list) else []:
            if isinstance(error, dict) and isinstance(error.get("message"), str):
                line = error.get("line")
                place = f"line {line}: " if isinstance(line, int) else ""
                texts.append(place + error["message"])
        return texts


class _Page(msgspec.Struct):
    data: list[Any]
    has_more: bool | None = None
    last_id: str | None = None


class _File(msgspec.Struct):
    id: _Id


class BatchApi:
    """Sends the requests of the Batch API to one endpoint.

    Its methods raise UserError if the server refuses a request or does not answer.

    Attributes:
        connection: The connection, which also reads replies.
    """

    def __init__(self, endpoint: EndpointConfig, style: str) -> None:
        """Prepares the connection; raises UserError if the key is not valid."""
        self._endpoint, self._style = endpoint, style
        self.connection = Connection(endpoint, style)

    async def find_or_create(
        self,
        fingerprint: str,
        others: frozenset[str],
        upload: Callable[[], Awaitable[str]],
    ) -> Batch:
        """Returns the batch with these requests, and creates it if it is missing.

        Each attempt lists the batches first: if the reply to a creation is lost, the
        next attempt finds the batch and does not pay for another one.

        Args:
            fingerprint: The fingerprint of the requests.
            others: Ids of batches to ignore.
            upload: Uploads the request file, if needed, and returns its id.
        """

        async def attempt() -> Batch:
            found = await self._find(fingerprint, others)
            return found or await self._create(await upload(), fingerprint)

        return await self._repeat(attempt)

    async def find(self, fingerprint: str, others: frozenset[str]) -> Batch | None:
        """Returns the batch with these requests, or None."""

        async def attempt() -> Batch | None:
            return await self._find(fingerprint, others)

        return await self._repeat(attempt)

    async def upload(self, path: pathlib.Path) -> str:
        """Uploads a request file, without retries, and returns the file's id."""
        purpose: Literal["batch"] = "batch"
        content = await self._receive(
            lambda api: api.files.with_streaming_response.create(
                file=path, purpose=purpose
            ),
            seconds=path.stat().st_size / _SLOWEST,
        )
        return self._parse(content, _File).id

    async def has_file(self, file_id: str) -> bool:
        """Returns whether the server still has an uploaded file."""
        try:
            await self._receive(
                lambda api: api.files.with_streaming_response.retrieve(file_id)
            )
        except RunFailure as error:
            if error.status in _NO_BATCHES:
                return False
            raise
        return True

    async def delete_file(self, file_id: str) -> str | None:
        """Deletes a file, with one attempt; returns why it may still exist, or None."""
        try:
            await self._receive(
                lambda api: api.files.with_streaming_response.delete(file_id)
            )
        except (RunFailure, RequestFailure) as error:
            return None if error.status == _NOT_FOUND else error.reason
        except UserError as error:
            return str(error)
        return None

    async def retrieve(self, batch_id: str) -> Batch:
        """Returns the state of a batch."""

        async def attempt() -> Batch:
            content = await self._receive(
                lambda api: api.batches.with_streaming_response.retrieve(batch_id)
            )
            return self._parse(content, Batch)

        return await self._repeat(attempt)

    async def download(self, file_id: str, path: pathlib.Path) -> None:
        """Downloads an output file."""

        async def attempt() -> None:
            with path.open("wb") as file:
                await self.connection.receive(
                    lambda api: api.files.with_streaming_response.content(file_id),
                    file.write,
                    _MAX_FILE_BYTES,
                    self._endpoint.timeout + _MAX_FILE_BYTES / _SLOWEST,
                )

        await self._repeat(attempt)

    async def _find(self, fingerprint: str, others: frozenset[str]) -> Batch | None:
        after: str | None = None
        seen: set[str] = set()
        while True:
            page = await self._list(after)
            for item in page.data:
                try:
                    batch = json_input.convert(item, Batch)
                except JsonError:
                    continue
                is_other = not batch.is_for(fingerprint) or batch.id in others
                if not is_other and await self._has_output(batch):
                    return batch
            last = page.data[-1] if page.data else None
            after = page.last_id or (last.get("id") if isinstance(last, dict) else None)
            if not (page.has_more and isinstance(after, str)) or after in seen:
                return None
            seen.add(after)

    async def _has_output(self, batch: Batch) -> bool:
        """Whether the replies of a batch can be read, now or when it has ended."""
        if batch.status in RUNNING or not batch.output_file_id:
            return True
        # Another output folder may have stored them and deleted the file.
        return await self.has_file(batch.output_file_id)

    async def _list(self, after: str | None) -> _Page:
        start = after or openai.omit
        try:
            content = await self._receive(
                lambda api: api.batches.with_streaming_response.list(
                    limit=_PAGE, after=start
                )
            )
        except (RunFailure, RequestFailure) as error:
            if error.status in _NO_BATCHES:
                raise UserError(
                    f"{self._endpoint.base_url}: the server has no Batch API "
                    f"(/v1/batches): {error.reason}; use extract without --batch"
                ) from error
            raise
        return self._parse(content, _Page)

    async def _create(self, file_id: str, fingerprint: str) -> Batch:
        path: Any = endpoint_path(self._style)
        content = await self._receive(
            lambda api: api.batches.with_streaming_response.create(
                input_file_id=file_id,
                endpoint=path,
                completion_window="24h",
                metadata={FINGERPRINT: fingerprint},
            )
        )
        return self._parse(content, Batch)

    async def _receive(
        self, start: Callable[[openai.AsyncOpenAI], Any], seconds: float = 0.0
    ) -> bytes:
        content = bytearray()
        timeout = self._endpoint.timeout + seconds
        await self.connection.receive(start, content.extend, _MAX_JSON_BYTES, timeout)
        return bytes(content)

    def _parse(self, content: bytes, expected: type[T]) -> T:
        try:
            return json_input.parse(content, expected)
        except JsonError as error:
            raise RequestFailure(
                self.connection.clean(f"the reply is not of the Batch API: {error}")
            ) from error

    async def _repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Runs a step until it succeeds or cannot succeed."""
        endpoint = self._endpoint
        backoff = tenacity.wait_random_exponential(
            multiplier=endpoint.backoff, max=endpoint.max_backoff
        )

        def seconds(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, RequestFailure) else None
            return max(backoff(state), min(asked or 0.0, endpoint.max_wait))

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(
                lambda e: isinstance(e, RequestFailure) and e.can_retry
            ),
            stop=tenacity.stop_after_attempt(endpoint.max_attempts),
            wait=seconds,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except (RequestFailure, RunFailure) as error:
            raise UserError(f"{endpoint.base_url}: {error.reason}") from error
