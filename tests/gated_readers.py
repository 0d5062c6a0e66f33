"""Readers that wait, or end their process, at an event of a test; the events are files in the folder GATES."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from unpaired.data.formats import Header, Reader
from unpaired.data.values import Image


def gates() -> Path:
    return Path(os.environ["GATES"])


class Grey(Reader):
    def probe(self, path: Path) -> Header:
        return Header(8, 8, 3, "uint8")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return np.full((8, 8, 3), path.stat().st_size, np.uint8)


class Waiting(Grey):
    """Waits until the gate is open."""

    suffixes = frozenset({".wait"})

    def read(self, path: Path, *, stored: bool = False) -> Image:
        (gates() / "waiting").touch()
        while not (gates() / "open").exists():
            time.sleep(0.02)
        return super().read(path)


class KilledOnce(Grey):
    """Ends its process as SIGKILL does, the first time that it is used."""

    suffixes = frozenset({".kill"})

    def read(self, path: Path, *, stored: bool = False) -> Image:
        marker = gates() / "killed"
        if not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(path)
