"""Collects items of concurrent requests into batches for one worker thread.

    batcher = Batcher(compute, executor, max_batch_size=16, window=0.005,
                      queue_size=256, timeout=30.0)
    answers = await batcher.submit(["first", "second"])

A batch is computed when it is full, or when its oldest item has waited for `window`
seconds. While a batch is computed, the items of the next one arrive.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class QueueFull(Exception):
    """The queue has no place for the items of a request.

    Attributes:
        retry_after: Seconds after which the queue is probably computed, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        """Takes the seconds."""
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class ComputeError(Exception):
    """The computation of a batch failed; the cause is the error that it raised."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class _Entry(Generic[Item, Answer]):
    """An item in the queue.

    Attributes:
        item: The item.
        answer: Gets the answer, or is cancelled if nobody waits for it any more.
        arrived: Time of the event loop's clock, in seconds.
    """

    item: Item
    answer: asyncio.Future[Answer]
    arrived: float


class Batcher(Generic[Item, Answer]):
    """A bounded queue of items, and the task that computes them in batches.

    The task exists only while items wait, so a batcher need not be closed.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Answer]],
        executor: concurrent.futures.Executor,
        *,
        max_batch_size: int,
        window: float,
        queue_size: int,
        timeout: float,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Takes the computation and the limits.

        Args:
            compute: Returns an answer for each item, in their order.
            executor: Runs `compute`, one batch at a time.
            max_batch_size: Items of a batch.
            window: Seconds that an item waits for others.
            queue_size: Items that wait, without those that are being computed.
            timeout: Seconds in which a request is answered.
            on_batch: Called with the size of each batch.
        """
        self._compute, self._executor = compute, executor
        self._max_batch_size, self._window = max_batch_size, window
        self._queue_size, self._timeout = queue_size, timeout
        self._on_batch = on_batch
        # Ordered by arrival; a dictionary, so that any entry is removed at once.
        self._queue: dict[_Entry[Item, Answer], None] = {}
        self._arrival = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._batch_seconds = 0.0

    @property
    def queue_length(self) -> int:
        """Number of items that wait."""
        return len(self._queue)

    async def submit(self, items: Sequence[Item]) -> list[Answer]:
        """Returns the answers to the items of one request, in their order.

        If the caller is cancelled, items that are not yet being computed leave the
        queue.

        Raises:
            QueueFull: The queue has no place for all items.
            TimeoutError: The answers are not complete in time.
            ComputeError: The computation of a batch with one of the items failed.
        """
        if len(self._queue) + len(items) > self._queue_size:
            raise QueueFull(self._retry_after())
        loop = asyncio.get_running_loop()
        entries: list[_Entry[Item, Answer]] = [
            _Entry(item, loop.create_future(), loop.time()) for item in items
        ]
        self._queue.update(dict.fromkeys(entries))
        self._arrival.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.gather(*(entry.answer for entry in entries))
        finally:
            for entry in entries:
                self._queue.pop(entry, None)
                entry.answer.cancel()

    def _retry_after(self) -> int:
        batches = len(self._queue) / self._max_batch_size
        return max(1, math.ceil(batches * self._batch_seconds))

    async def _work(self) -> None:
        """Computes batches until the queue is empty."""
        try:
            while self._queue:
                await self._wait_for_batch()
                batch = [*self._queue][: self._max_batch_size]
                for entry in batch:
                    del self._queue[entry]
                batch = [entry for entry in batch if not entry.answer.done()]
                if batch:
                    await self._answer(batch)
        finally:
            self._worker = None

    async def _wait_for_batch(self) -> None:
        """Waits until a batch is full, or its window has passed."""
        loop = asyncio.get_running_loop()
        while 0 < len(self._queue) < self._max_batch_size:
            # The oldest entry may be cancelled while this waits.
            wait = next(iter(self._queue)).arrived + self._window - loop.time()
            if wait <= 0:
                return
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._arrival.wait()

    async def _answer(self, batch: Sequence[_Entry[Item, Answer]]) -> None:
        """Computes a batch and gives each entry its answer."""
        self._on_batch(len(batch))
        loop = asyncio.get_running_loop()
        start = loop.time()
        items = [entry.item for entry in batch]
        try:
            answers = await loop.run_in_executor(self._executor, self._guarded, items)
        except Exception as error:
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
        else:
            self._batch_seconds = loop.time() - start
            for entry, answer in zip(batch, answers, strict=True):
                if not entry.answer.done():
                    entry.answer.set_result(answer)

    def _guarded(self, items: list[Item]) -> Sequence[Answer]:
        """Computes a batch, and turns every error into one that requests receive."""
        try:
            answers = self._compute(items)
        # Otherwise a BaseException of a library would end the worker.
        except BaseException as error:
            raise ComputeError("the computation failed") from error
        if len(answers) != len(items):
            raise ComputeError(f"{len(answers)} answers to {len(items)} items")
        return answers
