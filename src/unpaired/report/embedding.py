"""Pictures inside a page: read, made small enough, encoded once, and bounded in number and bytes.

Tables of pictures, the album of a report, and the snapshots of a run's page.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.files import open_regular, write_atomic
from unpaired.report.image_grid import MOST_PIXELS, SAMPLES, TINY, grids_of, png

if TYPE_CHECKING:
    from unpaired.report.runs import Run

Pixels = NDArray[np.uint8]
JPEG_QUALITY = 85
WIDEST_CELL, SMALL_CELL = 224, 128
"""Pixels that a picture takes in a table: tiny ones are magnified in whole steps up to the second."""
LARGEST_FILE = 200_000_000
"""Bytes of a picture that is read."""

MOST_BYTES = 12_000_000
"""Of all pictures of an album; in the page they take a third more (base64)."""
MOST_PICTURES = 200
MOMENTS_ALONE, MOMENTS_BESIDE = 6, 4
"""Moments of the training that are shown of a run alone, and of each of several."""
WIDEST_GRID, WIDEST = 720, 1200
"""Pixels of a direction's samples, and of other pictures; the files keep their full size."""

MOST_SNAPSHOT_BYTES = 8_000_000
"""Of all pictures of a run's page."""
MOST_SNAPSHOTS = 120
WIDEST_SNAPSHOT = 840
CACHE = ".page"
"""Folder, in the folder of sample grids, of the pictures as they are embedded."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Image:
    """An embedded picture."""

    width: int
    height: int
    url: str
    """A `data:` URL."""
    small: bool = False
    """Whether it is magnified, each pixel a square."""


def embedded(content: bytes) -> Image:
    """Return a PNG or JPEG file as a page holds it."""
    with PillowImage.open(io.BytesIO(content)) as image:
        width, height = image.size
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    return Image(width, height, f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")


def encode(picture: Pixels, widest: int) -> tuple[str, bytes]:
    """Return a picture, [H, W, 3] uint8, at most `widest` pixels wide and twice as tall, with its suffix.

    It is the smaller of a PNG (few colours, large pixels) and a JPEG (photographs).
    """
    image = PillowImage.fromarray(np.ascontiguousarray(picture))
    factor = min(widest / image.width, 2 * widest / image.height, 1.0)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, PillowImage.Resampling.LANCZOS, reducing_gap=2.0)
    as_png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    if factor == 1:
        image.save(as_png, "PNG", compress_level=3)
        # JPEG blurs the edges of magnified pixels, so a PNG may be a little larger.
        if as_png.tell() <= 1.25 * jpeg.tell():
            return "png", as_png.getvalue()
    return "jpg", jpeg.getvalue()


def read_picture(path: Path) -> Pixels | None:
    """Return a picture file, [H, W, 3] uint8; None where it is missing, damaged or too large."""
    try:
        with warnings.catch_warnings(), open_regular(path, at_most=LARGEST_FILE) as file:
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)  # the limit here is our own
            with PillowImage.open(file) as image:
                return None if image.width * image.height > MOST_PIXELS else np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises anything for a damaged file
        return None


def split_grid(grid: Pixels) -> list[Pixels]:
    """Return the two directions of a sample grid, where its middle is the margin between them, else the grid whole."""
    middle = grid.shape[0] // 2
    seam = grid[max(0, middle - 6) : middle + 6]
    if grid.shape[0] < 2 * grid.shape[1] // 3 or (seam != seam[:1, :1]).any():
        return [grid]
    return [grid[:middle], grid[middle:]]


# ------------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class PictureRows:
    """Pictures side by side: a row an input, a column what became of it."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Image]]
    given: int
    """How many of the first columns are given images (input, true image): the others are translations."""


def picture_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Pixels]], *, given: int = 1) -> PictureRows:
    """Return pictures, [H, W, 3] or [H, W, 1] uint8, as rows of a page, without loss; a row may lack a column."""
    return PictureRows(columns, [{name: _cell(picture) for name, picture in row.items()} for row in rows], given)


def _cell(picture: Pixels) -> Image:
    found = embedded(png(picture))
    longest = max(found.width, found.height)
    small = longest < TINY
    factor = SMALL_CELL // longest if small else min(1.0, WIDEST_CELL / found.width)
    return Image(round(found.width * factor), round(found.height * factor), found.url, small)


