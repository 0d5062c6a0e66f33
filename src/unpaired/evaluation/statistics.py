"""What sets of images are compared by: patches, colours and features, gathered in bounded memory.

Those of the target's real images are kept in the user's cache by what they depend on: the files' contents, how they
were prepared, the size, the feature network, the seed and the version. A damaged file is made again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unpaired import __version__
from unpaired.core.cache import Cache, cache_key
from unpaired.evaluation.dataset import FILTER, Batch, Images, Size, Task
from unpaired.evaluation.protocol import Protocol
from unpaired.metrics.colour import Colours, ColourSample
from unpaired.metrics.frechet import Moments
from unpaired.metrics.reservoir import Reservoir
from unpaired.metrics.sliced import Patches

if TYPE_CHECKING:
    from unpaired.metrics.features import Features

ROWS = 10_000
"""At most so many images of a set are compared by kernel distance, precision, recall and for sampling errors."""
PATCHES = 2**15
"""At most so many patches of a set are kept at every level."""
COLOURS = 2**15
"""At most so many pixels of a set are kept."""
FORMAT = 2
STATISTICS = Cache(folder="statistics", suffix=".npz", limit_bytes=2 << 30, checked=True)

_PATCHES, _COLOURS = "", "colours"
"""Parts of statistics that need no network."""
Arrays = dict[str, NDArray[np.generic]]
Progress = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""


@dataclass(slots=True)
class Statistics:
    """What a set of images is compared by; each part is None or missing where no metric asked for it."""

    images: int
    patches: Patches | None = None
    moments: dict[str, Moments] = field(default_factory=dict)
    """Of the features of all images, by network."""
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """A uniform sample of at most `ROWS` of them, [n, D], by network."""
    computed: dict[tuple[str, int], Any] = field(default_factory=dict)
    """What several metrics need of this set and another one, computed once."""
    colours: Colours | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is gathered of every set."""

    patches: bool
    networks: Mapping[str, Features]
    """Feature networks by `features` or `inception`."""
    protocol: Protocol
    colours: bool = False


class Gathering:
    """Statistics in the making: images are added and forgotten, memory is the same for any number of them."""

    def __init__(self, request: Request) -> None:
        protocol = request.protocol
        self.images = 0
        self._patches = (
            Patches(per_image=protocol.patches, seed=protocol.seed, limit=PATCHES) if request.patches else None
        )
        self._colours = ColourSample(protocol.seed, COLOURS) if request.colours else None
        self._moments = {key: Moments(network.dim) for key, network in request.networks.items()}
        self._rows = {key: Reservoir(ROWS, network.dim, protocol.seed) for key, network in request.networks.items()}

    def add(self, images: Tensor, features: Mapping[str, Tensor]) -> None:
        """Add images [N, C, H, W] in [-1, 1] and their features [N, D] by network."""
        self.images += len(images)
        if self._patches is not None:
            self._patches.add(images)
        if self._colours is not None:
            self._colours.add(images)
        for key, moments in self._moments.items():
            moments.add(features[key])
            self._rows[key].add(features[key])

    def statistics(self) -> Statistics:
        """Return what was gathered."""
        rows = {key: reservoir.rows() for key, reservoir in self._rows.items()}
        colours = None if self._colours is None or not self.images else self._colours.colours()
        return Statistics(self.images, self._patches, self._moments, rows, colours=colours)


@dataclass(frozen=True, slots=True)
class Reference:
    """Statistics of the real images, and of two halves of them (every second one), which differ by chance alone."""

    whole: Statistics
    halves: tuple[Statistics, Statistics] | None = None
    reused: bool = False
    """Whether all of it was found in the user's cache."""


def reference_statistics(
    real: Images, size: Size, request: Request, *, cached: bool = True, progress: Progress | None = None
) -> Reference:
    """Return the statistics of the real images, from the cache where they are there; the rest is computed.

    Halves are taken where the protocol asks for bounds and each has at least two images.
    """
    halves = request.protocol.bounds and len(real.positions) >= 4
    own = {_PATCHES: request.patches, _COLOURS: request.colours}
    parts: dict[str, Features | None] = {**{part: None for part, asked in own.items() if asked}, **request.networks}
    keys = {part: _key(real, size, part, network, request, halves) if cached else "" for part, network in parts.items()}
    kept = {part: found for part, key in keys.items() if key and (found := _read(key)) is not None}
    missing = [part for part in parts if part not in kept]
    if missing:
        networks = {part: network for part, network in request.networks.items() if part in missing}
        wanted = replace(request, patches=_PATCHES in missing, colours=_COLOURS in missing, networks=networks)
        fresh = _gather(real, size, wanted, halves, progress)
        for part in missing:
            each = [(f"{number}/{name}", value) for number, one in enumerate(fresh) for name, value in _pack(one, part)]
            kept[part] = dict(each)
            if cached:
                _write(keys[part], kept[part])
    groups = [_unpack(kept, number, len(real.positions)) for number in range(3 if halves else 1)]
    return Reference(groups[0], (groups[1], groups[2]) if halves else None, not missing)


