"""Run the study's server until it is stopped."""

from __future__ import annotations

import secrets
from pathlib import Path

from unpaired.core.errors import needs_extra
from unpaired.core.terminal import say


def serve_study(folder: Path, host: str = "127.0.0.1", port: int = 8000, *, behind_proxy: bool = False) -> None:
    """Serve the study until interrupted; `port` 0 takes a free one. The addresses are printed when it is ready.

    Every acknowledged answer is on the disk, so it may be killed and started again at any moment. Raises `UserError`
    where the extra is not installed, the study is not whole, or the address cannot be taken.
    """
    with needs_extra("study", "serving a study", "uvicorn", "starlette"):
        from unpaired.study.server import make_app
        from unpaired.web.server import address_of, is_local, listen, run
    token = secrets.token_urlsafe(24)
    app = make_app(folder, token)
    listening = listen(host, port)
    address = address_of(listening, host)
    say(f"Study:  {address}/  (personal links: {address}/?participant=NUMBER)")
    say(f"Report: {address}/report?token={token}")
    if not is_local(host):
        say("Reachable from other machines, and not encrypted: put a proxy with TLS before it (docs/study.md).")
    say("Stop with Ctrl-C; every acknowledged answer is on the disk.")
    run(app, listening, behind_proxy=behind_proxy)
