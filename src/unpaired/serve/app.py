"""The service's web application: its addresses, and what they take and answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import real_path
from unpaired.core.interrupt import HANGUP
from unpaired.core.settings import option
from unpaired.serve.accept import MEDIA
from unpaired.serve.access import Access, read_keys
from unpaired.serve.monitor import Journal, Monitor
from unpaired.serve.page.routes import routes as page_routes
from unpaired.serve.registry import Registry
from unpaired.serve.service import Service, Wanted, explain
from unpaired.serve.settings import ServeSettings
from unpaired.web.headers import SecurityHeaders
from unpaired.web.refused import Refused, refuse

_REFUSALS = {
    400: "The body cannot be read.",
    401: "An API key is needed.",
    404: "There is no such model or file.",
    406: "No accepted format can hold the image.",
    408: "The request came too slowly.",
    413: "Too many bytes or pixels.",
    415: "The body is no image.",
    422: "The image or a parameter cannot be used.",
    429: "The queue is full; `Retry-After` says for how long.",
    503: "A model cannot be loaded, or memory is short; try again.",
    504: "It took too long.",
}
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": ["image"], "properties": {"image": {"type": "string", "format": "binary"}}}
_PATH = {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "application/octet-stream": _BINARY,
        "image/*": _BINARY,
        "application/json": {"schema": _PATH},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
}


def make_app(models: Sequence[str], settings: ServeSettings) -> ASGIApp:
    """Return the application that serves models, each NAME=MODEL or MODEL; raises `UserError` where it cannot."""
    monitor = Monitor()
    registry = Registry(models, settings, monitor)
    service = Service(registry, settings, monitor, _root(settings))
    keys = read_keys(Path(settings.keys)) if settings.keys is not None else []
    access = Access(keys, settings.host, settings.origins, behind_proxy=settings.behind_proxy)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _kept_fresh(registry, settings):
            yield
        registry.close()
        service.close()

    app = FastAPI(
        title="unpaired",
        version=__version__,
        summary="Image-to-image translation.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    for kind in (UserError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refuse)
    granted = [Depends(access.check)]
    if keys:
        granted += [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    _add_routes(app, service, settings, granted)
    folders = {name: model.path for name, model in registry.models.items()}
    app.router.routes.extend(page_routes(folders.get, access.check))
    paths = [route.path for route in app.routes if "{" not in route.path]  # type: ignore[attr-defined]
    shared = CORSMiddleware(
        app,
        allow_origins=settings.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", "x-api-key"],
        expose_headers=["retry-after", *(f"x-unpaired-{name}" for name in _HEADERS)],
    )
    return Journal(SecurityHeaders(shared if settings.origins else app), monitor, paths)


_HEADERS = ("model", "checkpoint", "direction", "milliseconds")


def _add_routes(app: FastAPI, service: Service, settings: ServeSettings, granted: list[Any]) -> None:
    registry = service.registry
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
        for status, text in _REFUSALS.items()
    }
    answers[200] = {"description": "The image.", "content": dict.fromkeys(MEDIA, _BINARY)}

    @app.post(
        "/translate",
        dependencies=granted,
        response_class=Response,
        responses=answers,
        openapi_extra={"requestBody": _BODY},
    )
    async def translate(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
        """Translate an image: a file of a form, the body itself, or `{"path": ...}` in the service's own storage."""
        return await service.answer(request, wanted)

    @app.get("/models", dependencies=granted)
    async def models() -> dict[str, Any]:
        """List the models, what they translate, and the service's limits."""
        return {
            "models": [model.describe() for model in registry.all],
            "formats": [*MEDIA],
            "limits": {
                "bytes": settings.max_bytes,
                "pixels": settings.max_pixels,
                "seconds": settings.timeout,
                "requests": settings.queue,
            },
        }

    @app.get("/metrics", dependencies=granted, response_class=Response)
    async def metrics() -> Response:
        """Show the service's metrics to Prometheus."""
        return Response(service.monitor.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the service lives."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> Response:
        """Say whether a request would be translated at once: models are loaded, and the queue is not full."""
        loaded = settings.lazy or all(model.ready for model in registry.all)
        status = "busy" if service.busy else "ready" if loaded else "loading"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)


def _root(settings: ServeSettings) -> Path | None:
    if settings.root is None:
        return None
    root = Path(settings.root)
    if not root.is_dir():
        raise UserError(f"{option('root', settings.root)}: there is no such folder. Give a folder of images.")
    return real_path(root)


@contextlib.asynccontextmanager
async def _kept_fresh(registry: Registry, settings: ServeSettings) -> AsyncIterator[None]:
    """Load the models, and look for newer checkpoints from time to time and on SIGHUP, while the block runs."""
    asked = asyncio.Event()

    async def look() -> None:
        if not settings.lazy:
            await asyncio.gather(*(model.load_all() for model in registry.all))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.reload or None):
                    await asked.wait()
            asked.clear()
            await asyncio.gather(*(model.refresh() for model in registry.all))

    if HANGUP is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(HANGUP, asked.set)
    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if HANGUP is not None and threading.current_thread() is threading.main_thread():
            signal.signal(HANGUP, signal.SIG_DFL)


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer every kind of error in one form, and remember its word for the log."""
    if isinstance(error, RequestValidationError):
        error = Refused(422, "parameter", explain(error.errors()))
    elif isinstance(error, HTTPException):
        error = Refused(error.status_code, "http", str(error.detail))
    request.state.journal["error"] = error.code if isinstance(error, Refused) else "server"
    response = refuse(request, error)
    if response.status_code == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response
