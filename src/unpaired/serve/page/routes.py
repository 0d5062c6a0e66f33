"""The playground's addresses: the page at `/`, and its files below `/page/`."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from unpaired.serve.page import FOLDER, assets, html, policy


def routes(samples: Callable[[str], Path | None]) -> list[Route]:
    """Return the page's routes; `samples` gives the folder of a model by its name."""
    page, content = html("service"), assets("service")
    headers = {"content-security-policy": policy("service"), "permissions-policy": "camera=(self)"}

    async def index(request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in content:
            raise HTTPException(404)
        return Response(content[name], media_type=mimetypes.guess_type(name)[0])

    return [Route("/", index), Route(f"/{FOLDER}/{{name}}", file)]
