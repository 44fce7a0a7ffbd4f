"""One request at a time to an OpenAI-compatible server, until it answers or gives up.

Retries are counted and timed here, and not in the `openai` package, so that what the
server says of them is honoured, every attempt is charged, and a limit in time holds for
a whole attempt: a server that hangs or drips ends it too.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import email.utils
import math
import os
import random
import re
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import httpx2
import openai

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import checks, replies
from dsbs_jax.teacher.budget import Ledger, Spending
from dsbs_jax.teacher.replies import Malformed, Reply
from dsbs_jax.teacher.sampling import CHAT

# A reply is a few kilobytes; more than this is no reply.
MAX_REPLY_BYTES = 8 << 20
# What is read of the body of an error.
_MAX_ERROR_BYTES = 64 << 10
# Seconds for a connection alone: who does not take it by then is not there.
_CONNECT_TIMEOUT = 15.0
# A shorter key is a placeholder ("EMPTY") that keeps nothing secret.
_SECRET_LENGTH = 8
_RETRIED = frozenset({408, 409, 425, 429})
# What may be wrong with one request alone: too long, or refused for what it says.
_OWN_FAULT = frozenset({400, 413, 422})


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where the teacher is reached, and how patiently.

    Attributes:
        base_url: Up to and including "/v1" ("http://localhost:8000/v1").
        api_key_variable: The environment variable that holds the key. Without one the
            server has to do without.
        timeout: Seconds for one attempt, from the connection to the last byte.
        max_attempts: Attempts at one request.
        backoff: Seconds before the second attempt, doubled before each further one;
            chance takes up to half of it away.
        max_backoff: The most seconds between two attempts, unless the server asks for
            more.
        max_wait: The most seconds that the server may ask for; beyond, the run ends.

    Raises:
        UserError: A setting is out of its range.
    """

    base_url: str
    api_key_variable: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    max_attempts: int = 8
    backoff: float = 1.0
    max_backoff: float = 60.0
    max_wait: float = 600.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        _check_url(self.base_url)
        checks.text("api_key_variable", self.api_key_variable)
        if not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_variable, re.ASCII):
            # Perhaps the key itself: it must not be printed.
            raise UserError("API_KEY_VARIABLE is no name of an environment variable")
        for name in ("timeout", "backoff", "max_backoff", "max_wait"):
            checks.number(name, getattr(self, name), 0.001)
        checks.whole("max_attempts", self.max_attempts)

    def key(self) -> str | None:
        """Reads the key.

        Raises:
            UserError: It cannot be a key; it is not shown.
        """
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key.isascii() or not key.isprintable():
            raise UserError(
                f"environment variable {self.api_key_variable}: a key has only visible "
                "ASCII characters"
            )
        return key or None


def _check_url(url: str) -> None:
    expected = "expected http(s)://host[:port]/path"
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018  A port that is none raises ValueError here.
        httpx2.URL(url)
    except (ValueError, AttributeError, TypeError, httpx2.InvalidURL) as error:
        raise UserError(f"BASE_URL is no address; {expected}") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        # What it holds may be secret: it would end in config.gin, and is not printed.
        raise UserError(
            f"BASE_URL holds credentials, a query or a fragment; {expected}, and the "
            "key in the environment"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"BASE_URL is {url!r}, {expected}")


@dataclasses.dataclass(frozen=True, slots=True)
class GaveUp:
    """A request without a usable reply.

    Attributes:
        reason: What was wrong the last time.
        own_fault: Whether the server refused just this request.
    """

    reason: str
    own_fault: bool = False


class _Retry(Exception):
    """An attempt failed, and another may not.

    Attributes:
        after: Seconds that the server asks for, or None.
        charged: Whether the server may have computed a reply nevertheless.
    """

    def __init__(
        self, reason: str, after: float | None = None, charged: bool = False
    ) -> None:
        """Takes the attributes."""
        super().__init__(reason)
        self.after, self.charged = after, charged


class _Refused(Exception):
    """The server refuses this request, whatever it thinks of others."""


