"""Sends requests concurrently and stores each reply as soon as it arrives."""

import asyncio
import dataclasses
import signal
from collections.abc import Sequence
from typing import Any

from dsbs_jax.counts import counted
from dsbs_jax.errors import UserError
from dsbs_jax.progress import Progress
from dsbs_jax.teacher.budget import CapReached, Ledger, Spending
from dsbs_jax.teacher.client import Client
from dsbs_jax.teacher.config import RunnerConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.failures import RequestFailure
from dsbs_jax.teacher.replies import Reply
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.request_queue import RequestQueue
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
        on_server: Ids of the batches that continue on the server.
    """

    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    last_failure: str = ""
    missing: int = 0
    cap: str | None = None
    stop_signal: signal.Signals | None = None
    on_server: tuple[str, ...] = ()


class Runner:
    """Sends requests with concurrent workers; each object is used for one run."""

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
        self._stream = endpoint.stream
        count = sum(len(request.samples) for request in requests)
        self._progress = Progress("replies", count)
        self._queue = RequestQueue(requests)
        self._summary = RunSummary()
        self._error: Exception | None = None
        self._stop = asyncio.Event()
        self._done = self._failures_in_a_row = 0
        self._one_by_one = False
        self._said: set[str] = set()
        # Whether the server has ever answered with a text.
        self._has_text = any(not r.is_empty for r in plan.replies_of_model(store))

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
        answered = self._plan.replies_of_model(self._store)
        if summary.failed and not (answered or summary.cap or summary.stop_signal):
            hint = ""
            if self._plan.sampling.structured:
                hint = "; not every server supports STRUCTURED = True"
            raise UserError(
                f"all {counted(len(self._requests), 'request')} failed; "
                f"{summary.last_failure}{hint}"
            )
        done = replies.keys() | summary.failed.keys()
        keys = [key for request in self._requests for key in request.keys]
        # A stored reply without text that is requested again is not missing.
        summary.missing = sum(key not in done for key in keys)
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
                refusals = 0 if self._has_text else self._failures_in_a_row
                request = self._queue.take(refusals)
                if request is None:
                    return
                await self._send(request)
        except CapReached as error:
            self._summary.cap = str(error)
        except Exception as error:  # noqa: BLE001  Raised once all workers have ended.
            self._error = self._error or error
        self._stop.set()

    async def _send(self, request: Request) -> None:
        if self._one_by_one and len(request.samples) > 1:
            self._queue.put_first(self._split(request))
            return
        spent, replies = Spending(), None
        try:
            most = request.max_spending
            replies = await self._client.request(self._body(request), most, spent)
        except RequestFailure as failure:
            self._count_failure(request, failure)
        finally:
            # Without a reply, also after a cancellation, the spending is stored alone.
            if replies is None and spent.requests:
                self._store.add_spent(spent)
        if replies is not None:
            self._store_replies(request, replies, spent)

    def _body(self, request: Request) -> dict[str, Any]:
        """Returns the body; its key does not depend on what is added here."""
        body = self._plan.request_body(request.row.input, request.samples[0])
        if len(request.samples) > 1:
            body["n"] = len(request.samples)
        if self._stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def _split(self, request: Request, after: int = 0) -> list[Request]:
        """Returns a request for each sample after the first ones."""
        return [self._plan.request(request.row, [n]) for n in request.samples[after:]]

    def _store_replies(
        self, request: Request, replies: Sequence[Reply], spent: Spending
    ) -> None:
        """Stores the choices of a response, and requests those that are missing."""
        stored: list[StoredReply] = []
        changes = self._client.features.changes
        for sample, reply in zip(request.samples, replies, strict=False):
            # The server counts the tokens of all choices together.
            is_single = len(replies) == 1
            tokens = reply.usage.completion_tokens if reply.usage else None
            stored.append(
                StoredReply(
                    key=request.row.keys[sample],
                    id=request.row.id,
                    sample=sample,
                    text=reply.text,
                    finish_reason=reply.finish_reason,
                    spent=Spending() if stored else spent,
                    reasoning=reply.reasoning,
                    problem=reply.problem,
                    tokens=tokens if is_single else None,
                    max_tokens=self._plan.sampling.max_tokens,
                    changes=changes,
                )
            )
        self._store.add(*stored)
        self._done += len(stored)
        for change in changes:
            self._say_once(f"the server refuses a field, so requests change: {change}")
        if len(stored) < len(request.samples):
            self._one_by_one = True
            self._queue.put_first(self._split(request, after=len(stored)))
            self._say_once(
                f"the server returned {len(stored)} of {len(request.samples)} samples "
                "(SAMPLES_PER_REQUEST); samples are requested one by one"
            )
        if any(not reply.is_empty for reply in stored):
            self._has_text, self._failures_in_a_row = True, 0
        elif not self._has_text:
            name = f"input {request.row.id!r}"
            self._count_in_a_row(f"last failure: {name}: {stored[0].why_empty()}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.say(text)

    def _count_failure(self, request: Request, failure: RequestFailure) -> None:
        """Records a failure; raises UserError after too many in a row."""
        summary = self._summary
        summary.failed |= dict.fromkeys(request.keys, failure.reason)
        self._done += len(request.samples)
        name = f"input {request.row.id!r}"
        summary.last_failure = f"last failure: {name}: {failure.reason}"
        # If the server answers other requests, it works.
        if not (failure.request_specific and self._has_text):
            self._count_in_a_row(summary.last_failure)

    def _count_in_a_row(self, reason: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row == self._config.max_failures_in_a_row:
            raise UserError(
                f"{self._failures_in_a_row} requests in a row failed "
                f"(MAX_FAILURES_IN_A_ROW); {reason}"
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
