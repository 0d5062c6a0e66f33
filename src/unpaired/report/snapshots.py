"""Sample grids as they are embedded in the run's page: small enough together, made once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image as PillowImage

from unpaired.core.files import write_atomic
from unpaired.report.embedding import Image, embedded, encode, split_grid
from unpaired.report.image_grid import SAMPLES, grids_of

MOST_BYTES = 8_000_000
"""Of all embedded pictures; in the page they take a third more (base64)."""
MOST_SNAPSHOTS = 120
WIDEST = 840
"""Pixels of a direction's grid in the page; the files in `samples` keep their full size."""
CACHE = ".page"
"""Folder, in the folder of sample grids, of the pictures as they are embedded."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sample grid of one moment of the training."""

    images: int
    parts: list[Image]


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
            snapshots.append(Snapshot(images, [embedded(file.read_bytes()) for file in files]))
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
        with PillowImage.open(path) as image:
            grid = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return []
    for file in files:
        file.unlink(missing_ok=True)
    made = []
    for number, part in enumerate(split_grid(grid)):
        suffix, content = encode(part, WIDEST)
        made.append(cache / f"{path.stem}-{number}.{suffix}")
        write_atomic(made[-1], content)
    return made
