"""The fingerprint: facts of two domains and the machine, on which the rules of a plan decide."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.core.memory import free_memory
from unpaired.data.check import ImageInfo, check_images
from unpaired.data.config import DataConfig
from unpaired.data.describe import LikelyLabels, NarrowRange, find_in_values
from unpaired.data.directions import Side
from unpaired.data.folders import Folders, find_folders, list_files
from unpaired.data.formats import Frame, use_readers
from unpaired.data.group_rule import PLACE
from unpaired.data.groups import groups_of
from unpaired.data.label_search import settled_labels
from unpaired.data.parallel import num_threads
from unpaired.data.reading import ImageFile, Reading, half_of
from unpaired.data.streamed import list_streams
from unpaired.data.training import SIDES, Part
from unpaired.data.values import DTYPE_RANGES
from unpaired.data.windows import at_level, large_of
from unpaired.metrics import features
from unpaired.metrics.kernel import kernel_distance
from unpaired.plan.sample import STATISTICS, Sample, alignment, near_duplicates, orientation, take_sample

Progress = Callable[[str, int, int], None]
OUTSIDE = ("brightness", "saturation", "contrast", "height", "aspect")
ALIGNED = 0.5
"""How often an image must find its partner among 60 for A and B to be pairs; by chance it is 0.02."""
_GROUPS, _IDENTIFIERS = 3, 0.8


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class DomainFacts(_Facts):
    """What is known of the images of one domain, those for tests included where nothing else is said."""

    title: str
    """Its name, or its letter."""
    images: int
    """For training."""
    test_images: int
    unusable: int
    """Files that cannot be read."""
    height: int
    """Median."""
    width: int
    shortest: int
    """The shortest side of all images."""
    sizes: int
    """How many different sizes there are."""
    aspect: float
    """Median of width / height."""
    aspect_spread: float
    """The 95th by the 5th percentile of width / height."""
    channels: dict[int, int]
    """Channels -> images."""
    dtypes: dict[str, int]
    low: float | None
    """The smallest value; None for 8-bit images."""
    high: float | None
    suggested_range: tuple[float, float] | None
    """Values to become -1 and 1, where those of the type would waste contrast or are unknown."""
    unit: str
    spacing_unit: str
    """Of the distance of pixels: `mm`, `um`, `m`, or empty."""
    missing: float
    """Share of the pixels without a value."""
    large: bool
    """Whether some images are read by windows."""
    labels: tuple[int, ...]
    """Class indices, where the images look like label maps."""
    void: tuple[int, ...]
    declared_labels: bool
    grey: bool
    """Whether no image has colours, also where files have three channels."""
    statistics: dict[str, tuple[float, float]]
    """Mean and standard deviation over images of brightness, contrast, saturation, of values in [0, 1]."""
    lost: tuple[float, ...]
    """Share of the variance that is lost where images are reduced to 1/2, 1/4, 1/8 (median)."""
    orientation: float
    """How clearly left and right differ in all images alike, see `sample.orientation`."""
    groups: int
    """Groups that files or folders name (patients, slides, clips); 0 where none are known."""
    duplicates: int
    """Training images that are the same, or nearly the same, as an earlier one."""
    in_test: int
    """Test images that are (nearly) among the training images of this domain."""


class Outside(_Facts):
    """A property that a part of one domain has and the other domain never."""

    property: str
    side: Side
    share: float
    """Of the domain's images."""
    more: bool
    """Whether it lies above all of the other domain, or below."""


class Fingerprint(_Facts):
    """Facts of a data set and a machine."""

    title: str
    a: DomainFacts
    b: DomainFacts
    side_by_side: Literal["ab", "ba"] | None
    """Whether every file holds both domains, as it was given or found."""
    pairs: Literal["name", "position", "file"] | None
    """By what images of A and B may belong together."""
    alignment: float | None
    """How often the image of B that belongs to one of A is the most alike of 60; see `sample.alignment`."""
    group_rule: str | None
    """A pattern of paths that tells groups, found in the names of the files."""
    shared_groups: int
    """Groups of which there are training and test images."""
    overlap: int
    """Images of A that are (nearly) in B."""
    distance: tuple[float, float] | None
    """Kernel distance of features between A and B, and between the halves of A; None without the extra `features`."""
    outside: tuple[Outside, ...]
    device: str
    cores: int
    memory: int
    """Bytes that are free."""
    accelerator: str
    """Name of the GPU; empty for the CPU."""

    def side(self, side: Side) -> DomainFacts:
        """Return the facts of one domain."""
        return self.a if side == "a" else self.b

    @property
    def domains(self) -> dict[Side, DomainFacts]:
        """The facts of both domains."""
        return {"a": self.a, "b": self.b}


