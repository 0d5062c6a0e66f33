"""The pictures of a report: read, reduced to a size that a page can carry, and bounded in number and bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.report.embedding import Image, embedded, encode, split_grid
from unpaired.report.runs import Run

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
    parts: dict[Path, list[Image]] = {}
    left_out: list[Path] = []
    unreadable: list[Path] = []
    used = count = 0
    for path, is_grid in dict.fromkeys(_files(runs)):
        if path in parts:
            continue
        encoded = _encoded(path, is_grid=is_grid)
        size = sum(map(len, encoded))
        if not encoded:
            unreadable.append(path)
        elif used + size > MOST_BYTES or count + len(encoded) > MOST_PICTURES:
            left_out.append(path)
        else:
            used, count = used + size, count + len(encoded)
            parts[path] = [embedded(content) for content in encoded]
    return Album(parts, left_out, unreadable)


def _files(runs: Sequence[Run]) -> Iterable[tuple[Path, bool]]:
    yield from ((run.grids[-1][1], True) for run in runs if run.grids)
    for run in runs:
        for measured in (*run.evaluations[::-1], *run.audits[::-1]):
            yield from ((path, False) for each in measured.document.pictures if (path := measured.picture(each)))
    for run in runs:
        yield from ((path, True) for _, path in chosen_grids(run, len(runs)))


def _encoded(path: Path, *, is_grid: bool) -> list[bytes]:
    """Return a file's pictures as they are embedded, none where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)  # the limit here is our own
            with PillowImage.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    return []
                pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return []
    found = [encode(part, WIDEST_GRID) for part in split_grid(pixels)] if is_grid else [encode(pixels, WIDEST)]
    return [content for _, content in found]
