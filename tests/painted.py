"""A reader of pictures that are made on the fly, whole or by windows, for tests: `painted:PaintedReader`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unpaired.data.formats import Box, Header, Reader
from unpaired.data.values import Image

MARK = b"painted "


def write_painted(path: Path, height: int, width: int, channels: int = 3, dtype: str = "uint8") -> Path:
    path.write_bytes(MARK + f"{height} {width} {channels} {dtype}".encode())
    return path


class PaintedReader(Reader):
    """Reads such pictures."""

    suffixes = frozenset({".painted"})

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MARK)

    def probe(self, path: Path) -> Header:
        height, width, channels, dtype = path.read_bytes().removeprefix(MARK).decode().split()
        return Header(int(height), int(width), int(channels), dtype)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        header = self.probe(path)
        part = self.read_window(path, Box(0, 0, header.height, header.width))
        assert part is not None
        return part

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        header = self.probe(path)
        rows = np.arange(box.top, box.top + box.height)[:, None, None]
        columns = np.arange(box.left, box.left + box.width)[None, :, None]
        channels = np.arange(header.channels)[None, None, :]
        top = np.iinfo(header.dtype).max
        waves = np.sin(rows * 0.11 + channels) * np.cos(columns * 0.07) * 0.3 + (rows + columns) % 7 * 0.02 + 0.4
        return np.asarray(waves * top).astype(header.dtype)
