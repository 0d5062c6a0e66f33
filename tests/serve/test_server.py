"""`unpaired serve` as a process: signals, clients that go, and what is no request."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import unpaired
from runs import TINY, write_images
from serve.clients import noise, png
from unpaired.models.folder import link_folder
from unpaired.networks import ResnetConfig
from unpaired.web.headers import HEADERS

MakeModel = Callable[..., Path]
SOURCE = Path(__file__).resolve().parents[2] / "src"
HELD = """
import sys, time
from pathlib import Path
from unpaired.cli import main
from unpaired.serve import batching
compute, gate = batching._compute, Path(sys.argv.pop(1))
def held(*given):
    while not gate.exists():
        time.sleep(0.01)
    return compute(*given)
batching._compute = held
main(sys.argv[1:])
"""
"""The program, whose networks compute only while a file exists."""


class Server:
    def __init__(self, model: Path, *options: str, networks: int) -> None:
        self.gate = model.parent / "gate"
        self.gate.touch()
        command = [sys.executable, "-c", HELD, str(self.gate), "serve", str(model), "--port", "0", "--engine", "torch"]
        self.process = subprocess.Popen(
            [*command, "--precision", "fp32", "--device", "cpu", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found is not None, line
        self.port = int(found[1])
        self.lines: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for(lambda line: line["event"] == "load", networks)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.lines.append(json.loads(line))
                self._more.notify_all()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> None:
        """Wait until so many lines of the log are what is wanted."""
        with self._more:
            assert self._more.wait_for(lambda: sum(map(wanted, self.lines)) >= count, 60), self.lines

    def ask(self, method: str = "POST", path: str = "/translate", body: bytes | None = None) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, png() if body is None and method == "POST" else body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=60):
            return True
        return False

    def wait_until_open(self, count: int) -> None:
        """Wait until so many requests are being answered."""
        while f"unpaired_requests_open {count:.1f}".encode() not in self.ask("GET", "/metrics")[2]:
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(model: Path, *options: str, networks: int = 2) -> Server:
        started.append(Server(model, *options, networks=networks))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def test_a_stop_finishes_what_was_taken(make_model: MakeModel, start: Callable[..., Server]) -> None:
    server = start(make_model(), "--batch-size", "1")
    server.gate.unlink()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.ask) for _ in range(4)]
        server.wait_until_open(4)
        server.process.send_signal(signal.SIGTERM)
        while server.accepts():  # soon nobody new comes in
            time.sleep(0.05)
        assert not any(each.done() for each in asked)
        server.gate.touch()
        assert [each.result()[0] for each in asked] == [200] * 4
    assert server.process.wait(60) == 0


def test_a_computation_that_does_not_end_delays_no_stop(make_model: MakeModel, start: Callable[..., Server]) -> None:
    server = start(make_model(), "--timeout", "0.5")
    server.gate.unlink()
    assert server.ask()[0] == 504
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 1


def test_clients_that_go_are_forgotten_and_what_is_no_request_is_refused(
    make_model: MakeModel, start: Callable[..., Server]
) -> None:
    server = start(make_model(), "--timeout", "30", "--max-bytes", "100000", "--queue", "4")
    server.gate.unlink()
    head = b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    content = png(noise(8, 8))
    for _ in range(2):  # one whose image is being computed, and one that waits
        client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        client.sendall(head % len(content) + content)
        server.wait_until_open(1)
        client.close()
        server.wait_until_open(0)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:  # half a body, then nothing
        client.sendall(head % 1000 + content[:50])
    server.wait_for(lambda line: line.get("status") == 499, 3)
    server.gate.touch()

    for sent, status in (
        (b"\x16\x03\x01 hello\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n", b"400"),
        (head % 10**15, b"413"),
        (b"POST /translate HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: 0\r\n\r\n", b"403"),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            with contextlib.suppress(OSError):  # refused before all of it was sent
                client.sendall(sent)
            answer = client.recv(4000)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert all(f"\r\n{name}: ".encode() in answer for name in HEADERS)
    assert server.ask()[0] == 200
    assert server.process.poll() is None


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_newer_checkpoint_is_served_on_sighup_without_a_failed_request(
    make_model: MakeModel, start: Callable[..., Server], tmp_path: Path
) -> None:
    for images, width in ((10, 4), (20, 6)):
        (tmp_path / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)
        make_model(f"run/checkpoints/{images:09d}", config=ResnetConfig(width=width, blocks=1))
    run = tmp_path / "run"
    link_folder(run / "best", run / "checkpoints" / "000000010", {})
    server = start(run, "--reload", "0")
    before, statuses = server.ask()[2], []
    link_folder(run / "best", run / "checkpoints" / "000000020", {})
    assert server.ask()[2] == before  # nobody has looked
    server.process.send_signal(signal.SIGHUP)
    after = before
    while after == before:
        status, _, after = server.ask()
        statuses.append(status)
    assert {*statuses} == {200}
    assert server.ask(path="/translate?checkpoint=20")[2] == after
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0


def test_a_trained_bridge_is_served_with_the_steps_and_the_seed_of_translate(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    settings = {
        **TINY,
        "method.generator.steps": 3,
        "method.nce_layers": [4, 8],
        "method.num_patches": 8,
        "method.embedding_width": 4,
        "training.epochs": 1,
        "training.decay_epochs": 0,
    }
    del settings["method.pool_size"]
    data = write_images(tmp_path / "data", {"trainA": 4, "trainB": 4})
    unpaired.train("unsb", data=data, out=tmp_path / "run", settings=settings, quiet=True)
    found, content = {}, png()
    for options in ((), ("--steps", "2", "--seed", "7")):
        given = {name[2:]: int(value) for name, value in zip(options[::2], options[1::2], strict=True)}
        translator = unpaired.Translator.load(tmp_path / "run", engine="torch", precision="fp32", device="cpu", **given)
        status, _, answer = start(tmp_path / "run", *options, networks=1).ask(body=content)
        assert status == 200
        with Image.open(io.BytesIO(content)) as sent, Image.open(io.BytesIO(answer)) as received:
            assert received.tobytes() == translator(sent).tobytes()
        found[options] = answer
    assert len({*found.values()}) == 2
