"""Connections of a server: bounded in number for each address, and in time for a request and its answer.

uvicorn bounds the number of all connections alone, and waits for the rest of a request for ever: somebody who opens a
thousand connections and sends half a request on each would keep everybody else out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from http import HTTPStatus
from typing import ClassVar, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from unpaired.web.headers import HEADERS

MOST_CONNECTIONS = 800
"""At once; a process may usually open 1,024 files."""
MOST_OF_ADDRESS = 200
"""At once, of one address: browsers open up to six, and a class may share one address."""
REQUEST_SECONDS = 10.0
"""For a whole request, from the connection or from its first byte; once more while its body keeps coming."""
ANSWER_SECONDS = 30.0
"""After which a client must have taken `LEAST_BYTES` more of its answer, or all of it."""
LEAST_BYTES = 32_768
"""Of an answer, and in `REQUEST_SECONDS` of a long request, that must have passed."""
PROXIES = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def counted_as(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the 64 bits that a provider gives one customer."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return host


@final
class Connection(H11Protocol):
    """One connection; uvicorn makes it."""

    _of_address: ClassVar[Counter[str]] = Counter()
    _address = ""
    _answering = False
    """Whether the request is whole."""
    _left = 0
    """Bytes of the answer that were not yet sent when the timer was set."""
    _received = 0
    """Bytes of the request since the timer was set."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; refuse it where there are too many."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        # A proxy holds the connections of everybody, and bounds them itself.
        self._address = "" if self.config.proxy_headers and host in PROXIES else counted_as(host)
        self._of_address[self._address] += 1
        if len(self.connections) > MOST_CONNECTIONS or (
            self._address and self._of_address[self._address] > MOST_OF_ADDRESS
        ):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections. Please try again in a moment.")
        else:
            self._wait(REQUEST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._of_address[self._address] -= 1
        if not self._of_address[self._address]:
            del self._of_address[self._address]
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Give a request that has begun its time, and the answer to a whole one."""
        super().data_received(data)
        self._received += len(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._answering, self._left = True, 1 << 62
            self._wait(ANSWER_SECONDS)
        elif self._answering or self._timer is None:
            self._answering = False
            self._wait(REQUEST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, with the headers of every other answer."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
        lines = [f"{name}: {value}" for name, value in {**headers, "content-length": len(text)}.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} {status.phrase}", *lines])
        self.transport.write(f"{head}\r\n\r\n{text}".encode())
        self.transport.close()
        self.connections.discard(self)  # many are refused before the first of them is closed
        self._left = 1 << 62
        self._wait(REQUEST_SECONDS)  # should the client not take it

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._received = 0
        self._timer = self.loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        """Close the connection unless all is well: request or answer are on their way, or done."""
        self._timer = None
        left = self.transport.get_write_buffer_size()
        coming = not self._answering and self.conn.their_state is h11.SEND_BODY and not self.cycle.response_complete
        if coming and self._received >= LEAST_BYTES:
            self._wait(REQUEST_SECONDS)
            return
        if self._answering and self.cycle.response_complete and not left:
            return  # idle: uvicorn closes it after a while
        if self._answering and (not self.cycle.response_started or left <= self._left - LEAST_BYTES):
            self._left = left
            self._wait(ANSWER_SECONDS)
        else:
            self.transport.abort()
