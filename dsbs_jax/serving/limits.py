"""Checks each request before it reaches a route, and adds headers for browsers.

Each class is ASGI middleware: an app that calls another app.
"""

import asyncio
import hmac
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsbs_jax.serving.api_errors import ApiError, client_left

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# A client that sends too much usually reads the response only after it has sent all. So
# many further bytes are read and dropped before the connection is closed.
_DROPPED_BYTES = 64 * 1024 * 1024


class SecurityHeaders:
    """Forbids browsers to load other resources, to frame the page and to keep it."""

    def __init__(self, app: ASGIApp) -> None:
        """Takes the app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BearerKey:
    """Refuses requests without the key, except to some paths."""

    def __init__(self, app: ASGIApp, key: str, open_paths: Collection[str]) -> None:
        """Takes the app, the key, and the paths that need none."""
        self._app, self._key = app, key.encode()
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            scheme, _, given = (
                Headers(scope=scope).get("authorization", "").partition(" ")
            )
            # The time of the comparison does not depend on the key's characters.
            # Headers are Latin-1 to Starlette; this restores their bytes.
            same = hmac.compare_digest(given.strip().encode("latin-1"), self._key)
            if scheme.lower() != "bearer" or not same:
                error = ApiError(
                    401,
                    "the key is missing or wrong, expected the header "
                    "'Authorization: Bearer <key>'",
                    "invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                return await _refuse(error, scope, receive, send)
        await self._app(scope, receive, send)


class BodyLimit:
    """Receives the body of a request, up to a size and within a time.

    The app gets a complete body. With or without the header Content-Length, no more
    than `max_bytes` are kept.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        """Takes the app, the largest size in bytes and the time in seconds."""
        self._app, self._max_bytes, self._timeout = app, max_bytes, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        try:
            _check_type(scope)
            async with asyncio.timeout(self._timeout):
                body = await self._read(scope, receive)
        except TimeoutError:
            message = (
                f"the body did not arrive within {self._timeout:g} s (request_timeout)"
            )
            error = ApiError(408, message, "timeout", headers={"Connection": "close"})
            return await _refuse(error, scope, receive, send)
        except ApiError as error:
            return await _refuse(error, scope, receive, send)
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, receive_body, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Returns the body.

        Raises:
            ApiError: The body is too large, or the client leaves before its end.
        """
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        asks = headers.get("expect", "").lower() == "100-continue"
        most = self._max_bytes if asks else self._max_bytes + _DROPPED_BYTES
        if size > most:
            raise self._too_large()
        parts: list[bytes] = []
        received, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise client_left()
            part, more = message.get("body", b""), message.get("more_body", False)
            received += len(part)
            if received > most:
                raise self._too_large()
            if received <= self._max_bytes:
                parts.append(part)
        if received > self._max_bytes:
            raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> ApiError:
        message = (
            f"the body is too large, expected at most {self._max_bytes:,} bytes "
            "(max_body_bytes)"
        )
        return ApiError(413, message, "too_large")


def _check_type(scope: Scope) -> None:
    """Refuses other content; a form of another web page cannot send JSON either."""
    found = Headers(scope=scope).get("content-type", "")
    if found.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            415,
            f"Content-Type is {found!r:.80}, expected application/json",
            "content_type",
        )


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    scope.setdefault("log", {})["error"] = error.code
    await error.response()(scope, receive, send)
