"""Downloads under faults: a server on this machine cuts the connection, the process is killed, and the file is right.

    python benchmarks/download.py [--megabytes 200] [--every 5] [--kills 5]

Prints the time of a download without faults, of one whose connection is cut every few megabytes, and of one whose
process is killed (SIGKILL) some times, with the bytes that the server sent in all: how much was fetched twice.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from unpaired.core import download as room
from unpaired.core.download import WebFile, download

BLOCK = 1 << 16


class Answers(BaseHTTPRequestHandler):
    """Serves one file with ranges, and ends each connection after `cut` bytes."""

    content = b""
    cut = 0
    sent = 0

    def do_GET(self) -> None:
        """Serve the file from where it is asked for."""
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if first else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(self.content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        last = min(len(self.content), first + self.cut) if self.cut else len(self.content)
        for place in range(first, last, BLOCK):
            try:
                self.wfile.write(self.content[place : min(place + BLOCK, last)])
            except OSError:
                return
            type(self).sent += min(BLOCK, last - place)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def fetch(url: str, sha256: str, path: str) -> None:
    """Download in a process of its own."""
    room.PAUSES = (0.0,) * 4
    room.MOST_CONNECTIONS = 10_000
    download(WebFile(urls=(url,), sha256=sha256), Path(path))


def main() -> None:
    """Run the three cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--every", type=int, default=5, help="megabytes after which the connection is cut")
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    Answers.content = os.urandom(1 << 20) * given.megabytes
    sha256 = hashlib.sha256(Answers.content).hexdigest()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server, tempfile.TemporaryDirectory() as place:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/file"
        for name, cut, kills in (
            ("no faults", 0, 0),
            (f"cut every {given.every} MB", given.every << 20, 0),
            (f"killed {given.kills} times", given.every << 20, given.kills),
        ):
            Answers.cut, Answers.sent, begun, path = cut, 0, time.monotonic(), Path(place) / f"{cut}-{kills}"
            for kill in range(kills + 1):
                process = multiprocessing.get_context("spawn").Process(target=fetch, args=(url, sha256, str(path)))
                process.start()
                if kill < kills:  # in the middle of the next part of the file
                    part, wanted = (
                        path.with_name(path.name + room.PART),
                        (kill + 1) * len(Answers.content) // (kills + 2),
                    )
                    while process.is_alive() and (part.stat().st_size if part.exists() else 0) < wanted:
                        time.sleep(0.002)
                    if process.is_alive():
                        os.kill(process.pid or 0, signal.SIGKILL)
                process.join()
            right = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
            twice = Answers.sent / len(Answers.content) - 1
            seconds = time.monotonic() - begun
            print(f"{name}: {seconds:.1f} s, {'right' if right else 'WRONG'}, {100 * twice:.1f} % fetched twice")
        server.shutdown()


if __name__ == "__main__":
    main()
