"""The web application of the server."""

import pathlib
from collections.abc import Awaitable, Callable

import fastapi
from fastapi.responses import FileResponse
from starlette.middleware.cors import CORSMiddleware

import dsbs_jax
from dsbs_jax.serving import api_errors, chat_api, limits, predict_api, status_api
from dsbs_jax.serving.answering import Service
from dsbs_jax.serving.request_log import Observer

_PAGE = pathlib.Path(__file__).parent / "page"
# The files of the page by their paths on the server.
_FILES = {
    "/": _PAGE / "index.html",
    "/page.js": _PAGE / "page.js",
    "/page.css": _PAGE / "page.css",
    "/icon.svg": _PAGE / "icon.svg",
}
# The page asks for the key itself, and a load balancer has none.
_OPEN_PATHS = (*_FILES, "/healthz", "/readyz")


def create_app(service: Service, api_key: str | None = None) -> fastapi.FastAPI:
    """Creates the application.

    Args:
        service: What the routes share. Its models may still be loading.
        api_key: The key that requests must have as bearer token, if any.
    """
    config = service.config
    app = fastapi.FastAPI(
        title="dsbs_jax",
        version=dsbs_jax.__version__,
        description="Answers of distilled students.",
        # These pages load scripts from another server.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for path, file in _FILES.items():
        app.add_api_route(path, _sender(file), include_in_schema=False)
    for api in (predict_api, chat_api, status_api):
        app.include_router(api.router)
    api_errors.add_handlers(app)
    # The last one added is called first.
    app.add_middleware(
        limits.BodyLimit,
        max_bytes=config.max_body_bytes,
        timeout=config.request_timeout,
    )
    if api_key is not None:
        app.add_middleware(limits.BearerKey, key=api_key, open_paths=_OPEN_PATHS)
    if config.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(limits.SecurityHeaders)
    paths = {*_FILES, "/openapi.json", *app.openapi()["paths"]}
    app.add_middleware(Observer, metrics=service.metrics, paths=paths)
    return app


def _sender(file: pathlib.Path) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(file)

    return send
