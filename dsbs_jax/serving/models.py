"""The loaded students of a server, by name, and their replacement while it runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import logging
import os
import pathlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from dsbs_jax import hub, tensorflow_import
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError, first_line
from dsbs_jax.serving.api_errors import ApiError
from dsbs_jax.serving.batching import Batcher
from dsbs_jax.serving.config import QueueConfig
from dsbs_jax.serving.metrics import Metrics

if TYPE_CHECKING:  # imports JAX
    from dsbs_jax.api.prediction import Prediction
    from dsbs_jax.api.student import Student

T = TypeVar("T")
Loader = Callable[[str], "Student"]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One input of a request.

    Attributes:
        text: The input.
        explain: Whether the student also gives a rationale.
    """

    text: str
    explain: bool = False


class Model:
    """A loaded student and the queue of its inputs.

    Attributes:
        name: The name by which requests select it.
        student: The student.
        batcher: Answers the inputs in batches.
        loaded_at: Unix time at which it was loaded.
    """

    def __init__(
        self,
        name: str,
        student: Student,
        config: QueueConfig,
        executor: concurrent.futures.Executor,
        metrics: Metrics,
    ) -> None:
        """Takes the parts; the executor computes the batches of all models."""
        self.name, self.student = name, student
        self.loaded_at = int(time.time())
        self.batcher: Batcher[Job, Prediction] = Batcher(
            self.compute,
            executor,
            max_batch_size=config.max_batch_size,
            window=config.batch_window_ms / 1_000,
            queue_size=config.queue_size,
            timeout=config.request_timeout,
            on_batch=lambda size: metrics.count_batch(name, size),
        )

    @property
    def explains(self) -> bool:
        """Whether the student gives rationales."""
        spec = self.student.spec
        return spec.explain_prefix is not None or spec.single_task

    def count_tokens(self, text: str) -> int:
        """Returns the number of tokens of a text, with the end token."""
        segments = text.split(SEGMENT_SEPARATOR)
        return sum(len(self.student.vocabulary.encode(s)) + 1 for s in segments)

    def compute(self, jobs: Sequence[Job]) -> list[Prediction]:
        """Answers a batch, with rationales for the jobs that request them."""
        texts = [job.text for job in jobs]
        chosen = [place for place, job in enumerate(jobs) if job.explain]
        if self.student.spec.single_task:
            # Each answer contains the rationale.
            predictions = self.student.predict(texts, rationales=bool(chosen))
            rationales = [predictions[i].predicted_rationale for i in chosen]
            predictions = [
                dataclasses.replace(prediction, predicted_rationale=None)
                for prediction in predictions
            ]
        else:
            predictions = self.student.predict(texts)
            explained = [texts[i] for i in chosen]
            rationales = [*self.student.explain(explained)] if chosen else []
        for place, rationale in zip(chosen, rationales, strict=True):
            predictions[place] = dataclasses.replace(
                predictions[place], predicted_rationale=rationale
            )
        return predictions


class ModelStore:
    """The models of a server.

    Attributes:
        is_ready: Whether every model is loaded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        config: QueueConfig,
        metrics: Metrics,
        load: Loader | None = None,
    ) -> None:
        """Keeps the paths of the students; the method `load` loads them.

        Args:
            paths: Paths as `Student.load` takes them.
            config: Settings of the engine, the batches and the queue.
            metrics: Counts batches and loads.
            load: Loads one student. The default is `Student.load` with the settings in
                `config`, and a first answer, which compiles the student's programs.

        Raises:
            UserError: Two students have the same name.
        """
        self._paths = names_of(paths)
        self._config, self._metrics = config, metrics
        self._load_student = load or _loader(config)
        self._models: dict[str, Model] = {}
        # Computation on one thread: a second one would share the same cores.
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "compute")
        self._loading = asyncio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded."""
        return len(self._models) == len(self._paths)

    def all(self) -> list[Model]:
        """Returns all models.

        Raises:
            ApiError: They are not loaded yet.
        """
        if not self.is_ready:
            raise ApiError(
                503, "the models are not loaded yet", "loading", headers=_SOON
            )
        return [*self._models.values()]

    def get(self, name: str | None) -> Model:
        """Returns a model.

        Args:
            name: Its name; None is the only model of the server.

        Raises:
            ApiError: The models are not loaded yet, there is no model with this name,
                or a request to several models names none.
        """
        models = self.all()
        if name is None and len(models) == 1:
            return models[0]
        names = ", ".join(map(repr, self._models))
        if name is None:
            message = f"model is missing, expected one of {names}"
            raise ApiError(422, message, "invalid_field", param="model")
        if name not in self._models:
            message = f"there is no model {name!r:.100}, expected one of {names}"
            raise ApiError(404, message, "model_not_found", param="model")
        return self._models[name]

    async def load(self) -> None:
        """Loads all models, one after another.

        Raises:
            UserError: A student cannot be loaded.
        """
        async with self._loading:
            for name, path in self._paths.items():
                await self._load(name, path)

    async def reload(self) -> None:
        """Loads all models again; each replaces the old one when it is ready.

        A model that cannot be loaded keeps its student, and a log line says why.
        Requests that an old student has accepted are answered by it.
        """
        async with self._loading:
            for name, path in self._paths.items():
                try:
                    await self._load(name, path)
                # Whatever is wrong with the new files, the server continues.
                except Exception as error:
                    _log.error(
                        "reload failed, the loaded student is kept",
                        extra={"fields": {"model": name, "reason": first_line(error)}},
                    )

    async def _load(self, name: str, path: str) -> None:
        start, result = time.monotonic(), "failed"
        try:
            student = await _in_daemon_thread(lambda: self._load_student(path))
            result = "ok"
        finally:
            self._metrics.count_load(name, result)
        model = Model(name, student, self._config, self._executor, self._metrics)
        self._models[name] = model
        self._metrics.watch_queue(name, lambda: model.batcher.queue_length)
        seconds = round(time.monotonic() - start, 3)
        _log.info("model loaded", extra={"fields": {"model": name, "seconds": seconds}})


# A client that finds the server loading may try again after this time.
_SOON = {"Retry-After": "5"}


def names_of(paths: Sequence[str]) -> Mapping[str, str]:
    """Returns the path of each student by its name, the last part of the path.

    ["runs/a", "hub:me/b"] -> {"a": "runs/a", "b": "hub:me/b"}

    Raises:
        UserError: Two students have the same name.
    """
    names: dict[str, str] = {}
    for path in paths:
        if hub.is_address(path):
            name = path.rpartition("/")[2]
        else:
            name = pathlib.Path(os.path.expanduser(path)).resolve().name
        if name in names:
            raise UserError(
                f"{names[name]} and {path} have the same name {name!r}, by which "
                "requests select a student; rename one of the folders"
            )
        names[name] = path
    return names


def _loader(config: QueueConfig) -> Loader:
    """Returns a function that loads a student and answers once with it.

    The first answer compiles the student's programs.
    """

    def load(path: str) -> Student:
        tensorflow_import.import_quietly()
        from dsbs_jax.api.student import Student

        student = Student.load(
            path, batch_size=config.max_batch_size, engine=config.engine
        )
        student.predict(["warm-up"])
        if student.spec.explain_prefix is not None:
            student.explain(["warm-up"])
        return student

    return load


def _in_daemon_thread(work: Callable[[], T]) -> Awaitable[T]:
    """Runs work in a thread that does not delay the end of the process."""
    result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True, name="load").start()
    return asyncio.wrap_future(result)
