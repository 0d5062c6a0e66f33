"""Data sets of the Hugging Face hub, against a stand-in of its interface on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from runs import write_images
from shards import in_order, write_parquet
from unpaired.core.errors import UserError
from unpaired.data.streams.stream import Stream


class Hub(ThreadingHTTPServer):
    """The data set user/name with files in two revisions."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.url = folder, f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: object) -> None:
        pass

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, document: Any, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), Content_Type="application/json")

    def _entry(self, path: Path, root: Path) -> dict[str, Any]:
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40}
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": f"{path.stat().st_size:040x}"}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).split("/")
        if parts[1:3] == ["api", "datasets"] and len(parts) > 4:
            kind, revision = (parts[5], "/".join(parts[6:])) if len(parts) > 5 else ("revision", "main")
            if "/".join(parts[3:5]) != "user/name":
                return self._send(404, b"{}", X_Error_Code="RepoNotFound")
            within = revision.removeprefix("refs/convert/parquet").removeprefix("main").strip("/")
            root = self.server.folder / revision.removesuffix(within).strip("/").replace("/", "-")
            if not root.is_dir():
                return self._send(404, b"{}", X_Error_Code="RevisionNotFound")
            if kind == "revision":
                return self._json({"id": "user/name", "sha": "0" * 40, "siblings": []})
            return self._json([self._entry(path, root) for path in sorted((root / within).rglob("*"))])
        at = parts.index("resolve")
        revision = "refs/convert/parquet" if parts[at + 1] == "refs" else parts[at + 1]
        rest = "/".join(parts[at + 1 :]).removeprefix(revision).strip("/")
        content = (self.server.folder / revision.replace("/", "-") / rest).read_bytes()
        asked = self.headers.get("Range")
        if not asked:
            return self._send(200, content, ETag='"1"')
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content)) + 1, len(content))
        place = f"bytes {start}-{end - 1}/{len(content)}"
        return self._send(206, content[start:end], ETag='"1"', Content_Range=place)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        parts = unquote(urlsplit(self.path).path).split("/paths-info/")
        root = self.server.folder / parts[1].replace("/", "-")
        try:
            names = json.loads(asked)["paths"]
        except ValueError:
            names = [unquote(pair.partition("=")[2]) for pair in asked.split("&") if pair.startswith("paths=")]
        self._json([self._entry(root / name, root) for name in names if (root / name).exists()])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    import fsspec
    from huggingface_hub import HfFileSystem

    with Hub(tmp_path / "hub") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": server.url, "token": False})
        yield server
        HfFileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()


def contents(place: str) -> list[bytes]:
    return [image.load().content for image in Stream(place).images]


def test_a_data_set_of_the_hub_by_split_column_and_revision(hub: Hub, tmp_path: Path) -> None:
    folder = write_images(tmp_path, {"images": 5}) / "images"
    wanted = [path.read_bytes() for path in in_order(folder)]
    write_parquet(folder, hub.folder / "main" / "data" / "train-00000-of-00001.parquet", column="photo")
    write_parquet(folder, hub.folder / "main" / "data" / "test-00000-of-00001.parquet", rows=1)
    write_parquet(folder, hub.folder / "refs-convert-parquet" / "default" / "train" / "0000.parquet")
    assert contents("hf:user/name") == wanted
    assert contents("hf:user/name#photo") == wanted
    assert contents("hf:user/name:test") == wanted
    assert contents("hf:user/name@main:test#image") == wanted
    for place, told in (("hf:user/name:valid", "no files of the split valid"), ("hf:user/none", "cannot be read")):
        with pytest.raises(UserError, match=told):
            contents(place)
    for path in (hub.folder / "main" / "data").iterdir():
        path.unlink()
    assert contents("hf:user/name") == wanted, "what the hub itself converted to Parquet"
