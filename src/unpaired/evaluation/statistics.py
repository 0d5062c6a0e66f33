"""What sets of images are compared by: patches and features, gathered in bounded memory.

Those of the target's real images are kept in the user's cache by what they depend on: the files' contents, how they
were prepared, the size, the feature network, the seed and the version. A kept file that is damaged is made again.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unpaired import __version__
from unpaired.core.cache import Cache, cache_key
from unpaired.evaluation.dataset import FILTER, Pictures
from unpaired.evaluation.translations import Told, image_batches
from unpaired.metrics.frechet import Moments
from unpaired.metrics.reservoir import Kept
from unpaired.metrics.sliced import Patches

if TYPE_CHECKING:
    from unpaired.metrics.features import Features

ROWS = 10_000
"""At most so many images of a set are compared by kernel distance, precision, recall and for sampling errors."""
PATCHES = 2**15
"""At most so many patches of a set are kept at every level."""
STATISTICS = Cache(folder="statistics", suffix=".npz", limit_bytes=2 << 30, checked=True)

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Lens:
    """A feature network through which sets of images are compared."""

    key: str
    """`inception` or `features`."""
    features: Features


@dataclass(frozen=True, slots=True)
class Seen:
    """The features of a set of images through one lens."""

    moments: Moments
    """Of all images."""
    rows: NDArray[np.float32]
    """A uniform sample of at most `ROWS` of them."""


@dataclass(slots=True)
class Statistics:
    """What a set of images is compared by; each part is None or missing where it was not asked for."""

    images: int
    patches: Patches | None
    seen: dict[str, Seen]
    """By the key of the lens."""
    reused: bool = False
    """Whether all of it was found in the cache."""


class Gathering:
    """Statistics in the making: images are added and forgotten, memory is the same for any number of them."""

    def __init__(self, *, sliced: bool, lenses: Sequence[Lens], seed: int) -> None:
        self.images = 0
        self._patches = Patches(seed=seed, limit=PATCHES) if sliced else None
        self._moments = {lens.key: Moments(lens.features.dim) for lens in lenses}
        self._kept = {lens.key: Kept(ROWS, lens.features.dim, seed) for lens in lenses}

    def add(self, images: Tensor, features: Mapping[str, Tensor]) -> None:
        """Add images [N, C, H, W] in [-1, 1] and their features [N, D] by the key of the lens."""
        self.images += len(images)
        if self._patches is not None:
            self._patches.add(images)
        for key, moments in self._moments.items():
            moments.add(features[key])
            self._kept[key].add(features[key])

    def statistics(self) -> Statistics:
        """Return what was gathered."""
        seen = {key: Seen(moments, self._kept[key].rows()) for key, moments in self._moments.items()}
        return Statistics(self.images, self._patches, seen)


def through(lenses: Iterable[Lens], images: Tensor) -> dict[str, Tensor]:
    """Return the features of images [N, C, H, W] by the key of the lens."""
    return {lens.key: lens.features(images) for lens in lenses}


@dataclass(frozen=True, slots=True)
class Reference:
    """Statistics of the real images, and of two halves of them (every second one), which differ by chance alone."""

    whole: Statistics
    halves: tuple[Statistics, Statistics] | None


def reference_statistics(
    real: Pictures,
    size: tuple[int, int],
    *,
    sliced: bool,
    lenses: Sequence[Lens],
    seed: int,
    halves: bool,
    batch_size: int,
    told: Told | None = None,
) -> Reference:
    """Return the statistics of the real images, from the cache where they are there; what is missing is made and kept.

    Halves are taken where `halves` asks for it and each has at least two images.
    """
    halves = halves and len(real.positions) >= 4
    parts: list[Lens | None] = [*([None] if sliced else []), *lenses]
    keys = {part: _key(real, size, part, seed, halves) for part in parts}
    kept = {part: found for part, key in keys.items() if (found := _read(key)) is not None}
    missing = [part for part in parts if part not in kept]
    fresh = _gather(real, size, missing, seed, halves, batch_size, told) if missing else []
    for part in missing:
        arrays = {f"{number}/{name}": value for number, one in enumerate(fresh) for name, value in _pack(one, part)}
        _write(keys[part], arrays)
        kept[part] = arrays
    groups = [_unpack(kept, number, len(real.positions)) for number in range(3 if halves else 1)]
    for group in groups:
        group.reused = not missing
    return Reference(groups[0], (groups[1], groups[2]) if halves else None)


def _gather(
    real: Pictures,
    size: tuple[int, int],
    parts: Sequence[Lens | None],
    seed: int,
    halves: bool,
    batch_size: int,
    told: Told | None,
) -> list[Statistics]:
    lenses = [part for part in parts if part is not None]
    groups = [Gathering(sliced=None in parts, lenses=lenses, seed=seed) for _ in range(3 if halves else 1)]
    done = 0
    for images in image_batches(real, size, batch_size):
        features = through(lenses, images)
        groups[0].add(images, features)
        for half, group in enumerate(groups[1:]):
            chosen = slice((half - done) % 2, None, 2)
            if len(images[chosen]):
                group.add(images[chosen], {key: rows[chosen] for key, rows in features.items()})
        done += len(images)
        if told is not None:
            told(done, len(real.positions))
    return [group.statistics() for group in groups]


# ------------------------------------------------------------------------------------------------------- the cache


def _key(real: Pictures, size: tuple[int, int], part: Lens | None, seed: int, halves: bool) -> str:
    depends = {
        "contents": real.contents(),
        "prepared": real.prepared,
        "domain": asdict(real.domain),
        "size": size,
        "sizes": [real.sizes[position] for position in real.positions],
        "filter": FILTER,
        "measured by": "patches" if part is None else [part.features.fingerprint, part.features.input],
        "limits": [PATCHES, ROWS],
        "seed": seed,
        "halves": halves,
        "version": __version__,
    }
    return cache_key(depends)


def _read(key: str) -> Arrays | None:
    """Return what is kept; None where there is nothing, or where it is damaged."""
    path = STATISTICS.find(key)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _write(key: str, arrays: Arrays) -> None:
    """Keep statistics; where the disk is full or the folder cannot be written, they are made again next time."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    STATISTICS.put(key, stream.getvalue())


def _pack(statistics: Statistics, part: Lens | None) -> list[tuple[str, Any]]:
    """Return the arrays of one part."""
    if part is None:
        assert statistics.patches is not None
        return list(statistics.patches.to_arrays().items())
    seen = statistics.seen[part.key]
    return [("rows", seen.rows), *((f"moments_{name}", value) for name, value in seen.moments.to_arrays().items())]


def _unpack(kept: Mapping[Lens | None, Arrays], number: int, images: int) -> Statistics:
    """Return the statistics of the whole (0) or of one half (1, 2)."""
    patches, seen = None, {}
    count = images if number == 0 else (images + 2 - number) // 2
    for part, every in kept.items():
        prefix = f"{number}/"
        arrays = {name[len(prefix) :]: value for name, value in every.items() if name.startswith(prefix)}
        if part is None:
            patches = Patches.from_arrays(arrays)
        else:
            moments = {name[8:]: value for name, value in arrays.items() if name.startswith("moments_")}
            seen[part.key] = Seen(Moments.from_arrays(moments), np.asarray(arrays["rows"], np.float32))
    return Statistics(count, patches, seen)
