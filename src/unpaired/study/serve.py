"""Run the study's server until it is stopped; nobody can take all of its connections."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.terminal import say


def serve_study(folder: Path, host: str = "127.0.0.1", port: int = 8000, *, behind_proxy: bool = False) -> None:
    """Serve the study until interrupted; `port` 0 takes a free one. The addresses are printed when it is ready.

    Every acknowledged answer is on the disk, so it may be killed and started again at any moment. Raises `UserError`
    where the extra is not installed, the study is not whole, or the address cannot be taken.
    """
    try:
        import uvicorn

        from unpaired.study.connection import Connection
        from unpaired.study.server import make_app
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "starlette"):
            raise
        raise UserError(
            f"serving a study needs {error.name}, which is not installed. Install the extra: "
            "pip install 'unpaired[study]' (in a checkout: pip install '.[study]')."
        ) from error
    token = secrets.token_urlsafe(24)
    app = make_app(folder, token)
    listening = _listen(host, port)
    number = listening.getsockname()[1]
    address = f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"
    say(f"Study:  {address}/  (personal links: {address}/?participant=NUMBER)")
    say(f"Report: {address}/report?token={token}")
    if not _is_local(host):
        say("Reachable from other machines, and not encrypted: put a proxy with TLS before it (docs/study.md).")
    say("Stop with Ctrl-C; every acknowledged answer is on the disk.")
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        access_log=False,  # addresses of participants are nobody's business
        server_header=False,
        proxy_headers=behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_keep_alive=20,
        timeout_graceful_shutdown=5,
        lifespan="off",
        ws="none",
    )
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # those that are refused take one for a moment too
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:  # the system would take the remainder: another port than was asked for
        raise UserError(f"--port {port}: expected 1 to 65535, or 0 for a free one.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        # Who comes between the printed address and the first answer waits in the backlog, and is served.
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"cannot listen on --host {host} --port {port}: {error.strerror}. Choose another port "
            "(0 takes a free one), or an address of this machine (127.0.0.1: this machine only, 0.0.0.0: all networks)."
        ) from error


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