def _gather(real: Images, size: Size, request: Request, halves: bool, progress: Progress | None) -> list[Statistics]:
    groups = [Gathering(request) for _ in range(3 if halves else 1)]
    done = 0
    for images in real.batches(size, request.protocol.batch_size):
        features = {key: network(images) for key, network in request.networks.items()}
        groups[0].add(images, features)
        for half, group in enumerate(groups[1:]):
            chosen = slice((half - done) % 2, None, 2)
            if len(images[chosen]):
                group.add(images[chosen], {key: rows[chosen] for key, rows in features.items()})
        done += len(images)
        if progress is not None:
            progress(done, len(real.positions))
    return [group.statistics() for group in groups]


@final
class Sets:
    """Gathers the statistics of translations and of untranslated inputs beside those of the real images."""

    def __init__(self, task: Task, request: Request, reference: Reference) -> None:
        self._request, self.reference = request, reference
        self._fakes = Gathering(request)
        self._inputs = Gathering(request) if request.protocol.bounds and task.comparable else None
        self._fake: Statistics | None = None

    def add(self, batch: Batch) -> None:
        """Add translations and their inputs, at the size at which sets are compared."""
        for gathering, images in ((self._fakes, batch), (self._inputs, batch.untranslated if self._inputs else None)):
            if gathering is not None and images is not None:
                features = {key: images.features(network) for key, network in self._request.networks.items()}
                gathering.add(images.fake_for_sets, features)

    @property
    def real(self) -> Statistics:
        """The real images."""
        return self.reference.whole

    @property
    def fake(self) -> Statistics:
        """The translations; nothing can be added any more."""
        if self._fake is None:
            self._fake = self._fakes.statistics()
            self._plain = None if self._inputs is None else self._inputs.statistics()
        return self._fake

    def bounds(self) -> dict[str, tuple[Statistics, Statistics]]:
        """Return what else is compared, by name of the bound: real and, in place of translations, other images."""
        found = {}
        if self.fake and self._plain is not None:
            found["untranslated"] = (self.real, self._plain)
        if self.reference.halves is not None:
            found["real_halves"] = self.reference.halves
        return found


# ------------------------------------------------------------------------------------------------------- the cache


def _key(real: Images, size: Size, part: str, network: Features | None, request: Request, halves: bool) -> str:
    depends = {
        "contents": real.contents(),
        "prepared": real.prepared,
        "domain": asdict(real.domain),
        "size": size,
        "sizes": [real.sizes[position] for position in real.positions],
        "filter": FILTER,
        "measured by": {_PATCHES: ["patches", request.protocol.patches], _COLOURS: ["colours", COLOURS]}[part]
        if network is None
        else [network.fingerprint, network.input],
        "limits": [PATCHES, ROWS],
        "seed": request.protocol.seed,
        "halves": halves,
        "format": FORMAT,
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


def _pack(statistics: Statistics, key: str) -> list[tuple[str, Any]]:
    """Return the arrays of one part: of the patches, the colours, or a network's features."""
    if key == _PATCHES:
        assert statistics.patches is not None
        return list(statistics.patches.to_arrays().items())
    if key == _COLOURS:
        assert statistics.colours is not None
        return list(statistics.colours._asdict().items())
    moments = statistics.moments[key].to_arrays()
    return [("rows", statistics.features[key]), *((f"moments_{name}", value) for name, value in moments.items())]


def _unpack(kept: Mapping[str, Arrays], number: int, images: int) -> Statistics:
    """Return the statistics of the whole (0) or of one half (1, 2)."""
    found = Statistics(images if number == 0 else (images + 2 - number) // 2)
    for key, every in kept.items():
        prefix = f"{number}/"
        arrays = {name[len(prefix) :]: value for name, value in every.items() if name.startswith(prefix)}
        if key == _PATCHES:
            found.patches = Patches.from_arrays(arrays)
        elif key == _COLOURS:
            found.colours = Colours(np.asarray(arrays["rows"], np.float32), np.asarray(arrays["images"], np.int64))
        else:
            moments = {name[8:]: value for name, value in arrays.items() if name.startswith("moments_")}
            found.moments[key] = Moments.from_arrays(moments)
            found.features[key] = np.asarray(arrays["rows"], np.float32)
    return found
