"""Shards in remote storage: an S3 server, and web servers that break connections, know no ranges, or change files."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from buckets import s3_on_loopback
from runs import TINY, write_images
from shards import in_order, write_parquet, write_tars
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.streams import remote
from unpaired.data.streams.remote import shard_cache, stored_file
from unpaired.data.streams.stream import Stream
from unpaired.data.training import open_training_data

DATA = {name.removeprefix("data."): value for name, value in TINY.items() if name.startswith("data.")}


class Site(ThreadingHTTPServer):
    """A web server on loopback for the files of a folder; tests change how it behaves."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges, self.breaks_every, self.forbidden = folder, True, 0, False
        self.tag, self.requests, self.stalls, self.ended = "1", list[str](), False, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that clients break are expected


class _Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        site, path = self.server, self.server.folder / self.path.lstrip("/")
        if site.forbidden or not path.is_file():
            self.send_response(403 if site.forbidden else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if site.ranges else None
        start, end = (
            (int(asked[1]), min(int(asked[2] or len(content)) + 1, len(content))) if asked else (0, len(content))
        )
        if body:
            site.requests.append(f"{start}-{end}")
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{site.tag}"')
        if site.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if not body:
            return
        breaks = site.breaks_every and len(site.requests) % site.breaks_every == 0
        self.wfile.write(content[start : (start + end) // 2 if breaks else end])
        if breaks and site.stalls:
            site.ended.wait()
        if breaks:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "www").mkdir()
    with Site(tmp_path / "www") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path, {"a": 6, "b": 5})


def contents(stream: Stream) -> list[bytes]:
    return [image.load().content for image in stream.images]


def test_a_server_that_breaks_every_third_connection_delivers_the_same(
    site: Site, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tars(images / "a", site.folder, 2)
    monkeypatch.setattr(remote, "BLOCK", 4000)
    monkeypatch.setattr(remote, "_AT_ONCE", 2)
    site.breaks_every = 3
    stream = Stream(f"{site.url}/part-{{000..001}}.tar")
    assert contents(stream) == [path.read_bytes() for path in in_order(images / "a")]
    assert "4000-8000" in site.requests
    asked = len(site.requests)
    blocks = sum(-(-path.stat().st_size // 4000) for path in site.folder.iterdir())
    assert asked == blocks + asked // 3, "only what was cut short is asked for again"
    assert contents(Stream(f"{site.url}/part-{{000..001}}.tar")) == contents(stream)
    assert len(site.requests) == asked, "what is in the cache is not fetched again"


def test_a_server_that_stalls_is_asked_again(site: Site, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(images / "a", site.folder, 1)
    monkeypatch.setattr(remote, "STALL_SECONDS", 0.3)
    site.breaks_every, site.stalls = 2, True
    wanted = [path.read_bytes() for path in in_order(images / "a")]
    for _ in range(2):  # one of two requests stalls
        assert contents(Stream(f"{site.url}/part-000.tar")) == wanted
        for kept in shard_cache().path("x").parent.glob("*.shard"):
            kept.unlink()


def test_a_server_without_ranges(site: Site, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tars(images / "a", site.folder, 1)
    monkeypatch.setattr(remote, "BLOCK", 4000)
    site.ranges = False
    assert contents(Stream(f"{site.url}/part-000.tar")) == [path.read_bytes() for path in in_order(images / "a")]


def test_a_table_is_read_by_row_groups(site: Site, images: Path) -> None:
    write_parquet(images / "a", site.folder / "x.parquet", rows=2)
    site.breaks_every = 4
    stream = Stream(f"{site.url}/x.parquet")
    assert stream.images[5].load().content == in_order(images / "a")[5].read_bytes()
    assert len(list(shard_cache().path("x").parent.glob("*.shard"))) == 1, "only its row group was unpacked"


def test_a_file_that_changes_is_told_and_another_one_is_fetched_anew(site: Site, images: Path) -> None:
    write_tars(images / "a", site.folder, 1)
    stream = Stream(f"{site.url}/part-000.tar")
    before = contents(stream)
    for kept in shard_cache().path("x").parent.glob("*.shard"):
        kept.unlink()
    write_tars(images / "b", site.folder, 1)
    site.tag = "2"
    with pytest.raises(UserError, match="has changed since it was listed"):
        contents(stream)
    assert contents(Stream(f"{site.url}/part-000.tar")) != before


def test_what_is_missing_or_forbidden_or_always_broken_is_told(site: Site, images: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.tar.* cannot be read: there is no such file"):
        _ = Stream(f"{site.url}/nothing.tar").images
    write_tars(images / "a", site.folder, 1)
    file = stored_file(f"{site.url}/part-000.tar")
    site.breaks_every = 1
    with pytest.raises(UserError, match=f"{remote.ATTEMPTS} times"):
        file.open()
    assert not list(shard_cache().path("x").parent.glob("*.shard")), "nothing half-fetched is kept"
    site.forbidden = True
    with pytest.raises(UserError, match="part-000"):
        _ = Stream(f"{site.url}/part-000.tar").images


def test_the_cache_is_bounded_and_several_threads_share_it(site: Site, images: Path) -> None:
    write_tars(images / "a", site.folder, 6)
    size = max(path.stat().st_size for path in site.folder.iterdir())
    stream = Stream(f"{site.url}/part-{{000..005}}.tar", cache_gib=2.5 * size / 2**30)
    wanted = [path.read_bytes() for path in in_order(images / "a")]
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(contents(stream))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4
    assert contents(stream) == wanted
    assert len(list(shard_cache().path("x").parent.glob("*.shard"))) <= 2


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_on_loopback() as fs:
        fs.mkdir("bucket")
        yield fs


def test_a_bucket_gives_what_folders_give(bucket: Any, images: Path, tmp_path: Path) -> None:
    write_tars(images / "a", tmp_path / "tars", 2, name="h")
    for path in (tmp_path / "tars").iterdir():
        bucket.put_file(str(path), f"bucket/horses/{path.name}")
    for path in in_order(images / "b"):
        bucket.put_file(str(path), f"bucket/zebras/{path.name}")
    places = ("s3://bucket/horses/*.tar", "s3://bucket/zebras/"), (str(images / "a"), str(images / "b"))
    remote_data, local = (open_training_data(DataConfig(a=a, b=b, **DATA)) for a, b in places)
    assert remote_data.contents == local.contents
    for one, other in ((remote_data.a, local.a), (remote_data.b, local.b)):
        assert len(one) == len(other)
        assert all((one[k] == other[k]).all() for k in range(len(one)))


def test_what_a_person_is_told_of_a_bucket(bucket: Any, images: Path, tmp_path: Path) -> None:
    write_tars(images / "a", tmp_path / "tars", 2, name="t")
    for path in (tmp_path / "tars").iterdir():
        bucket.put_file(str(path), f"bucket/told/{path.name}")
    config = DataConfig(a="s3://bucket/told/t-{000..001}.tar", b=str(images / "b"), shard_cache=1e-6, **DATA)
    notices = open_training_data(config).notices
    assert any("A: 6 images in 2 shards" in text and "without data.window" in text for text in notices)
    with pytest.raises(UserError, match="no file fits"):
        _ = Stream("s3://bucket/told/u-*.tar").images
    with pytest.raises(UserError, match=r"nowhere.*cannot be read"):
        _ = Stream("s3://nowhere/told/t.tar").images
