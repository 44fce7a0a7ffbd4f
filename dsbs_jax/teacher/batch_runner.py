"""Runs an extraction's requests as batches: creates, waits, downloads, stores.

If the process is killed at any moment, no reply is lost and no request is paid twice:

- The record of a batch is written before the server gets the batch.
- A batch is created only if the server has no batch with the same fingerprint of
  requests.
- Replies are stored under their keys, so storing one a second time changes nothing.
- The server's files are deleted when the replies are stored and the record says so.
"""

import asyncio
import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

from dsbs_jax import progress
from dsbs_jax.counts import counted
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import batch_api, batch_records
from dsbs_jax.teacher.batch_api import Batch, BatchApi
from dsbs_jax.teacher.batch_features import BatchFeatures
from dsbs_jax.teacher.batch_records import BatchFiles, BatchRecord, BatchRow
from dsbs_jax.teacher.batch_results import BatchResults, ResultReader
from dsbs_jax.teacher.budget import Spending
from dsbs_jax.teacher.config import ExtractionSettings
from dsbs_jax.teacher.replies import Reply
from dsbs_jax.teacher.request_plan import Request, RequestPlan
from dsbs_jax.teacher.runner import RunSummary
from dsbs_jax.teacher.store import Store, StoredReply

# Seconds between lines about a batch whose state does not change.
_REPORT_PERIOD = 600.0
# Replies that are forced to the disk in one step.
_STORED_AT_ONCE = 200
_CONTINUES = "continues on the server, and the same command resumes"