class Client:
    """Sends requests to an endpoint.

    Attributes:
        trouble: What was wrong with the last attempt; None when it succeeded.
    """

    def __init__(self, endpoint: Endpoint, style: str, ledger: Ledger) -> None:
        """Connects to nothing yet.

        Raises:
            UserError: The key in the environment cannot be one.
        """
        self._endpoint, self._style, self._ledger = endpoint, style, ledger
        self._key = endpoint.key()
        # Servers ask everybody to wait, not just the request that was one too many.
        self._not_before = 0.0
        # Whether it ever answered anything.
        self._reached = False
        self.trouble: str | None = None
        timeout = httpx2.Timeout(
            endpoint.timeout, connect=min(endpoint.timeout, _CONNECT_TIMEOUT)
        )
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            # Without a key the package does not start; a server that wants none
            # ignores this one.
            api_key=self._key or "none",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                # Elsewhere is not where the key was meant to go.
                follow_redirects=False,
                event_hooks={"response": [self._check_status]},
            ),
        )

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def ask(
        self, body: Mapping[str, Any], most: Spending, spent: Spending
    ) -> Reply | GaveUp:
        """Sends a request, again where that may help.

        Args:
            body: As `Sampling.body` makes it.
            most: What one attempt may cost.
            spent: What the attempts did cost is added to it, also when this raises.

        Returns:
            The reply, or why there is none.

        Raises:
            UserError: The server will not answer any request.
            CapReached: No further attempt may be sent.
        """
        for attempt in range(1, self._endpoint.max_attempts + 1):
            # Another request may have been told to wait longer meanwhile.
            while (left := self._not_before - time.monotonic()) > 0:
                await asyncio.sleep(left)
            try:
                reply = await self._charged(body, most, spent)
                self.trouble = None
                return reply
            except _Refused as problem:
                return GaveUp(str(problem), own_fault=True)
            except _Retry as problem:
                self.trouble = reason = str(problem)
                after = problem.after
            # To be asked for no wait at all is no reason to ask without a pause.
            if after:
                self._wait_for_server(after, reason)
            elif attempt < self._endpoint.max_attempts:
                await asyncio.sleep(self._backoff(attempt))
        return GaveUp(f"{reason} ({self._endpoint.max_attempts} attempts)")

    def _backoff(self, attempt: int) -> float:
        # An exponent without end would overflow.
        seconds = self._endpoint.backoff * 2 ** min(attempt - 1, 30)
        return min(seconds, self._endpoint.max_backoff) * random.uniform(0.5, 1)

    def _wait_for_server(self, seconds: float, reason: str) -> None:
        if seconds > self._endpoint.max_wait:
            raise UserError(
                f"{self._endpoint.base_url}: {reason}; the server asks to wait "
                f"{seconds:,.0f} s, more than MAX_WAIT = {self._endpoint.max_wait:,.0f}"
            )
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    async def _charged(
        self, body: Mapping[str, Any], most: Spending, spent: Spending
    ) -> Reply:
        """Makes one attempt, reserving its cost before and charging it after."""
        await self._ledger.reserve(most)
        # Who stops here, for whatever reason, leaves a request that may be computed.
        actual = most
        try:
            reply = await self._attempt(body)
            if reply.usage:
                actual = Spending(1, reply.usage.prompt, reply.usage.completion)
            return reply
        except _Retry as problem:
            actual = most if problem.charged else Spending(1)
            raise
        except (_Refused, UserError):
            actual = Spending(1)
            raise
        finally:
            spent.add(actual)
            await self._ledger.settle(most, actual)

    async def _attempt(self, body: Mapping[str, Any]) -> Reply:
        """Sends a request once.

        Raises:
            _Retry: It failed in a way that may pass.
            _Refused: The server refuses it.
            UserError: The server will refuse all others too.
        """
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                content = await self._send(body)
            reply = replies.read(content, self._style)
        except (TimeoutError, openai.APITimeoutError) as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):
                raise self._unconnected("no answer in time") from error
            seconds = f"{self._endpoint.timeout:g} s"
            raise _Retry(f"no whole reply within {seconds}", charged=True) from error
        except Malformed as error:
            raise _Retry(str(error), charged=True) from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError):
                raise self._unconnected(str(error.__cause__)) from error
            raise _Retry(
                self._clean(f"the connection failed: {error.__cause__}"), charged=True
            ) from error
        except httpx2.HTTPError as error:
            raise _Retry(
                self._clean(f"the reply was cut off: {error}"), charged=True
            ) from error
        return Reply(
            self._redact(reply.text),
            reply.finish_reason and self._clean(reply.finish_reason),
            reply.usage,
        )

    async def _send(self, body: Mapping[str, Any]) -> bytes:
        """Sends a request; returns the body of a successful response."""
        named = {n: body[n] for n in ("model", "messages", "prompt") if n in body}
        rest = {n: v for n, v in body.items() if n not in named}
        if self._style == CHAT:
            create = self._client.chat.completions.with_streaming_response.create
        else:
            create = self._client.completions.with_streaming_response.create
        async with create(**named, extra_body=rest) as response:
            content = bytearray()
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_REPLY_BYTES:
                    raise Malformed(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
        return bytes(content)

    def _unconnected(self, detail: str) -> Exception:
        """Makes the error of a connection that did not come about."""
        reason = self._clean(f"the connection failed: {detail}")
        if self._reached:
            return _Retry(reason)
        # Rather a wrong address, or a server that is not up, than one that is busy.
        return UserError(f"{self._endpoint.base_url}: {reason}")

    async def _check_status(self, response: httpx2.Response) -> None:
        """Raises what a status other than success means.

        The `openai` package would read the whole body, however long, and decode it in
        whatever encoding the server names.
        """
        self._reached = True
        if response.is_success:
            return
        content = bytearray()
        # The status stands, whatever becomes of the body.
        with contextlib.suppress(httpx2.HTTPError):
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _MAX_ERROR_BYTES:
                    break
        status = response.status_code
        detail = replies.read_problem(bytes(content)) or response.reason_phrase
        reason = self._clean(f"status {status}: {detail}")
        if status in _RETRIED or status >= 500:
            raise _Retry(reason, retry_after(response.headers.get("retry-after")))
        if status in _OWN_FAULT:
            raise _Refused(reason)
        hint = ""
        if status in (401, 403):
            hint = f"; the key is read from {self._endpoint.api_key_variable}"
            hint += "" if self._key else ", which is not set"
        raise UserError(f"{self._endpoint.base_url}: {reason}{hint}")

    def _clean(self, text: str) -> str:
        """Makes a message of what a server says: one short line, nothing but text."""
        words = " ".join(self._redact(text).split())
        return "".join(c if c.isprintable() else "\ufffd" for c in words[:300])

    def _redact(self, text: str) -> str:
        """Takes the key out of what the server says, should it say it."""
        if self._key and len(self._key) >= _SECRET_LENGTH:
            return text.replace(self._key, "[key]")
        return text


def retry_after(header: str | None) -> float | None:
    """Reads a Retry-After header: seconds or a date; None for anything else."""
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