def take_fingerprint(data: DataConfig, *, device: str = "auto", progress: Progress | None = None) -> Fingerprint:
    """Check all images (which is remembered), look at some, and return what they and the machine are.

    Raises `UserError` where there are no two domains. Unusable files are counted, not refused.
    """
    use_readers(data.readers, "data.readers")
    folders, data = _find(data)
    list_streams(folders, data, progress)
    places = {
        Part(False, "a"): folders.train_a,
        Part(False, "b"): folders.train_b,
        Part(True, "a"): folders.test_a,
        Part(True, "b"): folders.test_b,
    }
    listed = {
        part: at_level(
            list_files(place, data.channels(part.side), data.axis_number, data.neighbours, data.every), data.level
        )
        for part, place in places.items()
        if place is not None
    }
    readings = {side: _reading(side, listed, data) for side in SIDES}
    files, unusable = dict[Part, list[ImageInfo]](), Counter[Side]()
    for part, found in listed.items():
        reading = readings[part.side]
        large = large_of(replace(data, preprocess="crop", load_size=None), reading)
        checked = check_images(
            found,
            reading=reading,
            max_pixels=data.max_pixels,
            value_range=(0.0, 1.0),  # nothing is refused for its values
            large=large,
            workers=data.workers,
            progress=_report(progress, f"checking {part.title(data)}"),
        )
        files[part], unusable[part.side] = checked.good, unusable[part.side] + len(checked.bad)
        if not checked.good:
            raise UserError(f"no image of {part.title(data)} can be used; the first: {checked.bad[0]}.")
    return _facts(data, files, readings, unusable, device, progress)


