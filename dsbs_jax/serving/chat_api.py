"""`POST /v1/chat/completions`: a student behind the protocol of the OpenAI API.

The last message, which must be the user's, is the input, and the label is the content
of the answer. Earlier messages are not read.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fastapi
from fastapi.responses import JSONResponse, StreamingResponse

from dsbs_jax.serving.answering import Service, ServiceOfApp, answer
from dsbs_jax.serving.api_errors import ApiError
from dsbs_jax.serving.inputs import texts_of
from dsbs_jax.serving.models import Model
from dsbs_jax.serving.schemas import ChatRequest

if TYPE_CHECKING:  # imports JAX
    from dsbs_jax.api.prediction import Prediction

router = fastapi.APIRouter()


@router.post("/v1/chat/completions")
async def complete(
    body: ChatRequest, request: fastapi.Request, service: ServiceOfApp
) -> fastapi.Response:
    """Answers the last message of a conversation."""
    model = service.store.get(body.model)
    _check(body, model)
    text = _input(body, model, service)
    (prediction,) = await answer(request, service, model, [text])
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": prediction.predicted_label,
            "refusal": None,
        },
        "logprobs": _logprobs(body, prediction),
        "finish_reason": _finish_reason(model, prediction),
    }
    common = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": model.name,
    }
    usage = _usage(model, text, prediction)
    if not body.stream:
        completion = common | {"object": "chat.completion", "choices": [choice]}
        return JSONResponse(completion | {"usage": usage})
    options = body.stream_options
    with_usage = options is not None and bool(options.include_usage)
    events = _events(common, choice, usage if with_usage else None)
    return StreamingResponse(events, media_type="text/event-stream")


def _check(body: ChatRequest, model: Model) -> None:
    """Refuses fields that this student cannot fill truthfully.

    Raises:
        ApiError: A field cannot be obeyed.
    """
    if body.stream_options is not None and not body.stream:
        raise _refusal("stream_options", "needs stream: true")
    if body.top_logprobs is not None and not body.logprobs:
        raise _refusal("top_logprobs", "needs logprobs: true")
    if body.logprobs and model.student.spec.single_task:
        reason = "this student's log-probability includes that of its rationale"
        raise _refusal("logprobs", reason)
    if body.top_logprobs and model.student.spec.closed_labels is None:
        raise _refusal("top_logprobs", "this student has no closed label set")


def _refusal(field: str, reason: str) -> ApiError:
    return ApiError(400, f"{field}: {reason}", "unsupported_field", param=field)


def _input(body: ChatRequest, model: Model, service: Service) -> str:
    """Returns the last message.

    Raises:
        ApiError: It is not the user's, or is blank or too long.
    """
    place = f"messages[{len(body.messages) - 1}]"
    if body.messages[-1].role != "user":
        raise _refusal(place, f"role is {body.messages[-1].role!r}, expected 'user'")
    try:
        (text,) = texts_of(
            body.messages[-1].text, service.columns_of(model), service.config, place
        )
    except ApiError as error:
        error.status = 400  # OpenAI's API answers so to a wrong field
        raise
    return text


def _logprobs(body: ChatRequest, prediction: Prediction) -> dict[str, Any] | None:
    """Describes the answer in OpenAI's shape, as one token.

    The student gives one log-probability for the complete answer. With a closed label
    set that is the logarithm of the label's probability, and the other labels are the
    alternatives.
    """
    if not body.logprobs:
        return None
    shares = prediction.probabilities
    if shares is None:
        chosen = _token(prediction.predicted_label, prediction.log_probability)
        alternatives: list[dict[str, Any]] = []
    else:
        tokens = [_token(label, _log_of(share)) for label, share in shares.items()]
        tokens.sort(key=lambda token: -token["logprob"])
        chosen = next(t for t in tokens if t["token"] == prediction.predicted_label)
        alternatives = tokens[: body.top_logprobs or 0]
    return {"content": [chosen | {"top_logprobs": alternatives}], "refusal": None}


def _log_of(share: float) -> float:
    # OpenAI's value for a token that is very unlikely; JSON has no infinity.
    return math.log(share) if share > 0 else -9999.0


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": [*text.encode()]}


def _finish_reason(model: Model, prediction: Prediction) -> str:
    """Returns "length" for a free answer without an end token."""
    spec = model.student.spec
    if spec.closed_labels is not None or spec.single_task:
        return "stop"
    count = model.count_tokens(prediction.predicted_label)
    return "length" if count > spec.decoding.max_decode_length else "stop"


def _usage(model: Model, text: str, prediction: Prediction) -> dict[str, int]:
    """Counts the tokens that the student read, and those of the content."""
    spec = model.student.spec
    prompt = min(model.count_tokens(spec.label_prefix + text), spec.input_length)
    completion = model.count_tokens(prediction.predicted_label)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _events(
    common: dict[str, Any], choice: dict[str, Any], usage: dict[str, int] | None
) -> Iterator[str]:
    """Yields the events of a stream; the label comes in one piece."""
    message, reason = choice["message"], choice["finish_reason"]
    first = {"index": 0, "delta": message, "logprobs": choice["logprobs"]}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
    chunks: list[dict[str, Any]] = [
        {"choices": [first | {"finish_reason": None}]},
        {"choices": [last]},
    ]
    if usage is not None:
        chunks = [chunk | {"usage": None} for chunk in chunks]
        chunks.append({"choices": [], "usage": usage})
    for chunk in chunks:
        event = common | {"object": "chat.completion.chunk"} | chunk
        yield f"data: {json.dumps(event)}\n\n"
    yield "data: [DONE]\n\n"
