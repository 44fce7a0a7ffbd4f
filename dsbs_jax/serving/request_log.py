"""Logs in JSON, one line for each request and each event of the server.

{"time": "2026-01-31T12:00:00.000+00:00", "level": "info", "message": "request",
 "method": "POST", "path": "/v1/predict", "status": 200, "seconds": 0.012,
 "model": "tickets", "inputs": 1}

Lines have no inputs, answers, keys, queries or addresses of clients. The setting
`log_inputs` adds the inputs.
"""

import asyncio
import datetime
import json
import logging
import os
import re
import time
import traceback
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dsbs_jax.serving.api_errors import CLIENT_LEFT, ApiError
from dsbs_jax.serving.metrics import Metrics

# Requests that other programs repeat are counted, and not logged.
_POLLED = frozenset({"/healthz", "/readyz", "/metrics"})

_log = logging.getLogger(__name__)


def set_up() -> None:
    """Writes the log of this process, and of its libraries, to standard error."""
    # A copy of it: the import of TensorFlow redirects the original for a moment.
    stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dsbs_jax").setLevel(logging.INFO)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    The fields of `extra={"fields": {...}}` are added. Of an exception, the line has the
    type and the places in the code: a message could contain an input.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            entry["exception"] = _chain(error)
        return json.dumps(entry, default=str)


def _chain(error: BaseException | None) -> list[dict[str, Any]]:
    """Describes an exception and its causes, without their messages."""
    chain = []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
        chain.append({"type": type(error).__qualname__, "stack": places})
        error = error.__cause__
    return chain


class Observer:
    """Middleware that logs and counts each request, and answers 500 to a failure."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        """Takes the app, the metrics and the paths of the server."""
        self._app, self._metrics = app, metrics
        # "/v1/models/{name}" -> "/v1/models/[^/]+"
        patterns = {
            path: re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in paths
        }
        self._paths = {path: re.compile(pattern) for path, pattern in patterns.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope["log"] = {}
        error = None
        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:  # at the end of `shutdown_timeout`
            error = ApiError(503, "the server stopped before the answer", "stopping")
        # Routes raise ApiError for what clients do wrong; anything else is a bug, which
        # is logged with its traceback and must not end the server.
        except Exception:
            _log.exception("the server has an error")
            error = ApiError(500, "the server has an error; its log says where", "bug")
        if error is not None:
            scope["log"]["error"] = error.code
            if not status:
                await error.response()(scope, receive, watched)
        self._report(scope, status or CLIENT_LEFT, time.perf_counter() - start)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts and logs a request."""
        path = self._path(scope["path"])
        self._metrics.count_request(path, status, seconds)
        fields = {
            "method": scope["method"] if path != "other" else "other",
            "path": path,
            "status": status,
            "seconds": round(seconds, 6),
            **scope["log"],
        }
        if path not in _POLLED:
            _log.info("request", extra={"fields": fields})

    def _path(self, path: str) -> str:
        """Returns the path of the route; the client's own text is never logged."""
        found = (name for name, regex in self._paths.items() if regex.fullmatch(path))
        return next(found, "other")
