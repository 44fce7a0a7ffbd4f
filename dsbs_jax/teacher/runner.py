"""Sends requests concurrently and stores each reply as soon as it arrives."""

import asyncio
import dataclasses
import signal
from collections.abc import Sequence
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.progress import Progress
from dsbs_jax.teacher.budget import CapReached, Ledger, Spending
from dsbs_jax.teacher.client import Client, RequestFailure
from dsbs_jax.teacher.config import RunnerConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.store import Store, StoredReply

# Seconds that requests in flight may take to finish when the run stops early.
_GRACE_PERIOD = 10.0
# Seconds between progress reports; each report is a line if the output is a file.
_REPORT_PERIOD = 10.0


@dataclasses.dataclass
class RunSummary:
    """How a run ended.

    Attributes:
        failed: The last error of each failed request, by key.
        last_failure: The last failed request and its error, for messages.
        missing: Number of requests without a reply that did not fail.
        cap: The cap that stopped the run, or None.
        stop_signal: The signal that stopped the run, or None.
    """

    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    last_failure: str = ""
    missing: int = 0
    cap: str | None = None
    stop_signal: signal.Signals | None = None


class Runner:
    """Sends the requests of a plan with concurrent workers; an object runs once."""

    def __init__(
        self,
        plan: RequestPlan,
        requests: Sequence[Request],
        store: Store,
        endpoint: EndpointConfig,
        config: RunnerConfig,
    ) -> None:
        """Prepares a run.

        Raises:
            UserError: The key in the environment is not valid.
        """
        self._plan, self._requests, self._store = plan, requests, store
        self._config = config
        self._ledger = Ledger(plan.budget, dataclasses.replace(store.spent))
        self._client = Client(endpoint, plan.sampling.style, self._ledger)
        self._progress = Progress("requests", len(requests))
        self._remaining = iter(requests)
        self._summary = RunSummary()
        self._error: Exception | None = None
        self._stop = asyncio.Event()
        self._done = self._failures_in_a_row = 0

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
        done = replies.keys() | summary.failed.keys()
        summary.missing = sum(request.key not in done for request in self._requests)
        return summary

    async def _run_workers(self) -> None:
        loop = asyncio.get_running_loop()
        # The loop restores the previous handlers when it closes.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_on_signal, number)
        count = self._config.concurrency
        workers: asyncio.Future[Any] = asyncio.gather(
            *(self._send_requests() for _ in range(count))
        )
        stopped = asyncio.create_task(self._stop.wait())
        reporter = asyncio.create_task(self._report_regularly())
        await asyncio.wait({workers, stopped}, return_when=asyncio.FIRST_COMPLETED)
        # Requests in flight are paid for, so they get time to finish. Those that take
        # longer are cancelled: each charges its maximum cost and stores its spending.
        self._stop.set()
        await asyncio.wait({workers}, timeout=_GRACE_PERIOD)
        for task in (workers, stopped, reporter):
            task.cancel()
        await asyncio.gather(workers, stopped, reporter, return_exceptions=True)
        await self._client.close()
        self._report()
        if self._error:
            raise self._error

    def _stop_on_signal(self, number: signal.Signals) -> None:
        self._summary.stop_signal = number
        self._stop.set()

    async def _send_requests(self) -> None:
        """Sends one request after another; the body of a worker."""
        try:
            while not self._stop.is_set():
                request = next(self._remaining, None)
                if request is None:
                    return
                await self._send(request)
                self._done += 1
        except CapReached as error:
            self._summary.cap = str(error)
        except Exception as error:  # noqa: BLE001  Raised once all workers have ended.
            self._error = self._error or error
        self._stop.set()

    async def _send(self, request: Request) -> None:
        body = self._plan.request_body(request.row.input, request.sample)
        spent, reply = Spending(), None
        try:
            reply = await self._client.request(body, request.max_spending, spent)
        except RequestFailure as failure:
            self._count_failure(request, failure)
        finally:
            # Without a reply, also after a cancellation, the spending is stored alone.
            if reply is None and spent.requests:
                self._store.add_spent(spent)
        if reply is not None:
            self._failures_in_a_row = 0
            names = (request.key, request.row.id, request.sample)
            self._store.add(StoredReply(*names, reply.text, reply.finish_reason, spent))

    def _count_failure(self, request: Request, failure: RequestFailure) -> None:
        """Records a failure; raises UserError after too many in a row."""
        summary = self._summary
        summary.failed[request.key] = str(failure)
        summary.last_failure = f"last failure: input {request.row.id!r}: {failure}"
        if failure.request_specific and self._store.replies:
            return  # The server answers other requests, so it works.
        self._failures_in_a_row += 1
        if self._failures_in_a_row == self._config.max_failures_in_a_row:
            raise UserError(
                f"{self._failures_in_a_row} requests in a row failed "
                f"(MAX_FAILURES_IN_A_ROW); {summary.last_failure}"
            )

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_PERIOD)
            self._report()

    def _report(self) -> None:
        error = self._client.last_error
        note = self._plan.budget.describe(self._ledger.spent)
        note += f"; last error: {error:.80}" if error else ""
        self._progress.update(self._done, note)
