"""The pictures of the page: read, brought to a size that a page can carry, and bounded in number and bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.report.measured import PictureFile
from unpaired.report.runs import Run
from unpaired.report.snapshots import Part, encode, part_of, split_grid

MOST_BYTES = 12_000_000
"""Of all embedded pictures; in the page they take a third more (base64)."""
MOST_PICTURES = 200
MOST_PIXELS = 64_000_000
"""Of one file; larger ones are not decoded."""
MOMENTS_ALONE, MOMENTS_BESIDE = 6, 4
"""Moments of the training that are shown of a run alone, and of each of several."""
WIDEST_GRID, WIDEST = 720, 1200
"""Pixels of a direction's samples, and of other pictures; the files keep their full size."""


@dataclass(frozen=True, slots=True)
class Album:
    """What is embedded, and what is not."""

    parts: Mapping[Path, Sequence[Part]]
    """The pictures of a file: of a sample grid one for each direction."""
    left_out: Sequence[Path]
    """Files for which there was no room."""
    unreadable: Sequence[Path]


def chosen_grids(run: Run, most: int) -> list[tuple[int, Path]]:
    """Return the first grid, the last, and others evenly between: at most `most`."""
    count = len(run.grids)
    places = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    return [run.grids[place] for place in np.unique(places)]


def moments_of(num_runs: int) -> int:
    """Return how many moments of each run are shown."""
    return MOMENTS_ALONE if num_runs == 1 else MOMENTS_BESIDE


def embed(runs: Sequence[Run]) -> Album:
    """Return the pictures of a report; what matters most is taken first where there is not room for all.

    That is: every run's last samples, best and worst translations and audits, then the samples before.
    """
    parts: dict[Path, list[Part]] = {}
    left_out: list[Path] = []
    unreadable: list[Path] = []
    used = count = 0
    for path, is_grid in _wanted(runs):
        if path in parts or path in unreadable or path in left_out:
            continue
        encoded = _encoded(path, is_grid=is_grid)
        if not encoded:
            unreadable.append(path)
            continue
        size = sum(len(content) for _, content in encoded)
        if used + size > MOST_BYTES or count + len(encoded) > MOST_PICTURES:
            left_out.append(path)
            continue
        used, count = used + size, count + len(encoded)
        parts[path] = [part_of(suffix, content) for suffix, content in encoded]
    return Album(parts, left_out, unreadable)


def _wanted(runs: Sequence[Run]) -> Iterable[tuple[Path, bool]]:
    for run in runs:
        if run.grids:
            yield run.grids[-1][1], True
    for run in runs:
        for measured in (*run.evaluations[::-1], *run.audits[::-1]):
            for direction in measured.document.directions.values():
                yield from ((path, False) for each in direction.pictures if (path := measured.picture(each)))
    for run in runs:
        yield from ((path, True) for _, path in chosen_grids(run, moments_of(len(runs))))


def _encoded(path: Path, *, is_grid: bool) -> list[tuple[str, bytes]]:
    """Return a file's pictures as they are embedded, none where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is our own
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    return []
                pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return []
    return [encode(part, WIDEST_GRID) for part in split_grid(pixels)] if is_grid else [encode(pixels, WIDEST)]


def alt_of(picture: PictureFile) -> str:
    """Return what stands for a picture where it is not seen."""
    return picture.alt or picture.title or picture.file
