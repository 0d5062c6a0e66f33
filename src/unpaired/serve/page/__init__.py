"""The one page of the playground, and of a model exported to a browser: the same files with two engines.

`index.html` and the folder `page` beside it: `style.css`, scripts, and `engine.js`, which asks the service or computes
in the browser.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

from markupsafe import Markup

from unpaired.report import chart
from unpaired.report.page import asset, environment

Engine = Literal["service", "browser"]
FOLDER = "page"
"""Folder of the page's files, beside the page."""
_SCRIPTS = ("page.js", "pixels.js", "past.js")
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


def _read(name: str) -> str:
    return (files(__name__) / "assets" / name).read_text(encoding="utf-8")
