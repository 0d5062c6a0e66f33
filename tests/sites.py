"""A web server in a thread, on 127.0.0.1, that behaves as badly as a test asks for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


@dataclass
class Page:
    """A file of the site, and how it is served."""

    content: bytes = b""
    etag: str = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes of its answers, one after the other, after which the connection ends; then it is whole."""
    statuses: list[int] = field(default_factory=list)
    """Of its first answers, in place of the file."""
    length: bool = True
    """Whether the length is told."""
    location: str = ""
    """Redirect to this address."""
    shift: int = 0
    """A range begins so many bytes further than was asked for."""


class Site:
    """What is served, and what was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, Page] = {}
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def add(self, path: str, content: bytes = b"", **how: Any) -> str:
        """Serve a file, and return its address."""
        self.pages[path] = Page(content, **how)
        return self.address + path

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of the requests for a path, in lower case."""
        return [headers for _, asked, headers in self.requests if asked == path]


class Handler(BaseHTTPRequestHandler):
    """Answers as the page of the path says, or as the test's own function does."""

    protocol_version = "HTTP/1.1"
    site: Site

    def handle_any(self) -> None:
        """Answer a request of any method."""
        path = self.path.partition("?")[0]
        self.site.requests.append(
            (self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        )
        self.close_connection = True
        page = self.site.pages.get(path)
        with contextlib.suppress(ConnectionError):
            for start, answer in self.site.answers.items():
                if path.startswith(start):
                    answer(self)
                    return
            if page is None:
                self.send(404)
            elif page.location:
                self.send(302, headers={"Location": page.location})
            elif page.statuses:
                self.send(page.statuses.pop(0))
            else:
                self._serve(page)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def _serve(self, page: Page) -> None:
        first, wanted, unchanged = 0, self.headers.get("Range", ""), self.headers.get("If-Range", page.etag)
        if page.ranges and wanted and unchanged == page.etag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) + page.shift
            if first >= len(page.content):
                self.send(416)
                return
        body = page.content[first:]
        self.send_response(206 if first else 200)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.length:
            self.send_header("Content-Length", str(len(body)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(page.content) - 1}/{len(page.content)}")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: page.cuts.pop(0)] if page.cuts else body)

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """Return what was sent with the request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """Serve a site while the block runs."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that goes away is none."""

    class Own(Handler):
        pass

    with Server(("127.0.0.1", 0), Own) as server:
        Own.site = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Own.site
        finally:
            server.shutdown()
            thread.join()
