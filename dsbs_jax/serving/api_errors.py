"""Errors of a request, all in the shape of the OpenAI API.

{"error": {"message": "input is blank", "type": "invalid_request_error",
           "param": "input", "code": "invalid_input"}}
"""

from collections.abc import Mapping, Sequence
from typing import Any

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# No standard status means that the client has left; nginx logs this one.
CLIENT_LEFT = 499


_NOT_JSON = (
    "the body is not JSON in UTF-8, is nested too deeply, or has a number with too "
    "many digits"
)
# pydantic's names of faults, and ours; the others are readable.
_REASONS = {
    "extra_forbidden": "this server has no such field",
    "missing": "is missing",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


class ApiError(Exception):
    """A request cannot be answered.

    Attributes:
        status: The HTTP status.
        message: One sentence for the client.
        code: Name of the error, for programs.
        param: The field of the request that is wrong, if one is.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Takes the parts of the response."""
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.param, self.headers = param, headers

    def response(self) -> JSONResponse:
        """Returns the response."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        content = {
            "message": self.message,
            "type": _TYPES.get(self.status, default),
            "param": self.param,
            "code": self.code,
        }
        return JSONResponse({"error": content}, self.status, self.headers)


def client_left() -> ApiError:
    """Returns the error of a request whose client closed the connection."""
    return ApiError(CLIENT_LEFT, "the client closed the connection", "client_left")


def add_handlers(app: fastapi.FastAPI) -> None:
    """Makes the app answer each error in the same shape."""
    app.add_exception_handler(ApiError, _from_api_error)
    app.add_exception_handler(RequestValidationError, _from_validation_error)
    app.add_exception_handler(HTTPException, _from_http_exception)


# Starlette gives each handler errors of its class only.
async def _from_api_error(request: fastapi.Request, error: Any) -> JSONResponse:
    # The log has the code and not the message, which may contain an input.
    request.scope.setdefault("log", {})["error"] = error.code
    return error.response()


async def _from_http_exception(request: fastapi.Request, error: Any) -> JSONResponse:
    """Answers an unknown path, a wrong method, and a body that is not JSON."""
    message = f"{request.method} {request.url.path:.100}: {error.detail}"
    code = {404: "unknown_path", 405: "wrong_method"}.get(error.status_code)
    if code is None:
        # FastAPI reports bodies that it cannot decode without the reason.
        message, code = _NOT_JSON, "json"
    described = ApiError(error.status_code, message, code, headers=error.headers)
    return await _from_api_error(request, described)


async def _from_validation_error(request: fastapi.Request, error: Any) -> JSONResponse:
    """Answers a body with an unknown, missing or wrong field."""
    faults = error.errors()
    if faults[0]["type"] == "json_invalid":
        place = faults[0]["loc"][-1]
        reason = faults[0].get("ctx", {}).get("error", "")
        message = f"the body is not JSON: {reason} at character {place}"
        return await _from_api_error(request, ApiError(400, message, "json"))
    param, message = describe(faults, error.body)
    # OpenAI's API answers 400 to a wrong field.
    status = 400 if request.url.path.startswith("/v1/chat/") else 422
    described = ApiError(status, message, "invalid_field", param=param)
    return await _from_api_error(request, described)


def describe(faults: Sequence[Mapping[str, Any]], body: Any) -> tuple[str | None, str]:
    """Returns the path of the first wrong field, if it is one, and a message about it.

    Of a field with several possible types, pydantic reports each type that does not
    fit. The faults deepest in the body belong to the type that fits best.

    Args:
        faults: What pydantic reports.
        body: The parsed body.
    """
    first = [fault for fault in faults if fault["loc"][:2] == faults[0]["loc"][:2]]
    depth = max(len(_path(fault, body)) for fault in first)
    deepest = [fault for fault in first if len(_path(fault, body)) == depth]
    path = ""
    for step in _path(deepest[0], body):
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    path = path.removeprefix(".")
    reasons = dict.fromkeys(_reason(fault) for fault in deepest)
    message = f"{path or 'the body'}: {' or '.join(reasons)}"
    return path or None, message.replace(" or must be", " or")


def _path(fault: Mapping[str, Any], body: Any) -> list[str | int]:
    """Returns the fields on the way to a fault, without pydantic's names of types."""
    path: list[str | int] = []
    for step in fault["loc"][1:]:
        in_object = isinstance(body, Mapping) and step in body
        if in_object or (isinstance(body, list) and isinstance(step, int)):
            body = body[step]
        elif fault["type"] != "missing" or step != fault["loc"][-1]:
            continue
        path.append(str(step)[:100] if isinstance(step, str) else step)
    return path


def _reason(fault: Mapping[str, Any]) -> str:
    return _REASONS.get(fault["type"]) or str(fault["msg"]).removeprefix("Input ")
