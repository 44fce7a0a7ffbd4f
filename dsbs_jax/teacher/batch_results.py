"""Reads the output files of a batch. No line of them is trusted."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Callable, Container, Iterable
from typing import Any

import msgspec

from dsbs_jax import json_input
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher import replies
from dsbs_jax.teacher.failures import RequestFailure, RunFailure
from dsbs_jax.teacher.replies import MalformedReply, Reply

# Longer lines are not read; a reply is a few kilobytes.
_MAX_LINE_BYTES = 16 << 20
# Different refusals of a batch that are read to find a field.
_MAX_REFUSALS = 100
_EXPIRED = "batch_expired"


class _Line(msgspec.Struct):
    custom_id: str
    response: dict[str, Any] | None = None
    error: Any = None


@dataclasses.dataclass
class BatchResults:
    """The content of the output files of a batch.

    Attributes:
        replies: The replies of each answered request, by custom_id.
        failures: The reason of each failed request, by custom_id.
        refusals: The details of the server's refusals, by their reasons.
        unread: The failed requests with a reply that is paid for but cannot be read.
        ignored: Number of ignored lines by problem.
        first_ignored: The place of the first line with a problem.
    """

    replies: dict[str, list[Reply]] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    refusals: dict[str, str] = dataclasses.field(default_factory=dict)
    unread: set[str] = dataclasses.field(default_factory=set)
    ignored: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    first_ignored: dict[str, str] = dataclasses.field(default_factory=dict)

    def describe_ignored(self) -> list[str]:
        """Returns a sentence for each problem of ignored lines."""
        return [
            f"{self.first_ignored[problem]}: {problem}; {count:,} such "
            f"{'line is' if count == 1 else 'lines are'} ignored"
            for problem, count in self.ignored.items()
        ]


class ResultReader:
    """Reads the lines of a batch's output files."""

    def __init__(
        self,
        keys: Container[str],
        decode: Callable[[bytes], list[Reply]],
        clean: Callable[[str], str],
    ) -> None:
        """Takes the functions that read the server's texts.

        Args:
            keys: The custom_id of each request.
            decode: Decodes the body of a reply; raises MalformedReply.
            clean: Formats a server's text as one printable line.
        """
        self._keys, self._decode, self._clean = keys, decode, clean

    def read(self, paths: Iterable[pathlib.Path]) -> BatchResults:
        """Reads the files; of several lines for a request, the first one counts."""
        results = BatchResults()
        for path in paths:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(_MAX_LINE_BYTES):
                    number += 1
                    problem = self._read_line(line, results) if line.strip() else None
                    if problem:
                        results.ignored[problem] += 1
                        place = f"{path.name}: line {number}"
                        results.first_ignored.setdefault(problem, place)
        return results

    def _read_line(self, content: bytes, results: BatchResults) -> str | None:
        """Reads one line; returns its problem, or None."""
        try:
            line = json_input.parse(content, _Line)
        except JsonError:
            return "not a result in JSON"
        key = line.custom_id
        if key not in self._keys:
            return "unknown custom_id"
        if key in results.replies or key in results.failures:
            return "custom_id occurs twice"
        self._read_result(key, line, results)
        return None

    def _read_result(self, key: str, line: _Line, results: BatchResults) -> None:
        response = line.response or {}
        status, body = response.get("status_code"), response.get("body")
        if status != 200:
            self._read_failure(key, status, body, line.error, results)
            return
        try:
            results.replies[key] = self._decode(json.dumps(body).encode())
        except MalformedReply as error:
            results.failures[key] = self._clean(str(error))
            results.unread.add(key)
        except (RequestFailure, RunFailure) as error:
            results.failures[key] = error.reason
            results.unread.add(key)

    def _read_failure(
        self,
        key: str,
        status: object,
        body: object,
        error: object,
        results: BatchResults,
    ) -> None:
        if isinstance(error, dict) and error.get("code") == _EXPIRED:
            results.failures[key] = "the batch expired before this request"
            return
        value = error if replies.error_of(error) else body
        found = replies.error_of(value)
        message = found[0] if found else "no reason is given"
        known = isinstance(status, int) and not isinstance(status, bool)
        reason = self._clean(f"status {status}: {message}" if known else message)
        results.failures[key] = reason
        if found and len(results.refusals) < _MAX_REFUSALS:
            param = replies.refused_field(value)
            detail = self._clean(f"{message} '{param}'" if param else message)
            results.refusals.setdefault(reason, detail)
