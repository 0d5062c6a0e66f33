"""Downloads from servers that cut connections, ignore ranges, lie, redirect in circles or say nothing."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sites import Handler, Page, Site, serving
from unpaired.core import download as room
from unpaired.core.download import WebFile, check_file, download, local_path
from unpaired.core.errors import UserError

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = "0" * 64


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PAUSES", (0.0,) * 4)
    monkeypatch.setattr(room, "BLOCK", 1000)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def _known(*urls: str, **more: object) -> WebFile:
    return WebFile(urls=urls, size=len(CONTENT), sha256=SHA256, **more)  # type: ignore[arg-type]


def _there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file.zip.lock"}


def test_a_file_is_there_whole_with_its_checksum(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = download(_known(site.add("/a", CONTENT)), tmp_path / "x" / "file.zip", progress=lambda *p: seen.append(p))
    assert found.path.read_bytes() == CONTENT
    assert (found.sha256, found.size, found.url) == (SHA256, len(CONTENT), site.address + "/a")
    assert _there(tmp_path / "x") == {"file.zip"}
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", CONTENT, cuts=[5000, 20000, 0])
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT
    ranges = [headers.get("range") for headers in site.asked("/a")]
    assert ranges == [None, "bytes=5000-", "bytes=25000-", "bytes=25000-"]
    assert {headers.get("if-range") for headers in site.asked("/a")[1:]} == {'"one"'}


def test_without_ranges_it_starts_again(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", CONTENT, cuts=[5000], ranges=False)
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", b"x" * 9000, cuts=[5000], etag='"old"')
    with pytest.raises(UserError, match="404"):
        _cut_once(site, url, tmp_path)
    site.add("/a", CONTENT, etag='"new"')
    found = download(WebFile(urls=(url,)), tmp_path / "file.zip")
    assert found.path.read_bytes() == CONTENT
    assert site.asked("/a")[-1]["if-range"] == '"old"'


def _cut_once(site: Site, url: str, folder: Path) -> None:
    """Leave a part: the connection is cut, and then the page is gone."""
    page = site.pages["/a"]

    class Gone(Page):
        pass

    def answer(handler: Handler) -> None:
        if len(site.asked("/a")) == 1:
            handler._serve(page)
        else:
            handler.send(404)

    site.answers["/a"] = answer
    try:
        download(WebFile(urls=(url,)), folder / "file.zip")
    finally:
        del site.answers["/a"]
        assert "file.zip.part" in _there(folder)


def test_without_a_validator_or_a_checksum_nothing_is_joined(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", CONTENT, cuts=[5000], etag="")
    assert download(WebFile(urls=(url,)), tmp_path / "file.zip").path.read_bytes() == CONTENT
    assert not any("range" in headers for headers in site.asked("/a"))


def test_a_part_of_something_else_is_dropped_by_the_checksum(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"other" * 100)
    assert download(_known(site.add("/a", CONTENT)), tmp_path / "file.zip").path.read_bytes() == CONTENT
    assert [headers.get("range") for headers in site.asked("/a")] == ["bytes=500-", None]


def test_a_whole_part_is_finished(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert download(_known(site.add("/a", CONTENT)), tmp_path / "file.zip").path.read_bytes() == CONTENT
    assert site.asked("/a")[0]["range"] == f"bytes={len(CONTENT) - 1}-"


def test_a_server_that_sends_another_part_is_not_believed(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", CONTENT, cuts=[5000], shift=7)
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"sha256": WRONG}, f"its SHA-256 is {SHA256}, expected {WRONG}"),
        ({"md5": "0" * 32}, "its MD5 is"),
        ({"size": 5}, "102,400 bytes, expected 5"),
        ({"size": 200_000}, "102,400 bytes, expected 200,000"),
    ],
)
def test_what_is_not_the_file_is_refused_by_every_mirror(
    site: Site, tmp_path: Path, known: dict[str, object], words: str
) -> None:
    urls = site.add("/a", CONTENT), site.add("/b", CONTENT)
    with pytest.raises(UserError) as caught:
        download(WebFile(urls=urls, **known), tmp_path / "file.zip")  # type: ignore[arg-type]
    assert str(caught.value).count(words) == 2
    assert not _there(tmp_path)


def test_mirrors_are_asked_in_turn(site: Site, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
    urls = nobody, site.address + "/missing", site.add("/wrong", b"x" * len(CONTENT)), site.add("/good", CONTENT)
    assert download(_known(*urls), tmp_path / "file.zip").url == urls[-1]


def test_a_busy_server_is_asked_again_and_not_for_ever(site: Site, tmp_path: Path) -> None:
    url = site.add("/a", CONTENT, statuses=[503, 429, 500])
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT
    site.add("/b", CONTENT, statuses=[503] * 50)
    with pytest.raises(UserError, match="503 Service Unavailable, 5 times in a row"):
        download(_known(site.address + "/b"), tmp_path / "other.zip")
    assert len(site.asked("/b")) == 5


def test_a_server_that_sends_too_much_is_stopped(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100_000):
            handler.wfile.write(b"x" * 1000)
            sent.append(1000)

    site.answers["/a"] = endless
    with pytest.raises(UserError, match="more than 102,400 bytes"):
        download(_known(site.address + "/a"), tmp_path / "file.zip")
    monkeypatch.setattr(room, "LARGEST", 50_000)
    with pytest.raises(UserError, match="more than 50,000 bytes, expected at most"):
        download(WebFile(urls=(site.address + "/a",)), tmp_path / "file.zip")
    with pytest.raises(UserError, match="102,400 bytes, expected at most 50,000"):
        download(WebFile(urls=(site.add("/b", CONTENT),)), tmp_path / "file.zip")
    assert not _there(tmp_path)


def test_a_silent_server_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    end = threading.Event()

    def silent(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        end.wait(30)

    site.answers["/a"] = silent
    try:
        with pytest.raises(UserError, match="silent"):
            download(WebFile(urls=(site.address + "/a",)), tmp_path / "file.zip")
    finally:
        end.set()


def test_redirects_are_followed_a_few_times_and_to_the_web_alone(site: Site, tmp_path: Path) -> None:
    site.add("/a", location="/b")
    site.add("/b", location=site.add("/c", CONTENT))
    assert download(_known(site.address + "/a"), tmp_path / "file.zip").path.read_bytes() == CONTENT

    site.add("/loop", location="/loop")
    for number in range(20):
        site.add(f"/chain{number}", location=f"/chain{number + 1}")
    (tmp_path / "secret").write_bytes(CONTENT)
    site.add("/local", location=(tmp_path / "secret").as_uri())
    for path in ("/loop", "/chain0", "/local"):
        with pytest.raises(UserError):
            download(_known(site.address + path), tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()
    assert len(site.asked("/loop")) <= room.MOST_REDIRECTS + 1
    assert not site.asked("/chain10")


def test_ctrl_c_keeps_what_came(site: Site, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done >= 30_000:
            raise KeyboardInterrupt

    url = site.add("/a", CONTENT)
    with pytest.raises(KeyboardInterrupt):
        download(_known(url), tmp_path / "file.zip", progress=stop)
    kept = (tmp_path / "file.zip.part").stat().st_size
    assert kept >= 30_000
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT
    assert site.asked("/a")[-1]["range"] == f"bytes={kept}-"


def test_the_proxy_of_the_environment_is_asked(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.address)
    monkeypatch.delenv("no_proxy", raising=False)
    site.add("http://nowhere.invalid/a", CONTENT)
    assert download(_known("http://nowhere.invalid/a"), tmp_path / "file.zip").path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "http://", "javascript:1"])
def test_only_the_web_is_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="https://"):
        download(_known(url), tmp_path / "file.zip")


def test_a_file_at_hand_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a b.zip"
    path.write_bytes(CONTENT)
    assert local_path(path.as_uri()) == local_path(str(path)) == path
    assert local_path("https://host/a") is None
    assert check_file(_known(), path).sha256 == SHA256
    with pytest.raises(UserError, match="not the published file: its SHA-256"):
        check_file(WebFile(urls=(), sha256=WRONG), path)
    with pytest.raises(UserError, match="cannot be read"):
        check_file(_known(), tmp_path / "missing")
    with pytest.raises(UserError, match="https://"):
        local_path("ftp://host/a")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 40_000), max_size=4),
    st.booleans(),
    st.sampled_from(['"one"', "", 'W/"weak"']),
    st.booleans(),
)
def test_however_it_is_cut_the_file_is_right(
    site: Site, tmp_path: Path, cuts: list[int], ranges: bool, etag: str, length: bool
) -> None:
    site.requests.clear()
    url = site.add("/a", CONTENT, cuts=[*cuts], ranges=ranges, etag=etag, length=length)
    assert download(_known(url), tmp_path / "file.zip").path.read_bytes() == CONTENT
    assert _there(tmp_path) == {"file.zip"}