# -------------------------------------------------------------------------------------------------------------- album


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures of a report: what is embedded, and what is not."""

    parts: Mapping[Path, Sequence[Image]]
    """The pictures of a file: of a sample grid one for each direction."""
    left_out: Sequence[Path]
    """Files for which there was no room."""
    unreadable: Sequence[Path]


def chosen_grids(run: Run, num_runs: int) -> list[tuple[int, Path]]:
    """Return the first sample grid, the last, and others evenly between."""
    count, most = len(run.grids), MOMENTS_ALONE if num_runs == 1 else MOMENTS_BESIDE
    places = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    return [run.grids[place] for place in np.unique(places)]


def embed(runs: Sequence[Run]) -> Album:
    """Return the pictures of a report; the most important first where there is not room for all.

    That is: every run's last samples, best and worst translations and audits, then the samples before.
    """
    files: dict[Path, bool] = {}
    for path, is_grid in _files(runs):
        files.setdefault(path, is_grid)
    parts: dict[Path, list[Image]] = {}
    left_out, unreadable, used, count = list[Path](), list[Path](), 0, 0
    for path, is_grid in files.items():
        pixels = read_picture(path)
        if pixels is None:
            unreadable.append(path)
            continue
        found = (
            [encode(part, WIDEST_GRID)[1] for part in split_grid(pixels)] if is_grid else [encode(pixels, WIDEST)[1]]
        )
        size = sum(map(len, found))
        if used + size > MOST_BYTES or count + len(found) > MOST_PICTURES:
            left_out.append(path)
        else:
            used, count = used + size, count + len(found)
            parts[path] = [embedded(content) for content in found]
    return Album(parts, left_out, unreadable)


def _files(runs: Sequence[Run]) -> Iterable[tuple[Path, bool]]:
    yield from ((run.grids[-1][1], True) for run in runs if run.grids)
    for run in runs:
        for measured in (*run.evaluations[::-1], *run.audits[::-1]):
            yield from ((path, False) for each in measured.document.pictures if (path := measured.picture(each)))
    for run in runs:
        yield from ((path, True) for _, path in chosen_grids(run, len(runs)))


# ---------------------------------------------------------------------------------------------------------- snapshots


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sample grid of one moment of the training."""

    images: int
    parts: list[Image]


def snapshots_of(run: Path, cache: Path | None = None) -> tuple[list[Snapshot], int]:
    """Return the snapshots of a run's page, in order, and how many sample grids the run has.

    The first and the last are always among them; the others are thinned evenly until all fit. A file that cannot be
    read is passed over. Every picture is encoded once and kept in `cache`, by default `samples/.page` of the run.
    """
    cache = cache or run / SAMPLES / CACHE
    grids = grids_of(run)
    chosen = _thin(grids, lambda grid: sum(path.stat().st_size for path in _encoded(grid[1], cache)))
    snapshots, used = [], set()
    for images, path in chosen:
        files = _encoded(path, cache)
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
        if len(chosen) <= 2:
            return chosen
        total = 0
        for item in chosen if len(chosen) <= MOST_SNAPSHOTS else ():
            total += size(item)
            if total > MOST_SNAPSHOT_BYTES:
                break
        else:
            if len(chosen) <= MOST_SNAPSHOTS:
                return chosen
        stride *= 2


def _encoded(path: Path, cache: Path) -> list[Path]:
    """Return the files of a grid's parts, made now where they are missing or older than the grid."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return []
    for place in (path.parent / CACHE, cache):  # the run's own may be of use where it must not be written
        files = sorted(place.glob(f"{path.stem}-*"))
        if files and all(file.stat().st_mtime_ns >= changed for file in files):
            return files
    if (grid := read_picture(path)) is None:
        return []
    for file in files:
        file.unlink(missing_ok=True)
    made = []
    for number, part in enumerate(split_grid(grid)):
        suffix, content = encode(part, WIDEST_SNAPSHOT)
        made.append(cache / f"{path.stem}-{number}.{suffix}")
        write_atomic(made[-1], content)
    return made
