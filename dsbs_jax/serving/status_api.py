"""What the server has and how it works: models, health and metrics."""

import fastapi

from dsbs_jax.serving import metrics
from dsbs_jax.serving.answering import Service, ServiceOfApp
from dsbs_jax.serving.api_errors import ApiError
from dsbs_jax.serving.models import Model
from dsbs_jax.serving.schemas import Health, ModelCard, ModelList

router = fastapi.APIRouter()


@router.get("/v1/models")
async def list_models(service: ServiceOfApp) -> ModelList:
    """Lists the models."""
    cards = [_card(model, service) for model in service.store.all()]
    return ModelList(data=cards)


@router.get("/v1/models/{name}")
async def describe_model(name: str, service: ServiceOfApp) -> ModelCard:
    """Describes one model."""
    return _card(service.store.get(name), service)


@router.get("/healthz")
async def is_alive() -> Health:
    """Answers as long as the process does."""
    return Health(status="ok")


@router.get("/readyz")
async def is_ready(service: ServiceOfApp) -> Health:
    """Answers 200 if the server takes requests: after loading, before it stops."""
    if service.is_stopping:
        raise ApiError(503, "the server is stopping", "stopping")
    service.store.all()
    return Health(status="ready")


@router.get("/metrics", response_class=fastapi.responses.PlainTextResponse)
async def show_metrics(service: ServiceOfApp) -> fastapi.Response:
    """Returns the metrics in the format of Prometheus."""
    return fastapi.Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _card(model: Model, service: Service) -> ModelCard:
    spec = model.student.spec
    return ModelCard(
        id=model.name,
        created=model.loaded_at,
        labels=None if spec.closed_labels is None else [*spec.closed_labels],
        explains=model.explains,
        method=spec.method,
        engine=model.student.engine.name,
        columns=[*service.columns_of(model).input_columns],
        max_inputs=service.config.max_inputs,
        max_characters=service.config.max_characters,
    )
