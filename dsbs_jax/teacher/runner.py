"""Sends requests concurrently and stores each reply as soon as it arrives."""

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.progress import Progress
from dsbs_jax.settings import PositiveInt, Settings, setting
from dsbs_jax.teacher.budget import BudgetConfig, CapReached, Ledger, Spending
from dsbs_jax.teacher.client import Client, RequestFailure
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.replies import Reply
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.store import Store, StoredReply

# Seconds that requests in flight may take to finish when the run stops early.
_GRACE_PERIOD = 10.0
# Seconds between progress reports; each report is a line if the output is a file.
_REPORT_PERIOD = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunnerConfig(Settings):
    """Concurrency, and when the run aborts because the server does not answer."""

    concurrency: PositiveInt = setting(8, help="Requests in flight at the same time.")
    max_failures_in_a_row: PositiveInt = setting(
        20,
        help="Consecutive requests without a usable reply before the run aborts "
        "(circuit breaker).",
    )


@dataclasses.dataclass
class RunSummary:
    """How a run ended.

    Attributes:
        failed: The last error of each failed request, by key.
        last_failure: The last failed request and its error, for messages.
        missing: The requests without a reply, failed ones included.
        cap: The cap that stopped the run, or None.
        stop_signal: The signal that stopped the run, or None.
    """

    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    last_failure: str = ""
    missing: list[Request] = dataclasses.field(default_factory=list)
    cap: str | None = None
    stop_signal: signal.Signals | None = None


class Runner:
    """Sends requests with concurrent workers; an object runs once."""

    def __init__(
        self,
        plan: RequestPlan,
        requests: Sequence[Request],
        store: Store,
        endpoint: EndpointConfig,
        budget: BudgetConfig,
        config: RunnerConfig,
    ) -> None:
        """Prepares a run.

        Args:
            plan: Builds the body of each request.
            requests: The requests whose replies are missing.
            store: Receives the replies, and the spending of failed requests.
            endpoint: The teacher's server.
            budget: Prices and caps.
            config: Concurrency and circuit breaker.

        Raises:
            UserError: The key in the environment is not valid.
        """
        self._plan, self._requests, self._store = plan, requests, store
        self._budget, self._config = budget, config
        self._ledger = Ledger(budget, dataclasses.replace(store.spent))
        self._client = Client(endpoint, plan.sampling.style, self._ledger)
        self._progress = Progress("requests", len(requests))
        self._remaining = iter(requests)
        self._summary = RunSummary()
        self._stop = asyncio.Event()
        self._done = self._failures_in_a_row = 0
        self._last_report = time.monotonic()

    def run(self) -> RunSummary:
        """Sends requests until all are done, a cap is reached, or a signal arrives.

        Raises:
            UserError: The server rejects all requests or stops answering. Replies that
                arrived before are stored.
            OSError: A reply cannot be stored.
        """
        try:
            asyncio.run(self._run_workers())
        finally:
            self._progress.close()
        summary, replies = self._summary, self._store.replies
        if summary.failed and not (replies or summary.cap or summary.stop_signal):
            raise UserError(
                f"all {len(self._requests):,} requests failed; {summary.last_failure}"
            )
        summary.missing = [r for r in self._requests if r.key not in replies]
        return summary

    async def _run_workers(self) -> None:
        with self._stop_on_signals():
            tasks = [
                asyncio.create_task(self._send_requests())
                for _ in range(self._config.concurrency)
            ]
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await self._wait_for(tasks, stopped)
            finally:
                # Cancellation reaches requests that outlast the grace period. Each of
                # them still charges its maximum cost and stores its spending.
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.gather(*tasks, stopped, return_exceptions=True)
                await self._client.close()
        self._report(last=True)

    async def _wait_for(
        self, tasks: list[asyncio.Task[None]], stopped: asyncio.Task[bool]
    ) -> None:
        """Waits for the tasks; raises the exception of the first one that failed."""
        pending: set[asyncio.Task[Any]] = set(tasks)
        try:
            while pending and not self._stop.is_set():
                done, pending = await asyncio.wait(
                    {*pending, stopped},
                    # So that progress is also reported while the server hangs.
                    timeout=_REPORT_PERIOD,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                pending.discard(stopped)
                self._report()
                for task in done - {stopped}:
                    task.result()
        finally:
            # Requests in flight are paid for, so they get time to finish.
            self._stop.set()
            if pending:
                await asyncio.wait(pending, timeout=_GRACE_PERIOD)
        for task in tasks:
            if task.done():
                task.result()

    @contextlib.contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)

        def stop(number: signal.Signals) -> None:
            self._summary.stop_signal = number
            self._stop.set()

        for number in signals:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _send_requests(self) -> None:
        """Sends one request after another; the body of a worker."""
        while not self._stop.is_set():
            request = next(self._remaining, None)
            if request is None:
                return
            try:
                await self._send(request)
            except CapReached as error:
                self._summary.cap = str(error)
                self._stop.set()

    async def _send(self, request: Request) -> None:
        spent, result = Spending(), None
        body = self._plan.request_body(request.input, request.sample)
        try:
            result = await self._client.request(body, request.max_spending, spent)
        finally:
            # Without a reply, also after a cancellation, the spending is stored alone.
            if spent.requests and not isinstance(result, Reply):
                self._store.add_spent(spent)
        if isinstance(result, Reply):
            reply = StoredReply(
                request.key,
                request.id,
                request.sample,
                result.text,
                result.finish_reason,
                spent,
            )
            self._store.add(reply)
            self._failures_in_a_row = 0
        else:
            self._count_failure(request, result)
        self._done += 1
        self._report()

    def _count_failure(self, request: Request, failure: RequestFailure) -> None:
        """Records a failure; aborts the run after too many in a row."""
        summary = self._summary
        summary.failed[request.key] = failure.reason
        summary.last_failure = f"last failure: input {request.id!r}: {failure.reason}"
        if failure.request_specific and self._store.replies:
            # The server answers other requests, so it works.
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row == self._config.max_failures_in_a_row:
            self._stop.set()
            raise UserError(
                f"{self._failures_in_a_row} requests in a row failed "
                f"(MAX_FAILURES_IN_A_ROW); {summary.last_failure}"
            )

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._last_report >= _REPORT_PERIOD:
            self._last_report = now
            error = self._client.last_error
            note = self._budget.describe(self._ledger.spent)
            note += f"; last error: {error:.80}" if error else ""
            self._progress.update(self._done, note)
