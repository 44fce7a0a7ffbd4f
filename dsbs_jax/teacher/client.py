"""Sends requests until they succeed or must be given up, and charges each attempt.

`tenacity` runs the retry loop. This module computes the waiting times, because the
server's Retry-After applies to all requests.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import tenacity

from dsbs_jax.errors import UserError
from dsbs_jax.teacher.budget import Ledger, Spending
from dsbs_jax.teacher.connection import Connection
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.failures import RequestFailure, RunFailure
from dsbs_jax.teacher.features import ServerFeatures
from dsbs_jax.teacher.replies import Reply

# Attempts at a request that fails in the same way each time, before any reply.
_ATTEMPTS_WITHOUT_CHANGE = 3
# Failures that may be permanent: errors of the server, and malformed replies.
_MAYBE_PERMANENT = frozenset({200, 500, 501})


class _Resend(Exception):
    """The next attempt differs in a field, so it can begin immediately."""


class Client:
    """Sends requests to one endpoint.

    Attributes:
        last_error: The error of the last attempt, or None if it succeeded.
        features: The fields of requests that the server accepts.
    """

    def __init__(self, endpoint: EndpointConfig, style: str, ledger: Ledger) -> None:
        """Prepares the connection, as `Connection`.

        Raises:
            UserError: The key in the environment is not valid.
        """
        self._endpoint, self._ledger = endpoint, ledger
        self._connection = Connection(endpoint, style)
        self._not_before = 0.0  # time.monotonic() that the server asked to wait for
        self.features = ServerFeatures()
        self.last_error: str | None = None
        # Two equal halves, one of them random: 50 to 100 % of the backoff.
        half = {"multiplier": endpoint.backoff / 2, "max": endpoint.max_backoff / 2}
        self._backoff = tenacity.wait_combine(
            tenacity.wait_exponential(**half), tenacity.wait_random_exponential(**half)
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()

    async def request(
        self, body: Mapping[str, Any], max_spending: Spending, spent: Spending
    ) -> list[Reply]:
        """Sends a request, and retries it where that can help.

        Args:
            body: The body from `sampling.request_body`, optionally with `n`.
            max_spending: The most that one attempt can cost.
            spent: Gets the actual cost of each attempt, also if this method raises an
                error.

        Returns:
            At least one reply, and at most `n`.

        Raises:
            RequestFailure: There is no usable reply.
            UserError: The server will not answer any request.
            CapReached: A cap allows no further attempt.
        """
        while True:
            try:
                return await self._request(body, max_spending, spent)
            except _Resend:
                continue
            except RunFailure as error:
                raise UserError(f"{self._endpoint.base_url}: {error.reason}") from error

    async def _request(
        self, body: Mapping[str, Any], max_spending: Spending, spent: Spending
    ) -> list[Reply]:
        reasons: list[str] = []

        def can_retry(error: BaseException) -> bool:
            if not (isinstance(error, RequestFailure) and error.can_retry):
                return False
            reasons.append(error.reason)
            last = reasons[-_ATTEMPTS_WITHOUT_CHANGE:]
            is_same = len(last) == _ATTEMPTS_WITHOUT_CHANGE and len(set(last)) == 1
            may_be_permanent = error.status in _MAYBE_PERMANENT
            has_succeeded = self._connection.has_succeeded
            return not (is_same and may_be_permanent and not has_succeeded)

        # One object per request: it holds the state of the loop.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(can_retry),
            stop=tenacity.stop_after_attempt(self._endpoint.max_attempts),
            wait=self._seconds_before_retry,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, body, max_spending, spent)
        except RequestFailure as error:
            if not error.can_retry:
                raise
            reason = f"{error.reason} ({len(reasons)} attempts)"
            raise RequestFailure(reason, status=error.status) from error

    def _seconds_before_retry(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        # With "Retry-After: 0" the backoff still applies.
        if not (isinstance(error, RequestFailure) and error.retry_after):
            return self._backoff(state)
        limit = self._endpoint.max_wait
        if error.retry_after > limit:
            raise UserError(
                f"{self._endpoint.base_url}: {error.reason}; the server asks to wait "
                f"{error.retry_after:,.0f} s, more than MAX_WAIT = {limit:,.0f}"
            )
        # Servers limit the client and not a single request, so all requests wait.
        resume = time.monotonic() + error.retry_after
        self._not_before = max(self._not_before, resume)
        return 0.0

    async def _attempt(
        self, body: Mapping[str, Any], max_spending: Spending, spent: Spending
    ) -> list[Reply]:
        """Makes one attempt: reserves its maximum cost and charges the actual cost."""
        # A loop, because another request can extend the pause meanwhile.
        while (seconds := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(seconds)
        await self._ledger.reserve(max_spending)
        # If the task is cancelled here, the server may still process the request, so
        # its maximum cost is charged.
        actual = max_spending
        sent_with = self.features.changes
        try:
            answers = await self._connection.send(self.features.adapt(body))
            if usage := answers[0].usage:
                actual = Spending(1, usage.prompt_tokens, usage.completion_tokens)
            self.last_error = None
            self.features.accept()
            return answers
        except RequestFailure as error:
            self.last_error = error.reason
            actual = max_spending if error.may_be_billed else Spending(1)
            if self.features.learn(error, body, sent_with):
                raise _Resend from error
            raise
        except UserError:
            actual = Spending(1)
            raise
        except RunFailure as error:
            actual = Spending(1)
            if self.features.learn(error, body, sent_with):
                raise _Resend from error
            raise
        finally:
            spent.add(actual)
            await self._ledger.settle(max_spending, actual)
