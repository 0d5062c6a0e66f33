"""The playground's addresses: the page at `/`, its files below `/page/`, and sample pictures of the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from unpaired.core.errors import UserError
from unpaired.core.files import read_regular
from unpaired.report.image_grid import INPUTS, MOST_INPUTS
from unpaired.serve.page import FOLDER, assets, html, policy

_MEDIA = {".css": "text/css", ".js": "text/javascript"}
_LARGEST = 1 << 24
"""Bytes of a sample picture."""
_HEADERS = {
    "content-security-policy": f"{policy('service')}; frame-ancestors 'none'",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}


def routes(samples: Callable[[str], Path | None], check: Callable[[Request], None]) -> list[Route]:
    """Return the page's routes.

    `samples` gives the folder of a model by its name: its held-out images are offered to whom `check` does not refuse
    by an exception. The page itself is for everybody: it asks for the key.
    """
    page, content = html("service"), assets("service")

    async def index(request: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in content:
            raise HTTPException(404)
        return Response(content[name], media_type=_MEDIA[Path(name).suffix])

    async def names(request: Request) -> Response:
        check(request)
        folder = samples(request.path_params["model"])
        return JSONResponse(await run_in_threadpool(_names, folder) if folder else [])

    async def sample(request: Request) -> Response:
        check(request)
        folder, name = samples(request.path_params["model"]), request.path_params["name"]
        if folder is None or name not in await run_in_threadpool(_names, folder):
            raise HTTPException(404)
        return Response(await run_in_threadpool(_content, folder, name), media_type="image/png")

    return [
        Route("/", index, methods=["GET"]),
        Route(f"/{FOLDER}/samples/{{model}}", names, methods=["GET"]),
        Route(f"/{FOLDER}/samples/{{model}}/{{name}}", sample, methods=["GET"]),
        Route(f"/{FOLDER}/{{name}}", file, methods=["GET"]),
    ]


def _names(folder: Path) -> list[str]:
    """Return the names of a model's sample pictures: `a-0.png`, ..."""
    return sorted(path.name for path in (folder / INPUTS).glob("[ab]-[0-9].png"))[: 2 * MOST_INPUTS]


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_regular(folder / INPUTS / name, at_most=_LARGEST, inside=folder / INPUTS)
    except (OSError, UserError) as error:
        raise HTTPException(404) from error
