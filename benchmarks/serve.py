"""The translation service under load, beside the bare translator: throughput, latency, memory, and what it survives.

    python benchmarks/serve.py [throughput memory hostile slow killed] [--width 64 --blocks 9 --size 256] [--json]

Starts `unpaired serve` with random weights on a loopback port and measures, all by default:

- throughput: PNG files sent by several clients at once, against `Translator.translate_images` on the same decoded
  images in batches of the same size. Rounds alternate; the ratio is the median of those within a round, so that other
  work on the machine concerns both. Latencies are those of the same rounds.
- memory: resident memory of the server over many requests for small images.
- hostile: damaged, truncated and lying files, random bytes and forms, from several clients; how they were answered.
- slow: latency of ordinary requests while a crowd of connections sends a byte from time to time.
- killed: the server is killed again and again and started anew, while clients that repeat what failed go on.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from translate import random_model
from unpaired.models.translator import Translator

ENGINE = ("--engine", "torch", "--precision", "fp32", "--device", "cpu")


class Server:
    """`unpaired serve` as a process, which can be killed and started again on the same port."""

    def __init__(self, model: Path, *options: str) -> None:
        self._command = [sys.executable, "-m", "unpaired", "serve", str(model), *ENGINE, *options]
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [*self._command, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(self.process.kill)
        assert self.process.stdout is not None
        found = re.search(r":(\d+)/", self.process.stdout.readline())
        assert found is not None, "the service did not start"
        self.port = int(found[1])
        while self.get("/ready")[0] != 200:
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask for something."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def memory(self) -> float:
        """Return its resident memory in MB."""
        found = re.search(rb"(?m)^process_resident_memory_bytes (\S+)", self.get("/metrics")[1])
        assert found is not None
        return float(found[1]) / 2**20

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


def send(connection: http.client.HTTPConnection, body: bytes, kind: str = "image/png") -> int:
    """Send an image and return the status."""
    connection.request("POST", "/translate", body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def load(port: int, bodies: list[bytes], clients: int, *, patient: bool = False) -> tuple[list[float], Counter[int]]:
    """Let clients send all bodies; return the seconds of each and how they were answered.

    A patient client repeats what fails until it succeeds.
    """
    waiting, taken, lock = iter(bodies), [], threading.Lock()
    statuses: Counter[int] = Counter()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                connection.close()
                return
            started, status = time.perf_counter(), 0
            while status != 200:
                try:
                    status = send(connection, body)
                except (OSError, http.client.HTTPException):
                    status = 0
                    connection.close()
                with lock:
                    statuses[status] += 1
                if not patient:
                    break
                if status != 200:
                    time.sleep(0.1)
            with lock:
                taken.append(time.perf_counter() - started)

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(client) for _ in range(clients)]:
            future.result()
    return taken, statuses


def pictures(count: int, size: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return smooth random pictures."""
    numbers = np.random.default_rng(0)
    coarse = [numbers.integers(0, 256, (size // 16, size // 16, 3), dtype=np.uint8) for _ in range(count)]
    return [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in coarse]


def encoded(picture: np.ndarray[Any, np.dtype[np.uint8]], format: str = "PNG") -> bytes:
    """Return a picture as a file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format)
    return content.getvalue()


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {
        name: round(1000 * ordered[int(share * (len(ordered) - 1))], 1) for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def throughput(model: Path, given: Namespace) -> dict[str, Any]:
    """Measure images per second of the service and of the bare translator in alternating rounds."""
    images = pictures(given.images, given.size)
    bodies = [encoded(image) for image in images]
    translator = Translator.load(model, device="cpu", engine="torch", precision="fp32")
    server = Server(model, "--batch-size", str(given.batch), "--timeout", "600")
    bare, served, seconds = [], [], []
    for number in range(given.rounds + 1):
        started = time.perf_counter()
        translator.translate_images(images, given.batch)
        alone = len(images) / (time.perf_counter() - started)
        started = time.perf_counter()
        taken, statuses = load(server.port, bodies, given.clients)
        together = len(images) / (time.perf_counter() - started)
        assert statuses == {200: len(bodies)}, statuses
        if number:  # the first round warms up
            bare.append(alone)
            served.append(together)
            seconds += taken
    one, _ = load(server.port, bodies[: given.batch], 1)
    server.stop()
    ratios = [ours / theirs for ours, theirs in zip(served, bare, strict=True)]
    return {
        "bare_images_per_second": round(statistics.median(bare), 2),
        "served_images_per_second": round(statistics.median(served), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        f"latency_ms_{given.clients}_clients": percentiles(seconds),
        "latency_ms_1_client": percentiles(one),
    }


def memory(model: Path, given: Namespace) -> dict[str, Any]:
    """Follow the server's memory over many requests."""
    server = Server(model)
    bodies = [encoded(picture) for picture in pictures(8, 64)]
    steps, found, seconds = 10, [], []
    for _ in range(steps):
        part = [bodies[number % 8] for number in range(given.requests // steps)]
        taken, statuses = load(server.port, part, given.clients)
        assert statuses == {200: len(part)}, statuses
        seconds += taken
        found.append(round(server.memory(), 1))
    code = server.stop()
    return {"requests": given.requests, "memory_MB": found, "latency_ms": percentiles(seconds), "exit_code": code}


def damaged(count: int) -> Iterator[tuple[bytes, str]]:
    """Yield bodies that are no sound images, with their media types."""
    draw, image = random.Random(0), pictures(1, 64)[0]
    npy = io.BytesIO()
    np.save(npy, image)
    whole = [npy.getvalue(), *(encoded(image, format) for format in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"))]
    kinds = (
        "image/png",
        "application/octet-stream",
        "multipart/form-data; boundary=x",
        "application/json",
        "text/html",
    )
    for number in range(count):
        content = bytearray(draw.choice(whole))
        if number % 3 == 0:
            content = content[: draw.randrange(len(content))]
        elif number % 3 == 1:
            for _ in range(draw.randrange(1, 20)):
                content[draw.randrange(min(len(content), 400))] = draw.randrange(256)
        else:
            content = bytearray(draw.randbytes(draw.randrange(2000)))
        yield bytes(content), kinds[0] if number % 2 else draw.choice(kinds)


def hostile(model: Path, given: Namespace) -> dict[str, Any]:
    """Count how damaged bodies are answered, and see that the service lives."""
    server = Server(model, "--max-pixels", "1000000")
    statuses: Counter[int] = Counter()

    def attack(bodies: list[tuple[bytes, str]]) -> None:
        for body, kind in bodies:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            status = send(connection, body, kind)
            connection.close()
            statuses[status] += 1

    bodies = [*damaged(given.requests // 5)]
    with ThreadPoolExecutor(given.clients) as pool:
        for future in [pool.submit(attack, bodies[start :: given.clients]) for start in range(given.clients)]:
            future.result()
    _, after = load(server.port, [encoded(pictures(1, 64)[0])], 1)
    return {
        "answers": dict(sorted(statuses.items())),
        "after": dict(after),
        "memory_MB": server.memory(),
        "exit_code": server.stop(),
    }


def slow(model: Path, given: Namespace) -> dict[str, Any]:
    """Measure ordinary requests without and with a crowd that sends a byte from time to time."""
    server = Server(model)
    bodies = [encoded(pictures(1, 64)[0])] * 200
    before, _ = load(server.port, bodies, 1)
    stop = threading.Event()

    def crowd() -> None:
        head = (
            b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
        )
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(60)]
            for client in clients:
                client.sendall(head)
            while not stop.wait(0.5):
                for client in clients:
                    with contextlib.suppress(OSError):
                        client.sendall(b"x")

    thread = threading.Thread(target=crowd)
    thread.start()
    time.sleep(1)
    during, statuses = load(server.port, bodies, 1)
    stop.set()
    thread.join()
    return {
        "latency_ms": percentiles(before),
        "latency_ms_with_60_slow_clients": percentiles(during),
        "answers": dict(statuses),
        "exit_code": server.stop(),
    }


def killed(model: Path, given: Namespace) -> dict[str, Any]:
    """Kill the server under load, start it again, and see whether patient clients get everything."""
    server = Server(model)
    bodies = [encoded(picture) for picture in pictures(8, 64)] * (given.requests // 20)
    away: list[float] = []

    def supervise() -> None:
        for _ in range(3):
            time.sleep(2)
            started = time.perf_counter()
            server.process.kill()
            server.process.wait()
            server.start()
            away.append(round(time.perf_counter() - started, 1))

    with ThreadPoolExecutor(1) as pool:
        supervisor = pool.submit(supervise)
        _, statuses = load(server.port, bodies, given.clients, patient=True)
        supervisor.result()
    return {
        "images": len(bodies),
        "answers": dict(statuses),
        "seconds_until_ready_again": away,
        "exit_code": server.stop(),
    }


PARTS: dict[str, Callable[[Path, Namespace], dict[str, Any]]] = {
    "throughput": throughput,
    "memory": memory,
    "hostile": hostile,
    "slow": slow,
    "killed": killed,
}


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; by default all")
    for name, default in (("width", 64), ("blocks", 9), ("size", 256), ("images", 32), ("batch", 8), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("UNPAIRED_CACHE", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small").mkdir()
        published = random_model(Path(folder), given.width, given.blocks)
        small = random_model(Path(folder) / "small", 8, 1)
        found = {
            part: PARTS[part](published if part == "throughput" else small, given) for part in given.parts or PARTS
        }
    for part, figures in {} if given.json else found.items():
        print(part, *(f"  {name}: {value}" for name, value in figures.items()), sep="\n")
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
