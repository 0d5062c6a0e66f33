"""The one page of the playground, and of a model exported to a browser: the same files with two engines.

`index.html` and the folder `page` beside it: `style.css`, scripts, and `engine.js`, which asks the service or computes
in the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from unpaired.core.errors import UserError
from unpaired.core.files import read_regular
from unpaired.report import chart
from unpaired.report.image_grid import INPUTS, MOST_INPUTS
from unpaired.report.page import asset, environment

if TYPE_CHECKING:
    from starlette.routing import Route

Engine = Literal["service", "browser"]
FOLDER = "page"
"""Folder of the page's files, beside the page."""
_SCRIPTS = ("page.js", "pixels.js", "past.js")
_MEDIA = {".css": "text/css", ".js": "text/javascript"}
_LARGEST_INPUT = 1 << 24
"""Bytes of a sample picture."""
_POLICY = (
    "default-src 'none'; script-src 'self'{wasm}; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)


def policy(engine: Engine) -> str:
    """Return the content security policy: no inline script, no other host; WebAssembly where it computes itself."""
    return _POLICY.format(wasm=" 'wasm-unsafe-eval'" if engine == "browser" else "")


def html(engine: Engine, title: str = "Translate a picture") -> str:
    """Return the page."""
    template = environment(__name__).get_template("playground.html")
    return template.render(title=title, policy=Markup(policy(engine)), generator="unpaired")


def assets(engine: Engine) -> dict[str, str]:
    """Return the files of the folder `page` by their names."""
    found = {"style.css": chart.stylesheet() + asset("page.css") + _read("playground.css")}
    found |= {name: _read(name) for name in _SCRIPTS}
    found["engine.js"] = _read(f"{engine}.js")
    if engine == "browser":
        found["worker.js"] = _read("worker.js")
    return found


def routes(folder_of: Callable[[str], Path | None]) -> list[Route]:
    """Return the playground's routes for a service: `/`, and what it loads from `/page/`.

    `folder_of` gives the folder of a model by its name, None for what is no model's: its held-out images are offered
    as samples.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    headers = {
        "content-security-policy": f"{policy('service')}; frame-ancestors 'none'",
        "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    }
    page, kept = html("service"), assets("service")

    async def index(request: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in kept:
            return PlainTextResponse("There is no such file.", 404)
        return Response(kept[name], media_type=f"{_MEDIA[Path(name).suffix]}; charset=utf-8")

    async def names(request: Request) -> Response:
        folder = folder_of(request.path_params["model"])
        return JSONResponse(await run_in_threadpool(_inputs, folder) if folder else [], 200 if folder else 404)

    async def sample(request: Request) -> Response:
        folder, name = folder_of(request.path_params["model"]), request.path_params["name"]
        if folder is None or name not in await run_in_threadpool(_inputs, folder):
            return PlainTextResponse("There is no such picture.", 404)
        try:
            read = lambda: read_regular(folder / INPUTS / name, at_most=_LARGEST_INPUT, inside=folder)  # noqa: E731
            return Response(await run_in_threadpool(read), media_type="image/png")
        except (OSError, UserError):
            return PlainTextResponse("This picture cannot be read.", 404)

    return [
        Route("/", index, methods=["GET"]),
        Route(f"/{FOLDER}/samples/{{model}}", names, methods=["GET"]),
        Route(f"/{FOLDER}/samples/{{model}}/{{name}}", sample, methods=["GET"]),
        Route(f"/{FOLDER}/{{name}}", file, methods=["GET"]),
    ]


def _inputs(folder: Path) -> list[str]:
    """Return the names of a model's sample pictures: `a-0.png`, ..."""
    return sorted(path.name for path in (folder / INPUTS).glob("[ab]-[0-9].png"))[: 2 * MOST_INPUTS]


def _read(name: str) -> str:
    return (files(__name__) / "assets" / name).read_text(encoding="utf-8")
