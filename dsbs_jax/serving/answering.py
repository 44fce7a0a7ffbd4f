"""Answers the inputs of a request with a model, as long as the client waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import fastapi

from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.serving.api_errors import ApiError, client_left
from dsbs_jax.serving.batching import QueueFull
from dsbs_jax.serving.config import ServerConfig
from dsbs_jax.serving.metrics import Metrics
from dsbs_jax.serving.models import Job, Model, ModelStore

if TYPE_CHECKING:  # imports JAX
    from dsbs_jax.api.prediction import Prediction

T = TypeVar("T")


@dataclasses.dataclass
class Service:
    """What the routes of a server share.

    Attributes:
        config: The settings.
        columns: The columns of an input that the command line names.
        store: The models.
        metrics: The metrics.
        is_stopping: Whether the server has received SIGTERM or SIGINT.
    """

    config: ServerConfig
    columns: ColumnMap
    store: ModelStore
    metrics: Metrics
    is_stopping: bool = False

    def columns_of(self, model: Model) -> ColumnMap:
        """Returns the columns of a model's inputs, which `student.json` may have."""
        return model.student.spec.columns(self.columns)


def _service(request: fastapi.Request) -> Service:
    return request.app.state.service


ServiceOfApp = Annotated[Service, fastapi.Depends(_service)]


async def answer(
    request: fastapi.Request,
    service: Service,
    model: Model,
    texts: Sequence[str],
    explain: bool = False,
) -> list[Prediction]:
    """Answers the inputs of a request.

    Raises:
        ApiError: The queue is full, the time is over, or the client has left; inputs
            that still wait are then dropped.
    """
    details = {"model": model.name, "inputs": len(texts)}
    if service.config.log_inputs:
        details["texts"] = [*texts]
    request.scope.setdefault("log", {}).update(details)
    jobs = [Job(text, explain) for text in texts]
    try:
        return await _unless_client_leaves(request, model.batcher.submit(jobs))
    except QueueFull as error:
        raise ApiError(
            429,
            str(error),
            "queue_full",
            headers={"Retry-After": f"{error.retry_after}"},
        ) from error
    except TimeoutError as error:
        seconds = service.config.request_timeout
        message = f"no answer within {seconds:g} s (request_timeout)"
        raise ApiError(504, message, "timeout") from error


async def _unless_client_leaves(
    request: fastapi.Request, work: Coroutine[Any, Any, T]
) -> T:
    """Waits for work, and cancels it if the client closes the connection."""
    answering = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_for_end(request))
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise client_left()
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _wait_for_end(request: fastapi.Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
