"""Listen, and run a web application until it is stopped; nobody can take all of its connections."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.web.connection import Connection

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::[0-9]{1,5})?", re.ASCII)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; `port` 0 takes a free one. Raises `UserError` where that cannot be done."""
    if not 0 <= port <= 65535:  # the system would take the remainder: another port than was asked for
        raise UserError(f"{option('port', port)}: expected 1 to 65535, or 0 for a free one.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        # Who comes between the printed address and the first answer waits in the backlog, and is served.
        return socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not the name of a host"
        raise UserError(
            f"cannot listen on {option('host', host)} {option('port', port)}: {reason}. Choose another port "
            "(0 takes a free one), or an address of this machine (127.0.0.1: this machine only, 0.0.0.0: all networks)."
        ) from error


def address_of(listening: socket.socket, host: str) -> str:
    """Return where a browser on this machine finds what listens there: `http://127.0.0.1:8000`."""
    number = listening.getsockname()[1]
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


def is_local(host: str) -> bool:
    """Say whether a host is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_this_machine(authority: str) -> bool:
    """Say whether `host:port`, of a header or an origin, is this machine alone.

    A page of another host reaches a server of this machine through its visitor's browser under a name of its own that
    it lets point here.
    """
    found = _AUTHORITY.fullmatch(authority)
    return found is not None and is_local(found[1].strip("[]"))


def run(
    app: ASGIApp,
    listening: socket.socket,
    *,
    behind_proxy: bool = False,
    patience_seconds: int = 5,
    lifespan: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM, then return: no new connections, and what has begun may end.

    For that there are `patience_seconds`; a second Ctrl-C waits no longer. `behind_proxy` believes a proxy on this
    machine about who is asking; `lifespan` tells the application when it starts and ends.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        log_config=None,  # warnings go where the application has them go, else to stderr
        access_log=False,  # addresses of people are nobody's business
        server_header=False,
        proxy_headers=behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_keep_alive=20,
        timeout_graceful_shutdown=patience_seconds,
        lifespan="on" if lifespan else "off",
        ws="none",
    )
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # those that are refused take one for a moment too
    with listening, _stopped_by_signals():
        uvicorn.Server(config).run(sockets=[listening])


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a signal that uvicorn has obeyed, and sends once more at its end, do nothing further."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python allows no handlers
        yield
        return

    def obeyed(number: int, frame: FrameType | None) -> None:
        """Do nothing."""

    before = {number: signal.signal(number, obeyed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
