"""Time a model exported for browsers in headless Chromium: python benchmarks/browser.py FOLDER PICTURE [--images 10]

FOLDER is what `unpaired export --format web` wrote. Printed are the first translation, which loads the runtime and the
network, and the median of the others, as the page itself measures them: reading pixels, resizing and the network.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import mimetypes
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.pop(0)  # this folder, which has a serve.py too
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from serve.pages import IDLE, give
from study.browser import Browser, find_browser

MEASURED = "Number(document.querySelector('#status').textContent.match(/^[0-9.]+/)[0])"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing; `isolated` lets the runtime use threads."""

    isolated = False

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Add what cross-origin isolation takes."""
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def cpu_seconds(browser: Browser) -> float:
    """Return the CPU time of all processes of a browser so far (Linux)."""
    profile = next(word for word in browser._process.args if word.startswith("--user-data-dir="))
    ticks = 0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if profile.encode() in (place / "cmdline").read_bytes():
                ticks += sum(map(int, (place / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Serve, open, translate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--isolated", action="store_true", help="cross-origin isolated: several threads")
    given = parser.parse_args()
    program = find_browser()
    assert program, "needs chromium or google-chrome on PATH"
    Quiet.isolated = given.isolated
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=given.folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, Path(profile))
        try:
            browser.open(f"http://127.0.0.1:{server.server_port}/")
            browser.until("document.documentElement.dataset.ready")
            seconds, cpu = [], []
            for number in range(given.images + 1):
                start, used = time.monotonic(), cpu_seconds(browser)
                kind = mimetypes.guess_type(given.picture)[0] or "image/png"
                give(browser, given.picture.read_bytes(), f"{number}-{given.picture.name}", kind)
                link = f"document.querySelector('#download').download.startsWith('{number}-')"
                browser.until(f"{IDLE} && {link}", seconds=300)
                if number == 0:
                    print(f"first picture, everything loaded: {time.monotonic() - start:.1f} s")
                seconds.append(browser.run(MEASURED))
                cpu.append(cpu_seconds(browser) - used)
            wall, used = (1000 * statistics.median(each[1:]) for each in (seconds, cpu))
            print(f"each further picture: {wall:.0f} ms, {used:.0f} ms of CPU in all, median of {given.images}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()
