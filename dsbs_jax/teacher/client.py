"""Sends a request to an OpenAI-compatible server until it succeeds or must be given up.

`openai` sends the requests and `tenacity` runs the retry loop. The retries of `openai`
are off, because every attempt must be charged, the server's Retry-After applies to all
requests, and the time limit must cover a complete attempt: a server that sends one byte
per second would never exceed a read timeout.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

import httpx2
import openai
import tenacity

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import replies
from dsbs_jax.teacher.budget import Ledger, Spending
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.replies import MalformedReply, Reply
from dsbs_jax.teacher.sampling import CHAT

# A reply is a few kilobytes; reading more would only fill the memory.
MAX_REPLY_BYTES = 8 << 20
_MAX_ERROR_BYTES = 64 << 10
# Seconds for the connection alone, which a reachable server accepts quickly.
_CONNECT_TIMEOUT = 15.0
# A shorter key is a placeholder such as "EMPTY", and replies may hold that word.
_MIN_SECRET_LENGTH = 8
_RETRIED_STATUS = frozenset({408, 409, 425, 429})
# The server rejects this request for its content; other requests may succeed.
_REQUEST_SPECIFIC_STATUS = frozenset({400, 413, 422})


@dataclasses.dataclass(eq=False)
class RequestFailure(Exception):
    """A request, or one attempt at it, failed.

    Attributes:
        reason: The last error.
        request_specific: Whether the server rejects the content of this request, which
            says nothing about other requests. A retry cannot help.
        retry_after: Seconds that the server asks to wait, or None.
        may_be_billed: Whether the server may have processed the request all the same.
    """

    reason: str
    request_specific: bool = False
    retry_after: float | None = None
    may_be_billed: bool = False


class Client:
    """Sends requests to one endpoint.

    Attributes:
        last_error: The error of the last attempt, or None if it succeeded.
    """

    def __init__(self, endpoint: EndpointConfig, style: str, ledger: Ledger) -> None:
        """Prepares the connection pool; connects when the first request is sent.

        Raises:
            UserError: The key in the environment is not valid.
        """
        self._endpoint, self._style, self._ledger = endpoint, style, ledger
        self._key = endpoint.key()
        self._not_before = 0.0  # time.monotonic() that the server asked to wait for
        self._has_responded = False
        self.last_error: str | None = None
        # Two equal halves, one of them random: 50 to 100 % of the backoff.
        half = {"multiplier": endpoint.backoff / 2, "max": endpoint.max_backoff / 2}
        self._backoff = tenacity.wait_combine(
            tenacity.wait_exponential(**half), tenacity.wait_random_exponential(**half)
        )
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

    async def request(
        self, body: Mapping[str, Any], max_spending: Spending, spent: Spending
    ) -> Reply:
        """Sends a request, and retries it where that can help.

        Args:
            body: As `sampling.request_body` builds it.
            max_spending: The most that one attempt can cost.
            spent: The actual cost of each attempt is added, also if this raises.

        Raises:
            RequestFailure: There is no usable reply.
            UserError: The server will not answer any request.
            CapReached: A cap allows no further attempt.
        """
        # One object per request: it holds the state of the loop.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(
                lambda e: isinstance(e, RequestFailure) and not e.request_specific
            ),
            stop=tenacity.stop_after_attempt(self._endpoint.max_attempts),
            wait=self._seconds_before_retry,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, body, max_spending, spent)
        except RequestFailure as error:
            if error.request_specific:
                raise
            attempts = self._endpoint.max_attempts
            raise RequestFailure(f"{error} ({attempts} attempts)") from error

    def _seconds_before_retry(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        # With "Retry-After: 0" the backoff still applies.
        if not (isinstance(error, RequestFailure) and error.retry_after):
            return self._backoff(state)
        limit = self._endpoint.max_wait
        if error.retry_after > limit:
            raise UserError(
                f"{self._endpoint.base_url}: {error}; the server asks to wait "
                f"{error.retry_after:,.0f} s, more than MAX_WAIT = {limit:,.0f}"
            )
        # Servers limit the client and not a single request, so all requests wait.
        resume = time.monotonic() + error.retry_after
        self._not_before = max(self._not_before, resume)
        return 0.0

    async def _attempt(
        self, body: Mapping[str, Any], max_spending: Spending, spent: Spending
    ) -> Reply:
        """Makes one attempt: reserves its maximum cost and charges the actual cost."""
        # A loop, because another request can extend the pause meanwhile.
        while (seconds := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(seconds)
        await self._ledger.reserve(max_spending)
        # If the task is cancelled here, the server may still process the request, so
        # its maximum cost is charged.
        actual = max_spending
        try:
            reply = await self._send(body)
            if usage := reply.usage:
                actual = Spending(1, usage.prompt_tokens, usage.completion_tokens)
            self.last_error = None
            return reply
        except RequestFailure as error:
            self.last_error = str(error)
            actual = max_spending if error.may_be_billed else Spending(1)
            raise
        except UserError:
            actual = Spending(1)
            raise
        finally:
            spent.add(actual)
            await self._ledger.settle(max_spending, actual)

    async def _send(self, body: Mapping[str, Any]) -> Reply:
        """Sends a request once and decodes the reply.

        Raises:
            RequestFailure: The attempt failed.
            UserError: The server will reject all requests.
        """
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                content = await self._read_response(body)
            reply = replies.decode(content, self._style)
        except MalformedReply as error:
            raise RequestFailure(self._clean(str(error)), may_be_billed=True) from error
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError) as error:
            raise self._transport_failure(error) from error
        reason = reply.finish_reason and self._clean(reply.finish_reason)
        return Reply(self._redact(reply.text), reason, reply.usage)

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
            reason = self._clean(f"the connection failed: {detail}")
            if self._has_responded:
                return RequestFailure(reason)
            # Probably a wrong address or a stopped server, not a busy one.
            return UserError(f"{self._endpoint.base_url}: {reason}")
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            reason = f"no complete reply within {self._endpoint.timeout:g} s"
        else:
            reason = self._clean(f"the connection failed: {cause or error}")
        return RequestFailure(reason, may_be_billed=True)

    async def _check_status(self, response: httpx2.Response) -> None:
        """Raises the exception for a status other than success.

        `openai` would read the complete body, however long, and decode it in any
        encoding that the server names, so this hook runs before it.
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
        status = response.status_code
        detail = replies.error_message(bytes(content)) or response.reason_phrase
        reason = self._clean(f"status {status}: {detail}")
        if status in _RETRIED_STATUS or status >= 500:
            seconds = parse_retry_after(response.headers.get("retry-after"))
            raise RequestFailure(reason, retry_after=seconds)
        if status in _REQUEST_SPECIFIC_STATUS:
            raise RequestFailure(reason, request_specific=True)
        hint = ""
        if status in (401, 403):
            hint = f"; the key is read from {self._endpoint.api_key_variable}"
            hint += "" if self._key else ", which is not set"
        raise UserError(f"{self._endpoint.base_url}: {reason}{hint}")

    def _clean(self, text: str) -> str:
        """Returns a server's text as one printable line of at most 300 characters."""
        words = " ".join(self._redact(text).split())
        return "".join(c if c.isprintable() else "\ufffd" for c in words[:300])

    def _redact(self, text: str) -> str:
        """Removes the key from a server's text, in case the server repeats it."""
        if self._key and len(self._key) >= _MIN_SECRET_LENGTH:
            return text.replace(self._key, "[key]")
        return text


def parse_retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After header, or None if it is not valid.

    The header holds seconds or a date.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = max(0.0, date.timestamp() - time.time())
    return seconds if 0 <= seconds < math.inf else None
