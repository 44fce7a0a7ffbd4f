"""Sends one request to an OpenAI-compatible server and decodes the reply.

`openai` sends the requests. Its retries are off, because every attempt must be charged,
and the time limit must cover a complete attempt: a server that sends one byte per
second would never exceed a read timeout.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import openai

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import failures, replies, retry_after
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.failures import RequestFailure, RunFailure
from dsbs_jax.teacher.replies import MalformedReply, Reply, ServerError
from dsbs_jax.teacher.sampling import CHAT

# A reply is a few kilobytes; reading more would only fill the memory.
MAX_REPLY_BYTES = 8 << 20
_MAX_ERROR_BYTES = 64 << 10
# Seconds for the connection alone, which a reachable server accepts quickly.
_CONNECT_TIMEOUT = 15.0
# A shorter key is a placeholder such as "EMPTY", and replies may hold that word.
_MIN_SECRET_LENGTH = 8


class Connection:
    """Sends requests to one endpoint, without retries.

    Attributes:
        has_succeeded: Whether the server has answered a request with a reply.
    """

    def __init__(self, endpoint: EndpointConfig, style: str) -> None:
        """Prepares the connection pool; connects when the first request is sent.

        Raises:
            UserError: The key in the environment is not valid.
        """
        self._endpoint, self._style = endpoint, style
        self._key = endpoint.key()
        self._has_responded = self.has_succeeded = False
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # `openai` requires a key; a server without keys ignores it.
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(
                endpoint.timeout, connect=min(endpoint.timeout, _CONNECT_TIMEOUT)
            ),
            http_client=openai.DefaultAsyncHttpxClient(
                # A redirect would send the key to another server.
                follow_redirects=False,
                event_hooks={"response": [self._check_status]},
            ),
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def send(self, body: Mapping[str, Any]) -> list[Reply]:
        """Sends a request once and decodes the reply.

        Raises:
            RequestFailure: The attempt failed.
            RunFailure: The server will reject all requests.
            UserError: The server cannot be reached.
        """
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                content = await self._read_response(body)
            answers = self.read(content)
        except MalformedReply as error:
            reason = self.clean(str(error)) + self._hint(None, "")
            raise RequestFailure(reason, may_be_billed=True, status=200) from error
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError) as error:
            raise self._transport_failure(error) from error
        self.has_succeeded = True
        return answers

    def read(self, content: bytes) -> list[Reply]:
        """Decodes the body of a reply; removes the API key if the server repeats it.

        Raises:
            RequestFailure: The reply reports an error.
            RunFailure: The reply reports an error that concerns all requests.
            MalformedReply: The reply is not a completion.
        """
        try:
            answers = replies.decode_all(content, self._style)
        except ServerError as error:
            raise self._reported_failure(error) from error
        return [self._without_secrets(answer) for answer in answers]

    async def receive(
        self,
        start: Callable[[openai.AsyncOpenAI], Any],
        write: Callable[[bytes], object],
        max_bytes: int,
        timeout: float,
    ) -> None:
        """Sends a request of another API once, and passes on the response.

        Args:
            start: Starts the request with a method for streamed responses.
            write: Takes each part of the body.
            max_bytes: Bytes that the body may have.
            timeout: Seconds for the complete request.

        Raises:
            RequestFailure: The attempt failed.
            RunFailure: The server will reject all requests.
            UserError: The server cannot be reached.
        """
        size = 0
        try:
            async with asyncio.timeout(timeout), start(self._client) as response:
                async for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > max_bytes:
                        raise RequestFailure(
                            f"the reply exceeds {max_bytes:,} bytes", can_retry=False
                        )
                    write(chunk)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError) as error:
            raise self._transport_failure(error) from error

    def _without_secrets(self, reply: Reply) -> Reply:
        return Reply(
            self._redact(reply.text),
            reply.finish_reason and self.clean(reply.finish_reason),
            reply.usage,
            reply.reasoning and self._redact(reply.reasoning),
            reply.problem and self.clean(reply.problem),
        )

    async def _read_response(self, body: Mapping[str, Any]) -> bytes:
        named = {n: body[n] for n in ("model", "messages", "prompt") if n in body}
        rest = {n: v for n, v in body.items() if n not in named}
        # The two resources have different types, but the same streaming method.
        is_chat = self._style == CHAT
        api: Any = (
            self._client.chat.completions if is_chat else self._client.completions
        )
        create = api.with_streaming_response.create
        async with create(**named, extra_body=rest) as response:
            content = bytearray()
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise MalformedReply(f"the reply exceeds {MAX_REPLY_BYTES} bytes")
        return bytes(content)

    def _transport_failure(self, error: Exception) -> Exception:
        """Returns the exception for a failed connection or a timeout."""
        cause = error.__cause__
        if isinstance(cause, httpx2.ConnectTimeout | httpx2.ConnectError):
            detail = str(cause) or "no answer in time"
            reason = self.clean(f"the connection failed: {detail}")
            if self._has_responded:
                return RequestFailure(reason)
            # Probably a wrong address or a stopped server, not a busy one.
            return UserError(f"{self._endpoint.base_url}: {reason}")
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            reason = f"no complete reply within {self._endpoint.timeout:g} s"
        else:
            reason = self.clean(f"the connection failed: {cause or error}")
        return RequestFailure(reason, may_be_billed=True)

    async def _check_status(self, response: httpx2.Response) -> None:
        """Raises the exception for a status other than success.

        `openai` would read a body of any length, and decode it in any encoding that the
        server names, so this hook runs before it.
        """
        self._has_responded = True
        if response.is_success:
            return
        content = bytearray()
        # Even if the body cannot be read, the status is known.
        with contextlib.suppress(httpx2.HTTPError):
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_ERROR_BYTES:
                    break
        status, text = response.status_code, content.decode("utf-8", "replace")
        message, code, param = replies.error_fields(text)
        reason = self.clean(f"status {status}: {message or response.reason_phrase}")
        seconds = retry_after.seconds_to_wait(response.headers, text)
        failure = self._failure(status, reason, code, seconds)
        failure.detail = f"{message} '{param}'" if param else message
        raise failure

    def _reported_failure(self, error: ServerError) -> Exception:
        """Returns the failure that a reply with a status of success reports."""
        status = failures.status_of(error.code)
        named = f"status {status}" if status else str(error.code or "an error")
        reason = self.clean(f"the reply reports {named}: {error}")
        seconds = retry_after.seconds_to_wait({}, str(error))
        # Without a status, the error may be temporary.
        failure = self._failure(status or 500, reason, error.code, seconds)
        failure.detail = str(error)
        return failure

    def _failure(
        self, status: int, reason: str, code: str | int | None, seconds: float | None
    ) -> RequestFailure | RunFailure:
        failure = failures.for_status(status, reason, code, seconds, self.has_succeeded)
        if isinstance(failure, RunFailure):
            failure.reason += self._hint(status, reason)
        return failure

    def _hint(self, status: int | None, reason: str) -> str:
        if self.has_succeeded:
            return ""
        endpoint = self._endpoint
        return failures.hint(
            status,
            reason,
            endpoint.base_url,
            endpoint.api_key_variable,
            self._key is not None,
        )

    def clean(self, text: str) -> str:
        """Returns a server's text as one printable line of at most 300 characters."""
        words = " ".join(self._redact(text).split())
        return "".join(c if c.isprintable() else "\ufffd" for c in words[:300])

    def _redact(self, text: str) -> str:
        """Removes the key from a server's text, in case the server repeats it."""
        if self._key and len(self._key) >= _MIN_SECRET_LENGTH:
            return text.replace(self._key, "[key]")
        return text
