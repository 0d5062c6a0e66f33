"""Watching runs: what is shown follows the files, and nothing is written to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from report.examples import write_run
from study.browser import Browse
from unpaired.core.errors import UserError
from unpaired.report.run_log import METRICS
from unpaired.serve.watch import Watched
from unpaired.serve.watch_app import make_app


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of a folder, one of them deeper; the second was written later."""
    root = tmp_path / "runs"
    for place, (name, hour) in enumerate({"first": 1, "plan/second <b>": 2}.items()):
        run = write_run(root / name, records=6, grids=2)
        for file in (run / METRICS, run / "config.json"):
            os.utime(file, (1_700_000_000 + 3600 * hour, 1_700_000_000 + 3600 * hour + place))
    return root


def client(folder: Path) -> Iterator[TestClient]:
    watched = Watched(folder)
    with TestClient(make_app(watched), base_url="http://127.0.0.1") as found:
        yield found
    watched.close()


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_an_index_links_to_every_run_the_latest_first(runs: Path) -> None:
    before = files_of(runs)
    for asked in client(runs):
        index = asked.get("/").text
        links = re.findall(r'href="(run/[^"]*)"', index)
        assert links == ["run/plan/second%20%3Cb%3E/", "run/first/"]
        assert index.count('src="data:image/') == 2
        for link in links:
            page = asked.get(f"/{link}")
            assert page.status_code == 200
            assert "frame-ancestors" in page.headers["content-security-policy"]
            home = re.search(r'<a href="((?:\.\./)+)">All runs', page.text)
            assert home is not None
            assert str(page.url.join(home[1])) == "http://127.0.0.1/"
        assert asked.get("/run/nowhere/").status_code == 404
        assert asked.get("/run/..%2f..%2fetc/").status_code == 404
        for host in ("rebound.example", "localhost.example:80", ""):
            assert asked.get("/", headers={"host": host}).status_code == 403
    assert files_of(runs) == before, "the runs' folders are read alone"


def test_a_page_is_drawn_again_when_its_files_have_changed_and_not_before(runs: Path) -> None:
    run = runs / "first"
    for asked in client(run):
        first = asked.get("/")
        assert "All runs" not in first.text
        assert asked.get("/", headers={"if-none-match": first.headers["etag"]}).status_code == 304
        with (run / METRICS).open("a") as log:
            log.write(json.dumps({"event": "warning", "images": 5, "text": "something new"}) + "\n")
        second = asked.get("/", headers={"if-none-match": first.headers["etag"]})
        assert second.status_code == 200
        assert "something new" in second.text


def test_a_folder_without_runs_shows_those_that_come(tmp_path: Path) -> None:
    for asked in client(tmp_path):
        assert "No run is here yet" in asked.get("/").text
        write_run(tmp_path / "new", records=3, grids=1)
        assert "run/new/" in asked.get("/").text
    with pytest.raises(UserError, match="no folder"):
        Watched(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_command_serves_pages_that_fit_and_open_one_another(runs: Path, browse: Browse) -> None:
    command = [sys.executable, "-m", "unpaired", "watch", str(runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+/", server.stdout.readline())
            assert address is not None
            browser = browse()
            for width in (1280, 390):
                browser.size(width, 800, phone=width < 500)
                browser.open(address[0])
                browser.until("document.documentElement.dataset.ready")
                assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
                assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            browser.run("document.querySelector('a.run').click()")
            browser.until("document.documentElement.dataset.snapshots === '2'")
            assert not browser.problems
        finally:
            server.terminate()
    assert server.returncode == 0
