"""Small studies for tests, and a participant without a browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unpaired.study.create import create_study
from unpaired.study.description import Settings, Study

SOURCE = Path(__file__).resolve().parents[2] / "src"
QUICK: dict[str, Any] = {"practice": 2, "trials": 6, "catch": 1, "exposure": 0.02, "participants": 3}


def pictures(folder: Path, count: int, seed: int, size: tuple[int, int] = (24, 32)) -> Path:
    """Write so many different pictures, (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{number:03}.png")
    return folder


def make_study(root: Path, methods: tuple[str, ...] = ("ours", "theirs"), **settings: Any) -> tuple[Path, Study]:
    """Create a study of drawn pictures, quick unless `settings` say otherwise."""
    chosen = Settings(**QUICK | settings)
    count = chosen.practice + chosen.trials + chosen.catch + 3
    real = pictures(root / "real", count, 0)
    fakes = {name: pictures(root / name, count, place) for place, name in enumerate(methods, 1)}
    return root / "study", create_study(real, fakes, root / "study", chosen).study


@dataclass
class Server:
    """`unpaired study serve` as a process of its own."""

    folder: Path
    port: int = 0
    token: str = ""
    program: tuple[str, ...] = ("-m", "unpaired")
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> Server:
        """Start it, on the same port as before, and wait until it listens."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, *self.program, "study", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if line.startswith("Stop with"):
                break
        found = re.search(r"http://127\.0\.0\.1:(\d+)/report\?token=(\S+)", said)
        assert found is not None, said
        self.port, self.token = int(found[1]), found[2]
        return self

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@dataclass
class Reply:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Person:
    """A participant without a browser."""

    port: int
    number: str | None = None
    session: str | None = None
    patient: bool = False
    """Ask again while the server is away."""

    def ask(self, method: str, path: str, message: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Send a request; a patient person repeats it until the server is there."""
        sent = {} if self.session is None else {"Authorization": f"Bearer {self.session}"}
        body = message if isinstance(message, bytes) else None if message is None else json.dumps(message).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        end = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request(method, path, body, sent | (headers or {}))
                answer = connection.getresponse()
                reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
                if not (self.patient and reply.status in (425, 429)):
                    return reply
            except (OSError, http.client.HTTPException):
                if not self.patient or time.monotonic() > end:
                    raise
            finally:
                connection.close()
            time.sleep(0.05)

    def enter(self, *, consent: bool = True, session: str | None = None) -> Any:
        """Agree to take part."""
        message = {"participant": self.number, "session": session, "consent": consent}
        reply = self.ask("POST", "/api/enter", message)
        assert reply.status == 200, reply.body
        self.session = reply.json.get("session")
        return reply.json

    def next(self) -> Any:
        """Ask for the trial that comes next."""
        reply = self.ask("POST", "/api/next", {})
        assert reply.status == 200, reply.body
        return reply.json

    def look(self, trial: str) -> Reply:
        """Fetch a trial's pictures."""
        return self.ask("GET", f"/api/pair/{trial}")

    def choose(self, trial: str, side: int, **changes: Any) -> Reply:
        """Answer a trial."""
        message = {
            "trial": trial,
            "side": side,
            "exposures": [0.02, 0.02],
            "frames": 2,
            "hidden": False,
            "response": 0.6,
            "input": "mouse",
        }
        return self.ask("POST", "/api/answer", message | changes)