def _report(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def _find(data: DataConfig) -> tuple[Folders, DataConfig]:
    """Return the folders; where no layout fits and files are about twice as wide as high, both domains are in each."""
    try:
        return find_folders(data), data
    except UserError:
        if data.root is None or data.side_by_side is not None:
            raise
        beside = replace(data, side_by_side="ab")
        try:
            folders = find_folders(beside)
            assert isinstance(folders.train_a, Path)
            some = check_images(list_files(folders.train_a)[:20], value_range=(0.0, 1.0)).good
        except UserError:
            some = []
        if not some or not all(info.width % 2 == 0 and 1.6 <= info.width / info.height <= 2.5 for info in some):
            raise
        return folders, beside


def _reading(side: Side, listed: Mapping[Part, Sequence[ImageFile]], data: DataConfig) -> Reading:
    half, asked = half_of(side, data.side_by_side), data.labels(side)
    if asked is None:
        return Reading(half=half, channels=data.channels(side))
    files = [file for part, found in listed.items() if part.side == side for file in found]
    labels = settled_labels(side, asked, files, half, max_pixels=data.max_pixels, workers=data.workers, progress=None)
    return Reading(half=half, labels=labels)


def _facts(
    data: DataConfig,
    files: Mapping[Part, list[ImageInfo]],
    readings: Mapping[Side, Reading],
    unusable: Mapping[Side, int],
    device: str,
    progress: Progress | None,
) -> Fingerprint:
    spans = {side: _span(side, files, readings[side], data) for side in SIDES}
    samples = {
        part: take_sample(
            infos,
            readings[part.side],
            spans[part.side],
            workers=data.workers,
            progress=_report(progress, f"looking at {part.title(data)}"),
        )
        for part, infos in files.items()
    }
    train = {side: files[Part(False, side)] for side in SIDES}
    pairs, pair_a, pair_b = _pairs(data, train["a"], train["b"])
    aligned = None
    if pairs is not None and len(pair_a) >= 4:
        aligned = alignment(pair_a, pair_b, [readings[side] for side in SIDES], [spans[side] for side in SIDES])
    every = [info for found in files.values() for info in found]
    near = {} if (aligned or 0) >= ALIGNED else samples  # the images of a pair may look alike
    rule = data.group or find_group_rule(every)
    named = {part: {group.name for group in groups_of(found, rule) if group.name} for part, found in files.items()}
    sets = {test: {name for part, names in named.items() if part.test == test for name in names} for test in (0, 1)}
    where = find_device(device)
    domains = {
        side: _domain(side, files, readings[side], data, samples, unusable[side], len(named[Part(False, side)]))
        for side in SIDES
    }
    return Fingerprint(
        title=str(data.root or f"{data.a or data.source_a} and {data.b or data.source_b}"),
        a=domains["a"],
        b=domains["b"],
        side_by_side=data.side_by_side,
        pairs=pairs,
        alignment=aligned,
        group_rule=rule,
        shared_groups=len(sets[0] & sets[1]),
        overlap=0 if data.side_by_side else _common(Part(False, "a"), Part(False, "b"), files, near),
        distance=_distance(samples[Part(False, "a")], samples[Part(False, "b")]),
        outside=() if data.side_by_side else _outside(train, samples),
        device=where.type,
        cores=num_threads(0),
        memory=torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else free_memory(),
        accelerator=torch.cuda.get_device_name(where) if where.type == "cuda" else "",
    )


def _domain(
    side: Side,
    files: Mapping[Part, list[ImageInfo]],
    reading: Reading,
    data: DataConfig,
    samples: Mapping[Part, Sample],
    unusable: int,
    groups: int,
) -> DomainFacts:
    train, test = files[Part(False, side)], files.get(Part(True, side), [])
    infos, sample = [*train, *test], samples[Part(False, side)]
    heights, widths = np.array([(info.height, info.width) for info in infos]).T
    aspects = widths / heights
    values = find_in_values(side, infos, reading, data.max_pixels) if reading.labels is None else ()
    narrow = next((each for each in values if isinstance(each, NarrowRange)), None)
    maps = next((each for each in values if isinstance(each, LikelyLabels)), None)
    ends = [(info.low, info.high) for info in infos if info.low is not None and info.high is not None]
    units = {info.meaning.unit for info in infos}
    low, high = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (None, None)
    suggested = narrow.suggested if narrow else None
    usual = DTYPE_RANGES.get(infos[0].dtype)
    if (
        low is not None
        and high is not None
        and suggested is None
        and (usual is None or low < usual[0] or high > usual[1])
    ):
        suggested = low, max(high, low + 1)
    return DomainFacts(
        title=data.title(side),
        images=len(train),
        test_images=len(test),
        unusable=unusable,
        height=int(np.median(heights)),
        width=int(np.median(widths)),
        shortest=int(min(heights.min(), widths.min())),
        sizes=len({(info.height, info.width) for info in infos}),
        aspect=float(np.median(aspects)),
        aspect_spread=float(np.percentile(aspects, 95) / np.percentile(aspects, 5)),
        channels=dict(Counter(info.channels for info in infos)),
        dtypes=dict(Counter(info.dtype for info in infos)),
        low=low,
        high=high,
        suggested_range=suggested,
        unit=data.unit(side) or (units.pop() if len(units) == 1 else ""),
        spacing_unit=infos[0].meaning.spacing_unit,
        missing=float(np.mean([info.missing for info in infos])),
        large=any(info.by_windows for info in infos),
        labels=maps.classes if maps else (),
        void=maps.void if maps else (),
        declared_labels=reading.labels is not None,
        grey=not sample.colour,
        statistics={
            name: (float(column.mean()), float(column.std()))
            for name, column in zip(STATISTICS, sample.statistics.T, strict=True)
        },
        lost=tuple(float(one) for one in np.median(sample.lost, axis=0)),
        orientation=orientation(sample),
        groups=groups,
        duplicates=max(len(train) - len({info.digest for info in train}), near_duplicates(sample)),
        in_test=_common(Part(True, side), Part(False, side), files, samples),
    )


def _span(side: Side, files: Mapping[Part, list[ImageInfo]], reading: Reading, data: DataConfig) -> tuple[float, float]:
    """Return the values that are shown as 0 and 1: the declared ones, else what the images use."""
    declared = data.value_range(side)
    if declared is not None:
        return declared
    infos = [info for part, found in files.items() if part.side == side for info in found]
    if reading.labels is not None or all(info.dtype == "uint8" for info in infos):
        classes = 0 if reading.labels is None else len(reading.labels.palette) - 1
        return 0.0, float(classes or 255)
    low = min((info.low for info in infos if info.low is not None), default=0.0)
    high = max((info.high for info in infos if info.high is not None), default=1.0)
    return low, max(high, low + 1e-6)


def _common(one: Part, other: Part, files: Mapping[Part, list[ImageInfo]], samples: Mapping[Part, Sample]) -> int:
    if one not in files or other not in files:
        return 0
    digests = {info.digest for info in files[other]}
    same = sum(info.digest in digests for info in files[one])
    return max(same, near_duplicates(samples[one], samples[other]) if samples else 0)


def _pairs(
    data: DataConfig, a: list[ImageInfo], b: list[ImageInfo]
) -> tuple[Literal["name", "position", "file"] | None, list[ImageInfo], list[ImageInfo]]:
    """Return by what images may belong together, and those that do, in one order."""
    if data.side_by_side is not None:
        return "file", a, b
    names = [{_stem(info): info for info in infos} for infos in (a, b)]
    both = [name for name in names[0] if name in names[1]]
    if len(both) == len(a) == len(b):
        return "name", [names[0][name] for name in both], [names[1][name] for name in both]
    return ("position", a, b) if len(a) == len(b) else (None, [], [])


def _path(info: ImageInfo) -> Path:
    return Path(os.fspath(info.path.path if isinstance(info.path, Frame) else info.path))


def _stem(info: ImageInfo) -> str:
    number = f"#{info.path.index}" if isinstance(info.path, Frame) else ""
    return f"{_path(info).stem}{number}"


def find_group_rule(infos: Sequence[ImageInfo]) -> str | None:
    """Return a pattern for `data.group` that the paths suggest: `patient012_slice003` is "{group}_*"; None for none.

    A group is named by something with a digit (`patient012`, not `cat`), there are at least three of them, most with
    several images, and none holds more than two thirds of all. What files say themselves needs no pattern.
    """
    if any(info.meaning.group not in ("", os.fspath(_path(info)), _path(info).name) for info in infos):
        return None
    paths = [_path(info) for info in infos]
    stems = [path.stem for path in paths]
    candidates = {f"{PLACE}{mark}*": [stem.partition(mark)[::2] for stem in stems] for mark in "_-"}
    for mark in "_-":
        heads = {stem.partition(mark)[0] for stem in stems}
        if len(heads) == 1:  # scan_012_003
            rests = [stem.partition(mark)[2].partition(mark)[::2] for stem in stems]
            candidates[f"{heads.pop()}{mark}{PLACE}{mark}*"] = rests
    candidates[f"{PLACE}/*"] = [(path.parent.name, path.stem) for path in paths]
    for rule, split in candidates.items():
        counts = Counter(group for group, _ in split)
        identified = sum(bool(re.search(r"\d", group)) for group in counts) >= _IDENTIFIERS * len(counts)
        numbered = all(group and rest for group, rest in split) and any(re.search(r"\d", rest) for _, rest in split)
        several = len(split) >= 2 * len(counts) and max(counts.values()) <= 2 / 3 * len(split)
        if len(counts) >= _GROUPS and identified and numbered and several:
            return rule
    return None


def _distance(a: Sample, b: Sample) -> tuple[float, float] | None:
    if not features.has_lite0() or min(len(a.seen), len(b.seen)) < 4:
        return None
    network = features.open_features("lite0")
    rows = [network(torch.from_numpy(sample.seen)).numpy() for sample in (a, b)]
    return kernel_distance(*rows).value, kernel_distance(rows[0][::2], rows[0][1::2]).value


def _outside(train: Mapping[Side, list[ImageInfo]], samples: Mapping[Part, Sample]) -> tuple[Outside, ...]:
    """Return which properties a part of one domain has that no image of the other has."""
    columns: dict[str, dict[Side, np.ndarray]] = {}
    for side in SIDES:
        sample = samples[Part(False, side)]
        for name, column in zip(STATISTICS, sample.statistics.T, strict=True):
            columns.setdefault(name, {})[side] = column
        columns.setdefault("height", {})[side] = np.log([info.height for info in train[side]])
        columns.setdefault("aspect", {})[side] = np.log([info.width / info.height for info in train[side]])
    found = []
    for name in OUTSIDE:
        for side, other in (SIDES, SIDES[::-1]):
            mine, theirs = columns[name][side], columns[name][other]
            margin = 0.25 * float(np.ptp(theirs)) + 0.03
            for more in (True, False):
                beyond = mine > theirs.max() + margin if more else mine < theirs.min() - margin
                if beyond.mean() >= 0.1 and beyond.sum() > 1:
                    found.append(Outside(property=name, side=side, share=float(beyond.mean()), more=more))
    return tuple(found)