class BatchRunner:
    """Sends the requests of a plan as batches; each object is used for one run."""

    def __init__(
        self, plan: RequestPlan, store: Store, config: ExtractionSettings
    ) -> None:
        """Prepares a run; raises UserError if the key or a record is not valid."""
        self._plan, self._store = plan, store
        self._period = config.batch.batch_period
        self._url = config.endpoint.base_url
        self._api = BatchApi(config.endpoint, plan.sampling.style)
        self._files = BatchFiles(pathlib.Path(config.extraction.output_dir))
        self._records = self._files.read()
        most = min(config.runner.samples_per_request, plan.sampling.samples)
        example = plan.request(plan.inputs[0], range(most))
        self._features = BatchFeatures(
            batch_records.request_body(plan, example), self._url
        )
        # Keys of requests that the next batch of this run sends in another way.
        self._again: set[str] = set()
        self._file_ids: dict[str, str] = {}
        self._said: dict[int, tuple[str, float]] = {}
        self._failed_batches: list[str] = []
        self._summary = RunSummary()
        self._began = time.monotonic()

    def run(self, missing_requests: Callable[[], list[Request]]) -> RunSummary:
        """Collects earlier batches, then creates and collects those that are missing.

        Args:
            missing_requests: Lists the requests whose replies are not stored.

        Raises:
            UserError: The server refuses a request, or all requests of a batch.
            OSError: A file cannot be written.
        """
        asyncio.run(self._until_signal(missing_requests))
        summary = self._summary
        is_complete = not (summary.failed or summary.missing)
        if self._features.error and not (is_complete or summary.stop_signal):
            raise UserError(self._features.error)
        if self._failed_batches:
            raise UserError("; ".join(self._failed_batches))
        answered = self._plan.replies_of_model(self._store)
        if summary.failed and not (answered or summary.stop_signal):
            raise UserError(
                f"all {counted(len(summary.failed), 'request')} of the batch failed; "
                f"{summary.last_failure}"
            )
        if summary.failed and not summary.stop_signal:
            print(
                f"{counted(len(summary.failed), 'request has', 'requests have')} no "
                "reply; the same command sends them in a new batch, and without "
                "--batch directly",
                flush=True,
            )
        return summary

    async def _until_signal(
        self, missing_requests: Callable[[], list[Request]]
    ) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def on_signal(number: signal.Signals) -> None:
            self._summary.stop_signal = number
            stop.set()

        # The loop restores the previous handlers when it closes.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        work = asyncio.create_task(self._work(missing_requests))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        is_stopped = not work.done()
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        await self._api.connection.close()
        if not is_stopped:
            self._summary.stop_signal = None
            work.result()
            return
        self._summary.on_server = self._running()
        waiting = sum(len(self._records[n].rows) for n in self._open())
        self._summary.missing = max(waiting, 1)

    async def _work(self, missing_requests: Callable[[], list[Request]]) -> None:
        records = {str(self._files.record_path(n)): r for n, r in self._records.items()}
        self._features.restore(records)
        for number in self._records:
            await self._delete_files(number)
        await self._find_unsaved()
        await self._collect_all()
        requests = [r for r in missing_requests() if not self._has_failed(r)]
        keys = [key for request in requests for key in request.keys]
        while requests and not self._features.error:
            self._again.clear()
            chosen = self._affordable(requests)
            for content, record in batch_records.split(
                self._plan, chosen, self._features.adapt
            ):
                record.changes = self._features.changes
                await self._submit(content, record)
            await self._collect_all()
            requests = self._requests_again(chosen)
        done = self._store.replies.keys() | self._summary.failed.keys()
        # A stored reply without text that is requested again is not missing.
        self._summary.missing = sum(key not in done for key in keys)

    def _requests_again(self, sent: Sequence[Request]) -> list[Request]:
        """Returns the requests that a further batch may answer.

        The server refused them for a field that has a replacement, or returned fewer
        samples than a request asked for. Those samples are requested one by one.
        """
        again: list[Request] = []
        for request in sent:
            samples = [n for n in request.samples if request.row.keys[n] in self._again]
            if len(samples) == len(request.samples):
                again.append(request)
            else:
                again += [self._plan.request(request.row, [n]) for n in samples]
        return again

    def _has_failed(self, request: Request) -> bool:
        """Whether a batch that this run collected has no reply to a request."""
        return any(key in self._summary.failed for key in request.keys)

    def _affordable(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Returns as many of the first requests as the caps allow at maximum cost."""
        total = dataclasses.replace(self._store.spent)
        for number, request in enumerate(requests):
            total.add(request.max_spending)
            if cap := self._plan.budget.exceeded_cap(total):
                self._summary.cap = cap
                print(
                    f"{cap} allows a batch with {number:,} of {len(requests):,} "
                    "requests at their maximum cost",
                    flush=True,
                )
                return requests[:number]
        return requests

    async def _find_unsaved(self) -> None:
        """Finds batches that a killed run has created, but not recorded."""
        for number in self._open():
            record = self._records[number]
            if record.batch_id is not None:
                continue
            batch = await self._api.find(record.fingerprint, self._known_ids())
            if batch:
                self._save_id(number, batch)
            else:
                if record.file_id:
                    self._file_ids[record.fingerprint] = record.file_id
                self._files.remove(number)
                del self._records[number]

    async def _submit(self, content: bytes, record: BatchRecord) -> None:
        """Creates the batch of a record, unless the server has it."""
        number = max(self._records, default=0) + 1
        path = self._files.write_requests(number, content)
        record.file_id = self._file_ids.get(record.fingerprint)
        self._records[number] = record
        self._files.write(number, record)

        async def upload() -> str:
            if not (record.file_id and await self._api.has_file(record.file_id)):
                record.file_id = await self._api.upload(path)
                self._files.write(number, record)
            return record.file_id

        batch = await self._api.find_or_create(
            record.fingerprint, self._known_ids(), upload
        )
        self._save_id(number, batch)

    def _save_id(self, number: int, batch: Batch) -> None:
        record = self._records[number]
        record.batch_id = batch.id
        self._files.write(number, record)
        print(
            f"batch {batch.id}: {counted(len(record.rows), 'request')}; if this "
            f"command stops, the batch {_CONTINUES}",
            flush=True,
        )

    async def _collect_all(self) -> None:
        """Waits until every batch has ended, and stores its replies."""
        while numbers := self._running_numbers():
            for number in numbers:
                batch = await self._retrieve(number)
                self._report(number, batch)
                if batch.status in batch_api.ENDED:
                    await self._collect(number, batch)
            if self._running_numbers():
                await asyncio.sleep(self._period)

    async def _retrieve(self, number: int) -> Batch:
        batch_id = self._records[number].batch_id or ""
        try:
            return await self._api.retrieve(batch_id)
        except UserError as error:
            path = self._files.record_path(number)
            raise UserError(
                f"{error}; the state of batch {batch_id} is not known. If it still "
                f"exists, it {_CONTINUES}; if not, remove {path}"
            ) from error

    async def _collect(self, number: int, batch: Batch) -> None:
        """Downloads and stores the results of a batch that has ended."""
        record, paths = self._records[number], []
        names = {"output": batch.output_file_id, "errors": batch.error_file_id}
        for name, file_id in names.items():
            if file_id:
                path = self._files.result_path(number, name)
                await self._api.download(file_id, path)
                paths.append(path)
        connection = self._api.connection
        keys = {row.key for row in record.rows}
        results = ResultReader(keys, connection.read, connection.clean).read(paths)
        for text in results.describe_ignored():
            print(f"batch {batch.id}: {text}", flush=True)
        change = self._features.learn(record, batch, results)
        self._store_results(record, batch, results, is_refused=change is not None)
        if change:
            print(
                f"batch {batch.id}: the server refuses a field, so the requests are "
                f"sent in a new batch and change: {change}",
                flush=True,
            )
        elif batch.status == "failed":
            reasons = "; ".join(batch.error_texts()[:3]) or "no reason is given"
            self._failed_batches.append(
                connection.clean(f"{self._url}: batch {batch.id} failed: {reasons}")
            )
        self._files.finish(number, record, batch.file_ids())
        await self._delete_files(number)

    async def _delete_files(self, number: int) -> None:
        """Deletes the files of a batch whose replies are stored from the server.

        A file that cannot be deleted stays in the record, and the next run tries again.
        """
        record = self._records[number]
        for file_id in record.server_files:
            if problem := await self._api.delete_file(file_id):
                print(
                    f"batch {record.batch_id}: {file_id} is still on the server "
                    f"({problem}); the next run with --batch tries to delete it again",
                    flush=True,
                )
                continue
            left = tuple(other for other in record.server_files if other != file_id)
            record.server_files = left
            self._files.write(number, record)

    def _store_results(
        self,
        record: BatchRecord,
        batch: Batch,
        results: BatchResults,
        is_refused: bool,
    ) -> None:
        """Stores the replies, and the cost of requests without a reply.

        Args:
            record: The record of the batch.
            batch: The server's description of it.
            results: The content of its output files.
            is_refused: Whether the requests can be sent again with a change.
        """
        replies: list[StoredReply] = []
        unanswered = Spending()
        for row in record.rows:
            if row.key in results.replies:
                replies += self._to_store(record, batch, row, results.replies[row.key])
            elif row.key in results.failures:
                unread = row.key in results.unread
                unanswered.add(row.max_spending if unread else Spending(1))
        for start in range(0, len(replies), _STORED_AT_ONCE):
            self._store.add(*replies[start : start + _STORED_AT_ONCE])
        if unanswered.requests:
            self._store.add_spent(unanswered)
        for row in record.rows:
            reason = results.failures.get(row.key, f"no result ({batch.status})")
            lost = [key for key in row.keys if key not in self._store.replies]
            if lost and (is_refused or row.key in results.replies):
                self._again.update(lost)
            elif lost:
                self._summary.failed |= dict.fromkeys(lost, f"batch: {reason}")
                self._summary.last_failure = f"last failure: {row.id!r}: {reason}"

    def _to_store(
        self,
        record: BatchRecord,
        batch: Batch,
        row: BatchRow,
        replies: Sequence[Reply],
    ) -> list[StoredReply]:
        """Returns the replies to one request that are not stored yet."""
        usage, stored = replies[0].usage, list[StoredReply]()
        spent = row.max_spending
        if usage:
            written = usage.completion_tokens
            spent = Spending(1, usage.prompt_tokens, written).in_batch()
        for key, sample, reply in zip(row.keys, row.samples, replies, strict=False):
            earlier = self._store.replies.get(key)
            # Another run stored it before it was killed.
            if earlier and (earlier.batch == batch.id or not earlier.is_empty):
                continue
            stored.append(
                StoredReply(
                    key=key,
                    id=row.id,
                    sample=sample,
                    text=reply.text,
                    finish_reason=reply.finish_reason,
                    spent=Spending() if stored else spent,
                    reasoning=reply.reasoning,
                    problem=reply.problem,
                    tokens=usage.completion_tokens
                    if usage and len(replies) == 1
                    else None,
                    max_tokens=record.max_tokens,
                    changes=record.changes,
                    batch=batch.id,
                )
            )
        return stored

    def _report(self, number: int, batch: Batch) -> None:
        """Prints the state of a batch if it has changed, or after ten minutes."""
        clean = self._api.connection.clean
        total = batch.count("total") or len(self._records[number].rows)
        state = (
            f"batch {batch.id}: {clean(batch.status)}, {batch.count('completed'):,} of "
            f"{total:,} requests answered, {batch.count('failed'):,} failed"
        )
        said, when = self._said.get(number, ("", 0.0))
        now = time.monotonic()
        if state != said or now - when > _REPORT_PERIOD:
            self._said[number] = (state, now)
            print(f"{state}, {progress.duration(now - self._began)}", flush=True)

    def _open(self) -> list[int]:
        return [n for n, r in self._records.items() if not r.is_collected]

    def _running_numbers(self) -> list[int]:
        return [n for n in self._open() if self._records[n].batch_id]

    def _running(self) -> tuple[str, ...]:
        ids = (self._records[number].batch_id for number in self._running_numbers())
        return tuple(batch_id for batch_id in ids if batch_id)

    def _known_ids(self) -> frozenset[str]:
        return frozenset(r.batch_id for r in self._records.values() if r.batch_id)
