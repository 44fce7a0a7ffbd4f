"""Asks for everything that is missing, many requests at a time, until told to stop."""

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.progress import Progress
from dsbs_jax.teacher import checks
from dsbs_jax.teacher.budget import Budget, CapReached, Ledger, Spending
from dsbs_jax.teacher.client import Client, Endpoint, GaveUp
from dsbs_jax.teacher.replies import Reply
from dsbs_jax.teacher.store import Store, Stored

# Seconds that requests under way get to end when the run is asked to stop.
_GRACE = 10.0
# Seconds between two reports of progress, each of them a line where it is a file.
_REPORT_PERIOD = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One sample of one input that is to be asked for.

    Attributes:
        key: What its reply is stored under.
        id: The example's.
        input: The example's.
        sample: The sample's number, from 0.
        most: What one attempt may cost.
    """

    key: str
    id: str
    input: str
    sample: int
    most: Spending


@dataclasses.dataclass(frozen=True)
class Patience:
    """How many requests at a time, and how many failures are too many.

    Attributes:
        concurrency: Requests under way at the same time.
        max_failures_in_a_row: Requests that end without a usable reply, none with one
            between them, after which the run ends: the server is at fault, not they.

    Raises:
        UserError: A setting is out of its range.
    """

    concurrency: int = 8
    max_failures_in_a_row: int = 20

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("concurrency", "max_failures_in_a_row"):
            checks.whole(name, getattr(self, name))


@dataclasses.dataclass
class Ended:
    """How asking ended.

    Attributes:
        failed: By key, why there is no reply.
        last: The last of these in words.
        left: The requests without a reply, failed ones included.
        cap: The cap that stopped it, or None.
        signal: The number of the signal that stopped it, or None.
    """

    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    last: str = ""
    left: list[Request] = dataclasses.field(default_factory=list)
    cap: str | None = None
    signal: int | None = None


def ask_all(
    requests: Sequence[Request],
    make_body: Callable[[Request], dict[str, Any]],
    store: Store,
    *,
    endpoint: Endpoint,
    style: str,
    budget: Budget,
    patience: Patience,
) -> Ended:
    """Sends requests and stores each reply as it comes.

    Args:
        requests: Those whose replies are missing.
        make_body: Makes what is sent.
        store: Gets the replies, and what was spent in vain.
        endpoint: Where the teacher is.
        style: The endpoint's, as in `Sampling`.
        budget: Prices and caps.
        patience: How many at a time.

    Raises:
        UserError: The server answers nothing, or nothing any more; what came before is
            stored.
        OSError: A reply cannot be stored.
    """
    ledger = Ledger(budget, dataclasses.replace(store.spent))
    client = Client(endpoint, style, ledger)
    progress = Progress("requests", len(requests))

    def report(done: int) -> None:
        note = budget.describe(ledger.spent)
        trouble = f"; trouble: {client.trouble:.80}" if client.trouble else ""
        progress.update(done, note + trouble)

    run = _Run(requests, make_body, store, client, patience, report)
    try:
        ended = asyncio.run(run.all())
    finally:
        progress.close()
    if ended.failed and not (store.replies or ended.cap or ended.signal):
        raise UserError(
            f"none of {len(requests):,} requests got a usable reply; {ended.last}"
        )
    ended.left = [r for r in requests if r.key not in store.replies]
    return ended


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self,
        requests: Sequence[Request],
        make_body: Callable[[Request], dict[str, Any]],
        store: Store,
        client: Client,
        patience: Patience,
        report: Callable[[int], None],
    ) -> None:
        self._requests = iter(requests)
        self._make_body, self._store, self._client = make_body, store, client
        self._patience, self._show = patience, report
        self._ended = Ended()
        self._stop = asyncio.Event()
        self._done = 0
        self._in_a_row = 0
        self._reported = time.monotonic()

    async def all(self) -> Ended:
        """Lets the workers work until nothing is left or something stops them."""
        with self._signals():
            workers = [
                asyncio.create_task(self._work())
                for _ in range(self._patience.concurrency)
            ]
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await self._watch(workers, stopped)
            finally:
                for task in (*workers, stopped):
                    task.cancel()
                await asyncio.gather(*workers, stopped, return_exceptions=True)
                await self._client.close()
        self._report(last=True)
        return self._ended

    async def _watch(self, workers: list[asyncio.Task], stopped: asyncio.Task) -> None:
        """Waits for the workers; raises what the first of them to fail raised."""
        pending = set(workers)
        try:
            while pending and not self._stop.is_set():
                done, pending = await asyncio.wait(
                    {*pending, stopped},
                    timeout=_REPORT_PERIOD,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                pending.discard(stopped)
                # A server that hangs is to be seen too.
                self._report()
                for task in done - {stopped}:
                    task.result()
        finally:
            self._stop.set()
            if pending:
                await asyncio.wait(pending, timeout=_GRACE)
        for task in workers:
            if task.done():
                task.result()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def note(number: int) -> None:
            self._ended.signal = number
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, note, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _work(self) -> None:
        """Takes one request after another."""
        while not self._stop.is_set():
            request = next(self._requests, None)
            if request is None:
                return
            try:
                await self._one(request)
            except CapReached as reached:
                self._ended.cap = str(reached)
                self._stop.set()

    async def _one(self, request: Request) -> None:
        spent = Spending()
        body = self._make_body(request)
        reply = None
        try:
            reply = await self._client.ask(body, request.most, spent)
        finally:
            # Also when this is cancelled: it has been spent.
            if spent.requests and not isinstance(reply, Reply):
                self._store.add_spent(spent)
        if isinstance(reply, Reply):
            self._store.add(_stored(request, reply, spent))
            self._in_a_row = 0
        else:
            self._note_failure(request, reply)
        self._done += 1
        self._report()

    def _note_failure(self, request: Request, failure: GaveUp) -> None:
        """Counts a failure; ends the run where no request has any prospect."""
        self._ended.failed[request.key] = failure.reason
        self._ended.last = f"the last: example {request.id!r}: {failure.reason}"
        if failure.own_fault and self._store.replies:
            # Others are answered, so it is only this one.
            return
        self._in_a_row += 1
        if self._in_a_row >= self._patience.max_failures_in_a_row:
            raise UserError(
                f"{self._in_a_row} requests in a row got no usable reply "
                f"(MAX_FAILURES_IN_A_ROW); {self._ended.last}"
            )

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._reported >= _REPORT_PERIOD:
            self._show(self._done)
            self._reported = now


def _stored(request: Request, reply: Reply, spent: Spending) -> Stored:
    return Stored(
        key=request.key,
        id=request.id,
        sample=request.sample,
        text=reply.text,
        finish_reason=reply.finish_reason,
        spent=spent,
    )
