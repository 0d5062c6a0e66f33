"""The web application of `unpaired watch`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from unpaired.serve.watch import Watched
from unpaired.web.headers import SecurityHeaders
from unpaired.web.refused import refuse
from unpaired.web.server import names_this_machine


def make_app(watched: Watched, *, private: bool = True) -> ASGIApp:
    """Return the application: the run's page at `/`, or all runs there and each at `/run/NAME/`.

    `private` answers only who calls it by a name of this machine.
    """

    async def answer(request: Request, draw: Callable[[], str | None]) -> Response:
        if private and not names_this_machine(request.headers.get("host", "")):
            return PlainTextResponse("These pages are for this machine alone: call it localhost.", 403)
        content = await run_in_threadpool(draw)
        if content is None:
            return PlainTextResponse("There is no such run.", 404)
        tag = f'"{hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]}"'
        # Pages say themselves what may run in them; only a header can say who may frame them.
        headers = {"content-security-policy": "frame-ancestors 'none'", "cache-control": "no-cache", "etag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content.encode("utf-8", "replace"), media_type="text/html; charset=utf-8", headers=headers)

    async def start(request: Request) -> Response:
        return await answer(request, watched.page if watched.is_run else watched.index)

    async def run(request: Request) -> Response:
        return await answer(request, lambda: watched.page(request.path_params["name"]))

    routes = [Route("/", start, methods=["GET"]), Route("/run/{name:path}/", run, methods=["GET"])]
    return SecurityHeaders(Starlette(routes=routes, exception_handlers={Exception: refuse}))
