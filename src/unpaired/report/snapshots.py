"""Sample grids as they are embedded in the run's page: small enough together, made once each."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.core.files import write_atomic
from unpaired.report.image_grid import SAMPLES, grids_of

MOST_BYTES = 8_000_000
"""Of all embedded pictures; in the page they take a third more (base64)."""
MOST_SNAPSHOTS = 120
WIDEST = 840
"""Pixels of a direction's grid in the page; the files in `samples` keep their full size."""
JPEG_QUALITY = 85
CACHE = ".page"
"""Folder, in the folder of sample grids, of the pictures as they are embedded."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """One embedded picture: the grid of one direction, or of all where they cannot be told apart."""

    width: int
    height: int
    url: str
    """A `data:` URL."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sample grid of one moment of the training."""

    images: int
    parts: list[Part]


def snapshots_of(run: Path) -> tuple[list[Snapshot], int]:
    """Return the snapshots to embed, in order, and how many sample grids the run has.

    The first and the last are always among them; the others are thinned evenly until all fit into `MOST_BYTES`.
    A file that cannot be read is passed over.
    """
    cache = run / SAMPLES / CACHE
    grids = grids_of(run)
    chosen = _thin(grids, lambda grid: sum(path.stat().st_size for path in _embedded(grid[1], cache)))
    snapshots, used = [], set()
    for images, path in chosen:
        files = _embedded(path, cache)
        used.update(files)
        if files:
            snapshots.append(Snapshot(images, [_part(file) for file in files]))
    if cache.is_dir():
        for file in set(cache.iterdir()) - used:
            file.unlink(missing_ok=True)
    return snapshots, len(grids)


def _thin(items: Sequence[T], size: Callable[[T], int]) -> list[T]:
    """Return every first, second, fourth, ... item and the last: as many as may be embedded.

    Powers of two, because what is chosen later is then among what was chosen before, and encoded already.
    """
    stride = 1
    while True:
        chosen = [*items[::stride], *([items[-1]] if (len(items) - 1) % stride else [])] if items else []
        if len(chosen) <= 2 or (len(chosen) <= MOST_SNAPSHOTS and _fits(chosen, size)):
            return chosen
        stride *= 2


def _fits(items: Sequence[T], size: Callable[[T], int]) -> bool:
    total = 0
    for item in items:
        total += size(item)
        if total > MOST_BYTES:
            return False
    return True


def _embedded(path: Path, cache: Path) -> list[Path]:
    """Return the files of a grid's parts, made now where they are missing or older than the grid."""
    files = sorted(cache.glob(f"{path.stem}-*"))
    try:
        changed = path.stat().st_mtime_ns
        if files and all(file.stat().st_mtime_ns >= changed for file in files):
            return files
        with Image.open(path) as image:
            grid = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return []
    for file in files:
        file.unlink(missing_ok=True)
    made = []
    for number, part in enumerate(split_grid(grid)):
        suffix, content = encode(part)
        made.append(cache / f"{path.stem}-{number}.{suffix}")
        write_atomic(made[-1], content)
    return made


def split_grid(grid: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the two directions of a grid, where its middle is the margin between them, else the grid whole."""
    middle = grid.shape[0] // 2
    seam = grid[max(0, middle - 6) : middle + 6]
    if grid.shape[0] < 2 * grid.shape[1] // 3 or (seam != seam[:1, :1]).any():
        return [grid]
    return [grid[:middle], grid[middle:]]


def encode(part: NDArray[np.uint8], widest: int = WIDEST) -> tuple[str, bytes]:
    """Return a picture, [H, W, 3] uint8, at most `widest` pixels wide and twice as tall, with its suffix.

    It is the smaller of a PNG (few colours, large pixels) and a JPEG (photographs).
    """
    image = Image.fromarray(np.ascontiguousarray(part))
    factor = min(widest / image.width, 2 * widest / image.height, 1.0)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    if factor == 1:
        image.save(png, "PNG", compress_level=3)
        # JPEG blurs the edges of magnified pixels, so a PNG may be a little larger.
        if png.tell() <= 1.25 * jpeg.tell():
            return "png", png.getvalue()
    return "jpg", jpeg.getvalue()


def _part(file: Path) -> Part:
    return part_of(file.suffix.removeprefix("."), file.read_bytes())


def part_of(suffix: str, content: bytes) -> Part:
    """Return an encoded picture, "png" or "jpg", as a page embeds it."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    kind = "jpeg" if suffix == "jpg" else "png"
    return Part(width, height, f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")
