"""What some images of a domain show: small copies of them, a few statistics, near duplicates, how alike pairs are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage
from unpaired.data.check import ImageInfo
from unpaired.data.held_out import evenly
from unpaired.data.parallel import for_each
from unpaired.data.reading import Reading
from unpaired.data.transforms import centre_crop, resize
from unpaired.data.values import Image
from unpaired.data.windows import parts_of

Floats = NDArray[np.float32]
MOST_IMAGES, MOST_PIXELS = 1500, 400_000_000
"""Of each part of the data that are decoded for a fingerprint, spread evenly."""
SMALL, EDGES, SEEN = 32, 64, 160
"""Pixels of the copies that are compared for near duplicates, for pairs, and by the feature network."""
STATISTICS = ("brightness", "contrast", "saturation")
REDUCTIONS = (2, 4, 8)
_DETAILED, _DETAIL, _FEATURED, _PAIRED = 24, 512, 48, 60
_ALIKE, _CLOSE = 0.97, 0.04
"""Correlation of two copies, without what all images share, and mean difference in [0, 1], of near duplicates."""
_SHARED = 0.6
"""Correlation of the means of two halves of the images, above which they have something in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Images of one part (A, A for tests, ...) as they were inspected; row i is image `positions[i]`."""

    positions: tuple[int, ...]
    small: Floats
    """[N, 32, 32], grey in [0, 1]."""
    statistics: Floats
    """[N, 3], see `STATISTICS`, of values in [0, 1]."""
    lost: Floats
    """[M, 3]: share of the variance of some images that is lost where they are reduced, see `REDUCTIONS`."""
    colour: bool
    """Whether any of them has colours."""
    seen: Floats
    """[K, 3, 160, 160] in [-1, 1] of some of them, for a feature network."""


def take_sample(
    infos: Sequence[ImageInfo],
    reading: Reading,
    span: tuple[float, float],
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Sample:
    """Decode some images and keep what the fingerprint needs; `span` are the values that become 0 and 1."""
    pixels = float(np.mean([min(info.height * info.width, 512**2 if info.by_windows else 2**62) for info in infos]))
    positions = evenly(len(infos), max(8, min(MOST_IMAGES, int(MOST_PIXELS / pixels))))
    detailed, featured = (set(evenly(len(positions), most)) for most in (_DETAILED, _FEATURED))
    rows: list[tuple[Floats, list[float], list[float] | None, bool, Floats | None] | None] = [None] * len(positions)

    def look(row: int) -> None:
        info = infos[positions[row]]
        try:
            image = _read(info, reading, span)
        except BadImage:  # it has changed since it was checked, which is said when it is trained on
            return
        copy = _unit(resize(image, (EDGES, EDGES)), span)
        grey, spread = copy.mean(2), np.ptp(_colours(copy), axis=2)
        statistics = [float(grey.mean()), float(grey.std()), float(spread.mean())]
        small = grey.reshape(SMALL, EDGES // SMALL, SMALL, EDGES // SMALL).mean((1, 3))
        lost = _lost(_unit(image, span)) if row in detailed else None
        seen = (
            _unit(resize(_colours(image), (SEEN, SEEN)), span).transpose(2, 0, 1) * 2 - 1 if row in featured else None
        )
        rows[row] = small, statistics, lost, bool(spread.max() > 0.02), seen

    for_each(len(positions), look, workers=workers, progress=progress)
    good = [(position, row) for position, row in zip(positions, rows, strict=True) if row is not None]
    found = [row for _, row in good]
    return Sample(
        positions=tuple(position for position, _ in good),
        small=np.array([row[0] for row in found], np.float32),
        statistics=np.array([row[1] for row in found], np.float32),
        lost=np.array([row[2] for row in found if row[2] is not None], np.float32),
        colour=any(row[3] for row in found),
        seen=np.array([row[4] for row in found if row[4] is not None], np.float32),
    )


def _read(info: ImageInfo, reading: Reading, span: tuple[float, float]) -> Image:
    """Return an image, or the middle window of a large one, with the low end where pixels have no value."""
    parts = parts_of(info.path, (info.height, info.width), by_windows=info.by_windows)
    image, valid = reading.read_valid(parts[len(parts) // 2])
    return image if valid is None else np.where(valid[:, :, None], image, np.asarray(span[0], image.dtype))


def _unit(image: Image, span: tuple[float, float]) -> Floats:
    unit = (image.astype(np.float32) - np.float32(span[0])) / np.float32(span[1] - span[0])
    return np.asarray(np.clip(unit, 0, 1), np.float32)


def _colours(image: Image) -> Image:
    return image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)


def _lost(image: Floats) -> list[float]:
    """Return which share of the variance is lost where the middle of an image is reduced and enlarged again."""
    height, width = (min(side, _DETAIL) for side in image.shape[:2])
    grey = np.asarray(centre_crop(image.mean(2, keepdims=True), (height, width)), np.float32)
    losses = []
    for factor in REDUCTIONS:
        reduced = resize(grey, (max(1, height // factor), max(1, width // factor)))
        difference = np.subtract(resize(reduced, (height, width)), grey, dtype=np.float32)
        losses.append(float(np.square(difference).mean() / (grey.var() + 1e-9)))
    return losses


def near_duplicates(one: Sample, other: Sample | None = None) -> int:
    """Return how many images of a sample look the same as one of another; as an earlier one of its own, for None.

    Copies of 32 x 32 pixels are compared, which tells more than a hash of them: their correlation behind the mean of
    all of them (what all scans or portraits have in common makes none alike), and their mean difference.
    """
    second = one if other is None else other
    if not len(one.small) or not len(second.small):
        return 0
    middle = np.concatenate([one.small, second.small]).mean(0)
    first, rows = (_normal(each.small - middle) for each in (one, second))
    count = 0
    for index, row in enumerate(first):
        alike = np.flatnonzero(rows[: index if other is None else None] @ row > _ALIKE)
        count += bool((np.abs(second.small[alike] - one.small[index]).mean((1, 2)) < _CLOSE).any())
    return count


def orientation(sample: Sample) -> float:
    """Return by how much the mean of half of the images is more like that of the other half than like itself flipped.

    Correlations are compared, so it is from 0 (left and right are alike, or images have nothing in common) to 2.
    """
    one, two = (_normal(sample.small[start::2].mean(0)[None])[0] for start in (0, 1))
    flipped = two.reshape(SMALL, SMALL)[:, ::-1].ravel()
    return max(0.0, float(one @ two - one @ flipped)) if len(sample.small) >= 16 and one @ two > _SHARED else 0.0


def alignment(
    a: Sequence[ImageInfo], b: Sequence[ImageInfo], readings: Sequence[Reading], spans: Sequence[tuple[float, float]]
) -> float:
    """Return how often the edges of A's image i are most like those of B's image i, among up to 60 images of B.

    By chance that is 1 of 60. Edges, since the two images of a pair need not agree in brightness or colour.
    """
    chosen = evenly(min(len(a), len(b)), _PAIRED)
    maps = []
    for infos, reading, span in zip((a, b), readings, spans, strict=True):
        edges = np.zeros((len(chosen), EDGES, EDGES), np.float32)

        for row, index in enumerate(chosen):
            copy = _unit(resize(_read(infos[index], reading, span), (EDGES, EDGES)), span)
            edges[row] = np.sqrt(np.hypot(*np.gradient(copy.mean(2))))
        maps.append(_normal(edges - edges.mean(0)))
    return float(((maps[0] @ maps[1].T).argmax(1) == np.arange(len(chosen))).mean())


def _normal(rows: Floats) -> Floats:
    flat = rows.reshape(len(rows), -1)
    flat = flat - flat.mean(1, keepdims=True)
    return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3), np.float32)
