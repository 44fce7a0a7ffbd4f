"""`POST /v1/predict`: labels, probabilities and rationales of a student."""

import fastapi

from dsbs_jax.serving.answering import ServiceOfApp, answer
from dsbs_jax.serving.api_errors import ApiError
from dsbs_jax.serving.inputs import texts_of
from dsbs_jax.serving.schemas import (
    Answer,
    ErrorResponse,
    PredictRequest,
    PredictResponse,
)

router = fastapi.APIRouter()
ERRORS = {
    400: "The body is not JSON.",
    404: "The model does not exist.",
    413: "The body is too large.",
    422: "A field or an input is wrong.",
    429: "The queue is full.",
    503: "The models are not loaded yet.",
    504: "The answer takes too long.",
}


@router.post(
    "/v1/predict",
    response_model_exclude_none=True,
    responses={
        status: {"model": ErrorResponse, "description": text}
        for status, text in ERRORS.items()
    },
)
async def predict(
    body: PredictRequest, request: fastapi.Request, service: ServiceOfApp
) -> PredictResponse:
    """Answers one or several inputs."""
    model = service.store.get(body.model)
    if body.explain and not model.explains:
        message = (
            f"explain: the student {model.name!r} was not trained to give rationales"
        )
        raise ApiError(422, message, "no_rationales", param="explain")
    texts = texts_of(body.input, service.columns_of(model), service.config)
    predictions = await answer(request, service, model, texts, body.explain)
    answers = [Answer.model_validate(prediction) for prediction in predictions]
    return PredictResponse(model=model.name, predictions=answers)
