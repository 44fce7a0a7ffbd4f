"""The queue of the server: no answer is lost, computed twice or given to another."""

import asyncio
import collections
import concurrent.futures
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsbs_jax.serving import batching


@pytest.fixture(scope="module")
def executor():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


def batcher(compute, executor, **changes):
    options = {
        "max_batch_size": 4,
        "window": 0.0,
        "queue_size": 1_000,
        "timeout": 60.0,
        **changes,
    }
    return batching.Batcher(compute, executor, **options)


class Held:
    """A computation that waits until the test releases it."""

    def __init__(self):
        self.batches, self.started = [], threading.Event()
        self.released = threading.Event()

    def __call__(self, items):
        self.batches.append(items)
        self.started.set()
        assert self.released.wait(30)
        return [f"answer {item}" for item in items]

    async def until_started(self):
        while not self.started.is_set():
            await asyncio.sleep(0.001)


# The items of a request, the turns of the event loop before it is sent, and those
# after which it is cancelled, if it is.
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.integers(0, 6),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(REQUESTS, st.integers(1, 5), st.sampled_from([0.0, 0.001]), st.booleans())
def test_every_request_gets_its_own_answers(
    executor, requests, max_batch_size, window, fails
):
    computed, sizes = collections.Counter(), []

    def compute(items):
        computed.update(items)
        if fails and "1.0" in items:
            raise OSError("a library failed")
        return [f"answer {item}" for item in items]

    async def send(queue, number, count, delay):
        for _ in range(delay):
            await asyncio.sleep(0)
        items = [f"{number}.{place}" for place in range(count)]
        return items, await queue.submit(items)

    async def check():
        queue = batcher(
            compute,
            executor,
            max_batch_size=max_batch_size,
            window=window,
            on_batch=sizes.append,
        )
        tasks = []
        for number, (count, delay, cancelled) in enumerate(requests):
            tasks.append(asyncio.create_task(send(queue, number, count, delay)))
            if cancelled is not None:
                for _ in range(cancelled):
                    await asyncio.sleep(0)
                tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        # A batch of cancelled requests may still be in the thread.
        await asyncio.get_running_loop().run_in_executor(executor, bool)
        for result, (_, _, cancelled) in zip(results, requests, strict=True):
            if isinstance(result, asyncio.CancelledError):
                assert cancelled is not None
            elif isinstance(result, batching.ComputeError):
                assert fails
            else:
                items, answers = result
                assert answers == [f"answer {item}" for item in items]
                assert all(computed[item] == 1 for item in items)
        assert queue.queue_length == 0
        assert all(count == 1 for count in computed.values())
        assert all(1 <= size <= max_batch_size for size in sizes)
        assert sum(sizes) == sum(computed.values())

    asyncio.run(check())


def test_items_that_arrive_together_are_one_batch(executor):
    batches = []

    def compute(items):
        batches.append(items)
        return items

    async def check():
        queue = batcher(compute, executor, window=0.05)
        await asyncio.gather(*(queue.submit([number]) for number in range(6)))

    asyncio.run(check())
    assert batches == [[0, 1, 2, 3], [4, 5]]


def test_full_batch_does_not_wait_for_the_window(executor):
    async def check():
        queue = batcher(lambda items: items, executor, window=3_600.0)
        async with asyncio.timeout(30):
            assert await queue.submit([1, 2, 3, 4]) == [1, 2, 3, 4]

    asyncio.run(check())


def test_cancelled_items_are_not_computed(executor):
    held = Held()

    async def check():
        queue = batcher(held, executor, max_batch_size=1)
        first = asyncio.create_task(queue.submit(["a"]))
        await held.until_started()
        second = asyncio.create_task(queue.submit(["b", "c"]))
        third = asyncio.create_task(queue.submit(["d"]))
        await asyncio.sleep(0)
        assert queue.queue_length == 3
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert queue.queue_length == 1
        held.released.set()
        assert await first == ["answer a"]
        assert await third == ["answer d"]

    asyncio.run(check())
    assert held.batches == [["a"], ["d"]]


def test_request_whose_computation_is_cancelled_gets_no_answer_of_another(executor):
    held = Held()

    async def check():
        queue = batcher(held, executor)
        first = asyncio.create_task(queue.submit(["a"]))
        await held.until_started()
        first.cancel()
        second = asyncio.create_task(queue.submit(["b"]))
        await asyncio.sleep(0)
        held.released.set()
        assert await second == ["answer b"]
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(check())


def test_timeout_frees_the_places_of_a_request(executor):
    held = Held()

    async def check():
        queue = batcher(held, executor, max_batch_size=1, queue_size=2, timeout=0.05)
        first = asyncio.create_task(queue.submit(["a"]))
        await held.until_started()
        with pytest.raises(TimeoutError):
            await queue.submit(["b", "c"])
        assert queue.queue_length == 0
        with pytest.raises(TimeoutError):
            await first
        held.released.set()
        assert await queue.submit(["d"]) == ["answer d"]

    asyncio.run(check())
    assert held.batches == [["a"], ["d"]]


def test_request_that_does_not_fit_is_refused_completely(executor):
    held = Held()

    async def check():
        queue = batcher(held, executor, max_batch_size=1, queue_size=3)
        first = asyncio.create_task(queue.submit(["a"]))
        await held.until_started()
        second = asyncio.create_task(queue.submit(["b", "c"]))
        await asyncio.sleep(0)
        with pytest.raises(batching.QueueFull) as refused:
            await queue.submit(["d", "e"])
        assert refused.value.retry_after >= 1
        assert queue.queue_length == 2
        third = asyncio.create_task(queue.submit(["f"]))
        held.released.set()
        answers = [await task for task in (first, second, third)]
        assert answers == [["answer a"], ["answer b", "answer c"], ["answer f"]]

    asyncio.run(check())


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(1), KeyboardInterrupt()], ids=repr
)
def test_error_of_a_computation_reaches_its_requests_only(executor, error):
    def compute(items):
        if "bad" in items:
            raise error
        return items

    async def check():
        queue = batcher(compute, executor, max_batch_size=1)
        bad, good = queue.submit(["bad"]), queue.submit(["good"])
        failed, answers = await asyncio.gather(bad, good, return_exceptions=True)
        assert isinstance(failed, batching.ComputeError)
        assert failed.__cause__ is error
        assert answers == ["good"]

    asyncio.run(check())


def test_wrong_number_of_answers_is_an_error(executor):
    async def check():
        queue = batcher(lambda items: items[1:], executor)
        with pytest.raises(batching.ComputeError, match="1 answers to 2 items"):
            await queue.submit(["a", "b"])

    asyncio.run(check())
