"""Fixtures of the study's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.browser import Browse, Browser, find_browser
from study.studies import Server


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Start servers, which end with the test."""
    started: list[Server] = []

    def start(folder: Path) -> Server:
        started.append(Server(folder))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def browse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browse]:
    """Open real browsers, which end with the test."""
    program = find_browser()
    if program is None:
        pytest.skip("needs a browser on PATH: chromium or google-chrome")
    opened: list[Browser] = []

    def open_browser() -> Browser:
        opened.append(Browser(program, tmp_path_factory.mktemp("profile")))
        return opened[-1]

    yield open_browser
    for browser in opened:
        browser.close()
