"""OME-TIFF written part by part: planes of tiles, compressed without loss, with smaller resolutions made on the way."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.values import Domain, Image

_TILE = 512
_SMALLEST = 512
_BIG = 2**32 - 2**25
_SOFTWARE = "unpaired"


class PyramidOutput(Output):
    """Compressed tiles wait in a temporary file until all are there; memory holds one row of tiles per resolution.

    Parts come in rows, from left to right and downwards, each row of parts of one height. Every resolution is half of
    the one before it, its pixels the mean of four (rounded to nearest), down to the size of the source's smallest.
    """

    def __init__(
        self,
        path: Path,
        domain: Domain,
        size: tuple[int, int],
        count: int,
        *,
        tile: tuple[int, int] | None,
        smallest: tuple[int, int] | None,
        frames: Mapping[str, int],
        meaning: Meaning,
        factor: tuple[float, float],
    ) -> None:
        """`frames` names the axes before Y and X; `factor` is by how much the source is larger than the output."""
        self._path, self._domain, self._size, self._count = path, domain, size, count
        held = set(frames) <= {"T", "Z"} and math.prod(frames.values()) == count
        self._frames = frames if held else {"T": count}
        several = [name for name, length in frames.items() if length > 1]
        if not held and len(several) > 1:
            self.notes = (f"its images ({', '.join(several)}) are one after the other along T",)
        self._meaning, self._factor = meaning, factor
        self._rgb = domain.channels == 3 and domain.dtype in ("uint8", "uint16") and len(meaning.channels) != 3
        self._spool = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._tidy = weakref.finalize(self, self._spool.close)
        sizes = [size]
        while smallest is not None and max(sizes[-1]) > max(*smallest, _SMALLEST):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        fits = tile is not None and tile[0] % 16 == 0 and tile[1] % 16 == 0 and max(tile) <= 1024
        wide = tuple(min(_TILE, -(-length // 16) * 16) for length in size)
        self._tile: tuple[int, int] = tile if fits and tile is not None else (wide[0], wide[1])
        planes = 1 if self._rgb else domain.channels
        samples = domain.channels // planes
        self._levels = [
            _Level(self._spool, each, self._tile, planes, samples, np.dtype(domain.dtype), count) for each in sizes
        ]

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        self._levels[0].put(image, box or Box(0, 0, *self._size), index, self._levels[1:])

    def close(self) -> None:
        import tifffile

        for level in self._levels:
            level.require_whole()
        several = self._domain.channels > 1 and not self._rgb
        axes = "".join(self._frames) + ("C" if several else "") + "YX" + ("S" if self._rgb else "")
        lead = (*self._frames.values(), *((self._domain.channels,) if several else ()))
        size = sum(level.stored for level in self._levels)
        with tifffile.TiffWriter(self._path, ome=True, bigtiff=size > _BIG) as writer:
            for number, level in enumerate(self._levels):
                first = number == 0
                writer.write(
                    level.tiles(),
                    shape=(*lead, *level.size, *((3,) if self._rgb else ())),
                    dtype=self._domain.dtype,
                    tile=self._tile,
                    photometric="rgb" if self._rgb else "minisblack",
                    compression="zlib",
                    subifds=len(self._levels) - 1 if first else None,
                    subfiletype=0 if first else 1,
                    metadata=self._metadata(axes) if first else None,
                    resolution=self._resolution(2**number),
                    resolutionunit="CENTIMETER",
                    software=_SOFTWARE if first else None,
                )
        self._tidy()

    def _spacing(self) -> tuple[float, ...]:
        spacing = self._meaning.spacing if self._meaning.spacing_unit == "um" else ()
        return tuple(length * by for length, by in zip(spacing, (*self._factor, 1.0), strict=False))

    def _resolution(self, halved: int) -> tuple[float, float] | None:
        spacing = self._spacing()
        return (1e4 / (spacing[1] * halved), 1e4 / (spacing[0] * halved)) if spacing else (1, 1)

    def _metadata(self, axes: str) -> dict[str, Any]:
        spacing, found = self._spacing(), dict[str, Any](axes=axes)
        for axis, length in zip("YXZ", spacing, strict=False):
            found |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
        names = self._meaning.channels
        if "C" in axes and len(names) == self._domain.channels:
            found["Channel"] = {"Name": list(names)}
        return found


class _Level:
    """One resolution: rows of pixels become rows of tiles, and every two rows one of the next resolution."""

    def __init__(
        self,
        spool: Any,
        size: tuple[int, int],
        tile: tuple[int, int],
        planes: int,
        samples: int,
        dtype: np.dtype[Any],
        count: int,
    ) -> None:
        self.size, self.stored = size, 0
        self._spool, self._tile, self._planes, self._samples, self._dtype = spool, tile, planes, samples, dtype
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(count * planes)]
        """Where the tiles of every plane are in the temporary file, and how long."""
        self._band: NDArray[Any] | None = None
        self._begun = self._pending = self._done = 0
        """Rows of the band at the top that are tiles already, rows that parts still fill, rows that are whole."""

    def put(self, part: Image, box: Box, index: int, smaller: list[_Level]) -> None:
        """Take a part of an image; where its row is whole, tiles are written and the smaller ones get their rows."""
        if self._band is None:
            self._band, self._done = np.empty((0, self.size[1], part.shape[2]), self._dtype), 0
            self._begun = 0
        need = box.top + box.height - self._begun
        if box.top != self._done or part.shape[:2] != (box.height, box.width):
            raise ValueError(f"{box} comes out of turn: rows up to {self._done} are written")
        if need > len(self._band):
            more = np.zeros((need - len(self._band), *self._band.shape[1:]), self._dtype)
            self._band = np.concatenate([self._band, more])
        top = box.top - self._begun
        self._band[top : top + box.height, box.left : box.left + box.width] = part
        if box.left + box.width < self.size[1]:
            return
        self._done = box.top + box.height
        self._write(index, smaller)

    def _write(self, index: int, smaller: list[_Level]) -> None:
        assert self._band is not None
        last = self._done == self.size[0]
        while (rows := min(self._tile[0], self._done - self._begun)) == self._tile[0] or (last and rows > 0):
            band = self._band[:rows]
            self._encode(band, index)
            if smaller:
                half = _halved(band)
                smaller[0].put(half, Box(self._begun // 2, 0, *half.shape[:2]), index, smaller[1:])
            self._band = self._band[rows:]
            self._begun += rows
        if last:
            self._band = None

    def _encode(self, band: NDArray[Any], index: int) -> None:
        from imagecodecs import zlib_encode

        tall, wide = self._tile
        for left in range(0, self.size[1], wide):
            tile = np.zeros((tall, wide, band.shape[2]), self._dtype)
            found = band[:, left : left + wide]
            tile[: found.shape[0], : found.shape[1]] = found
            for plane in range(self._planes):
                part = tile[:, :, plane * self._samples : (plane + 1) * self._samples]
                content = zlib_encode(np.ascontiguousarray(part).tobytes(), level=6)
                self._places[index * self._planes + plane].append((self._spool.seek(0, 2), len(content)))
                self._spool.write(content)
                self.stored += len(content)

    def require_whole(self) -> None:
        """Raise `ValueError` where parts are missing."""
        tiles = math.prod(-(-length // each) for length, each in zip(self.size, self._tile, strict=True))
        if any(len(places) != tiles for places in self._places):
            raise ValueError("parts of the image are missing")

    def tiles(self) -> Iterator[bytes]:
        """Yield the compressed tiles, plane by plane."""
        for places in self._places:
            for at, length in places:
                self._spool.seek(at)
                yield self._spool.read(length)


def _halved(image: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of every four pixels; the last row and column are repeated where their number is odd."""
    odd = ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0))
    padded = np.pad(image, odd, mode="edge") if odd[0][1] or odd[1][1] else image
    wide: type[Any] = np.float64 if image.dtype.kind == "f" else np.int64
    total: NDArray[Any] = padded[::2, ::2].astype(wide) + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
    return (total / 4 if image.dtype.kind == "f" else (total + 2) >> 2).astype(image.dtype)
