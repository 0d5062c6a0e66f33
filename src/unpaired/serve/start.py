"""Start a service, and run it until it is stopped."""

from __future__ import annotations

import logging
import math
import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import AbstractContextManager

from unpaired.core.errors import needs_extra
from unpaired.core.terminal import say
from unpaired.serve.settings import ServeSettings


def serve(models: Sequence[str], settings: ServeSettings | None = None, *, open_page: bool = False) -> None:
    """Serve models until Ctrl-C or SIGTERM, then finish what was taken and return.

    `models` are runs, checkpoints or model folders, each also as NAME=MODEL. Addresses are printed when it listens;
    then every request is a line of JSON on stderr. `open_page` shows the playground in a browser. Raises `UserError`
    where the extra is not installed, a model is none, or the address cannot be taken.
    """
    settings = settings or ServeSettings()
    with needs_service("serving models"):
        import python_multipart as python_multipart

        from unpaired.serve.app import make_app
        from unpaired.serve.monitor import LogLines
        from unpaired.web.server import address_of, is_local, listen, run
    app = make_app(models, settings)
    listening = listen(settings.host, settings.port)
    address = address_of(listening, settings.host)
    say(f"Service: {address}/  (what it takes and answers: {address}/openapi.json)")
    if not is_local(settings.host):
        say("Reachable from other machines, and not encrypted: put a proxy with TLS before it (docs/serve.md).")
        if settings.keys is None:
            say("Whoever reaches it can use it: give API keys with --keys FILE, or listen on 127.0.0.1.")
    say("Stop with Ctrl-C; what has been taken is finished.")
    if open_page:
        show_page(f"{address}/")  # who comes before the first answer waits, and is served
    logging.getLogger().handlers[:] = [LogLines()]  # of every library
    run(
        app,
        listening,
        behind_proxy=settings.behind_proxy,
        patience_seconds=math.ceil(settings.timeout) + 5,
        lifespan=True,
    )


def needs_service(what: str) -> AbstractContextManager[None]:
    """Turn a missing library of the extra into one message while a block imports: `what` needs it."""
    return needs_extra("serve", what, "fastapi", "uvicorn", "starlette", "python_multipart", "prometheus_client")


def show_page(address: str) -> None:
    """Open an address in a browser with a window; where there is none, say it."""
    # A browser in the terminal would take the terminal from the service.
    windows = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if not (windows and webbrowser.open(address)):
        say(f"Open {address} in a browser.")
