"""What the images of a domain are, as far as the settings leave it open, and what a person should know about them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import listing, number, percent, plural, printable, small_percent
from unpaired.data.bad_image import BadImage
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.directions import Side
from unpaired.data.formats import Frame
from unpaired.data.formats.meaning import ANIMATED, BANDS, CHANNELS_FIRST, CONVERTED, HDR, PARTS, Remark
from unpaired.data.ranges import CT
from unpaired.data.reading import Reading
from unpaired.data.values import DTYPE_RANGES, Domain
from unpaired.data.windows import parts_of

NARROW = 0.3
"""Share of the range of their type up to which values are taken to have another range: 14 bits in 16 are a quarter."""
_SAMPLES, _SAMPLED_PIXELS = 8, 1 << 24
_MOST_CLASSES, _MOST_INDEX, _FLAT = 64, 200, 0.85
_VOID = (255, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowRange:
    """The values of a domain fill a small share of what their type can hold, so networks see little contrast."""

    side: Side
    dtype: str
    low: float
    """The smallest value found."""
    high: float
    share: float
    """The share of the type's range that lies between the two."""
    suggested: tuple[float, float]
    """A range to declare."""

    def in_words(self, title: str) -> str:
        """Return it with the setting to copy."""
        values = ",".join(f"{value:.6g}" for value in self.suggested)
        return (
            f"{title}: all values lie from {number(self.low)} to {number(self.high)}, {percent(self.share)} of what "
            f"{self.dtype} can hold, so networks see almost no contrast; declare what becomes -1 and 1: "
            f"--set data.range_{self.side}=[{values}]"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyLabels:
    """The grey images of a domain look like maps of class indices, which are read as nearly black pictures."""

    side: Side
    classes: tuple[int, ...]
    """The values found."""
    void: tuple[int, ...]
    """The value that is probably no class, if there is one."""

    def in_words(self, title: str) -> str:
        """Return it with the settings to copy."""
        more = ["..."] if len(self.classes) > 6 else []
        values = listing([*map(str, self.classes[:6]), *more, *map(str, self.void)])
        void = f" --set data.labels_{self.side}.void=[{self.void[0]}]" if self.void else ""
        return (
            f"{title}: the images hold few values in flat areas ({values}), as class indices do, and are read as grey "
            f"pictures; if they are label maps, declare it: --set data.labels_{self.side}.kind=index{void}"
        )


Finding = NarrowRange | LikelyLabels


def describe_domain(
    side: Side, infos: Sequence[ImageInfo], reading: Reading, config: DataConfig
) -> tuple[Domain, list[str], tuple[Finding, ...]]:
    """Return what a domain is, by all its images (those for tests included), and what a person should know."""
    title, name = config.title(side), config.name_a if side == "a" else config.name_b
    if reading.labels is not None:
        axis = config.axis_number
        domain = Domain(channels=reading.labels.channels, labels=reading.labels, name=name, axis=axis)
        return domain, _of_labels(side, reading, config), ()
    declared, notices = config.value_range(side), [f"{title}: {text}" for text in remarks(side, infos)]
    counts = Counter(info.channels for info in infos)
    channels = config.channels(side) or _channels(side, infos, counts, config)
    if channels == 3 and counts[1]:
        notices.append(f"{title} has {plural(counts[1], 'grey image')} of {len(infos):,}; RGB is made of them")
    if channels == 1 and counts[3]:
        notices.append(f"{title} has {plural(counts[3], 'colour image')} of {len(infos):,}; they become grey")
    dtypes = Counter(info.dtype for info in infos)
    if len(dtypes) > 1:
        kinds = ", ".join(f"{count} of {dtype}" for dtype, count in dtypes.most_common())
        notices.append(f"{title} mixes types of values ({kinds}); each is mapped to [-1, 1] by its own range")
    low, high = declared or (-math.inf, math.inf)
    ends = [(info.low, info.high) for info in infos if info.low is not None and info.high is not None]
    clipped = sum(first < low or last > high for first, last in ends)
    if clipped and declared is not None:
        span = f"{number(declared[0])} to {number(declared[1])}"
        notices.append(
            f"{title} has {plural(clipped, 'image')} with values outside the declared range, {span}; they are clipped"
        )
    findings = () if declared is not None else find_in_values(side, infos, reading, config.max_pixels)
    gaps = [info.missing for info in infos if info.missing]
    if gaps:
        notices.append(_of_gaps(title, gaps, len(infos)))
        declared = declared or range_with_gaps(title, dtypes)
    notices += [finding.in_words(title) for finding in findings]
    alpha = reading.alpha and channels in (2, 4)
    units = {info.meaning.unit for info in infos}
    unit = config.unit(side) or (units.pop() if len(units) == 1 else "")
    domain = Domain(channels=channels, dtype=_widest(set(dtypes)), range=declared, name=name, alpha=alpha, unit=unit)
    axis, neighbours = config.axis_number, config.neighbours
    domain = replace(domain, axis=axis, neighbours=neighbours, spacing=median_spacing(infos, axis))
    return domain, notices, findings


def remarks(side: Side | None, infos: Sequence[ImageInfo]) -> list[str]:
    """Return what reading did with the images of a domain that a person may not expect, in words."""
    counts, texts = Counter(remark for info in infos for remark in info.meaning.remarks), list[str]()
    times = Counter(info.path.path for info in infos if isinstance(info.path, Frame))
    frames = [path for path, count in times.items() if count > 1 for _ in range(count)]
    if frames:
        holding = f"{plural(len(set(frames)), 'file')} that hold{'s' if len(set(frames)) == 1 else ''} several"
        texts.append(f"{plural(len(frames), 'image')} of {len(infos):,} from {holding}: volumes, stacks, animations")
    if count := counts[BANDS]:
        colours = option(f"data.channels_{side or 'a'}", 3)
        texts.append(
            f"{plural(count, 'GeoTIFF file')} whose last band is marked as alpha, read as a band; {colours} takes it "
            "for a mask"
        )
    return [*texts, *remarked(counts)]


def remarked(counts: Mapping[Remark, int]) -> list[str]:
    """Return in words what reading did with single files that a person may not expect, by how many."""
    texts = list[str]()
    if count := counts.get(CONVERTED):
        texts.append(f"{plural(count, 'image')} with another colour profile than sRGB, converted to sRGB")
    if count := counts.get(ANIMATED):
        texts.append(f"{plural(count, 'PNG file')} with several images, of which the first is taken; .apng takes all")
    if count := counts.get(CHANNELS_FIRST):
        texts.append(f"{plural(count, 'array')} with the channels first, by the shape")
    if count := counts.get(PARTS):
        texts.append(f"{plural(count, 'image')} of files that also hold series or scenes of other sizes, left out")
    if count := counts.get(HDR):
        texts.append(f"{plural(count, 'image')} of HDR clips (PQ or HLG), as they are coded, without tone mapping")
    return texts


def median_spacing(infos: Sequence[ImageInfo], axis: int) -> tuple[float, ...]:
    """Return the median spacing of images, down and across, then between them, in millimetres; empty if unknown."""
    known = [spacing for info in infos if (spacing := info.meaning.millimetres(axis))]
    if len({len(spacing) for spacing in known}) != 1:
        return ()
    return tuple(float(one) for one in np.median(known, axis=0))


def _of_gaps(title: str, gaps: Sequence[float], images: int) -> str:
    return (
        f"{title}: {small_percent(sum(gaps) / images)} of the pixels have no value (NaN, nodata or masks), in "
        f"{plural(len(gaps), 'image')} of {images:,}; networks see the low end of the range there, and losses and "
        "errors leave them out"
    )


def range_with_gaps(called: str, dtypes: Collection[str]) -> tuple[float, float]:
    """Return the range by type, which images with gaps, float32 in memory, do not show any more.

    Raises `UserError` for images of several types; `called` is where they are.
    """
    if len(dtypes) > 1 or next(iter(dtypes)) not in DTYPE_RANGES:
        raise UserError(
            f"{called}: images of {' and '.join(sorted(dtypes))} have pixels without a value (NaN, nodata or masks), "
            f"so the values that become -1 and 1 must be declared ({option('data.range_a')}, {option('data.range_b')})."
        )
    return DTYPE_RANGES[next(iter(dtypes))]


def find_in_values(side: Side, infos: Sequence[ImageInfo], reading: Reading, max_pixels: int) -> tuple[Finding, ...]:
    """Return what is odd about the values of a domain of pictures without a declared range; a few files are decoded."""
    dtypes = {info.dtype for info in infos}
    if len(dtypes) > 1 or not dtypes <= set(DTYPE_RANGES):
        return ()
    dtype, samples = dtypes.pop(), _sampled(infos, reading, max_pixels)
    if not samples:
        return ()
    if dtype != "float32" and all(image.shape[2] == 1 for image in samples):
        values = np.unique(np.concatenate([np.unique(image) for image in samples])).tolist()
        void = tuple(value for value in values if value in _VOID)
        classes = tuple(value for value in values if value not in void)
        few = 2 <= len(classes) <= _MOST_CLASSES and classes[0] >= 0
        if few and classes[-1] < (_MOST_CLASSES if void else _MOST_INDEX) and _flat_share(samples) >= _FLAT:
            return (LikelyLabels(side=side, classes=classes, void=void),)
    lows = [info.low for info in infos if info.low is not None] or [float(image.min()) for image in samples]
    highs = [info.high for info in infos if info.high is not None] or [float(image.max()) for image in samples]
    low, high, ends = min(lows), max(highs), DTYPE_RANGES[dtype]
    share = (high - low) / (ends[1] - ends[0])
    if not 0 < share <= NARROW:
        return ()
    suggested = low, high
    if 0 <= low < high / 2:  # a number of bits
        suggested = 0.0, high if dtype == "float32" else 2.0 ** math.ceil(math.log2(high + 1)) - 1
    if {info.meaning.unit for info in infos} == {"HU"} and CT[0] <= low and high <= CT[1]:
        suggested = CT
    meant = {info.meaning.range for info in infos}
    if len(meant) == 1 and (only := meant.pop()) is not None and only[0] <= low and high <= only[1]:
        suggested = only
    return (NarrowRange(side=side, dtype=dtype, low=low, high=high, share=share, suggested=suggested),)


def _sampled(infos: Sequence[ImageInfo], reading: Reading, max_pixels: int) -> list[NDArray[np.generic]]:
    images, pixels = list[NDArray[np.generic]](), 0
    for info in infos[:: max(1, len(infos) // _SAMPLES)][:_SAMPLES]:
        if images and pixels + info.height * info.width > _SAMPLED_PIXELS:
            break
        try:
            parts = parts_of(info.path, (info.height, info.width), by_windows=info.by_windows)
            images += [reading.read_valid(part, max_pixels=max_pixels)[0] for part in parts]
        except BadImage:  # it has changed since it was checked, which is said when it is trained on
            continue
        pixels += info.height * info.width
    return images


def _flat_share(images: Sequence[NDArray[np.generic]]) -> float:
    """Return how many pixels have the value of their right neighbour."""
    same = sum(int((image[:, 1:] == image[:, :-1]).sum()) for image in images)
    return same / max(1, sum(image[:, 1:].size for image in images))


def overlaps(digests: dict[str, set[bytes]]) -> list[str]:
    """Return where the same file contents appear on two sides that should have nothing in common, by their titles."""
    titles = list(digests)  # A, B and, where there are any, their test images
    pairs = [(titles[0], titles[1]), *zip(titles[:2], titles[2:], strict=False)]
    shared = [(one, two, len(digests[one] & digests[two])) for one, two in pairs]
    return [
        f"{plural(count, 'image')} {'is' if count == 1 else 'are'} the same in {one} and {two}"
        for one, two, count in shared
        if count
    ]


def _of_labels(side: Side, reading: Reading, config: DataConfig) -> list[str]:
    assert reading.labels is not None
    asked, title = config.labels(side), config.title(side)
    found = asked is not None and asked.palette is None and asked.names is None
    notices = [f"{title} holds {reading.labels.in_words()}{' (found in the files)' if found else ''}"]
    if reading.labels.hidden_in is not None:
        notices.append(
            f"{title}: void is printable black, which is also the colour of class {reading.labels.hidden_in}, so "
            f"networks cannot tell the two apart; they can with {option(f'data.labels_{side}.feed', 'one_hot')}, or a "
            "palette without black"
        )
    return notices


def _channels(side: Side, infos: Sequence[ImageInfo], counts: Counter[int], config: DataConfig) -> int:
    if len(counts) == 1:
        return next(iter(counts))
    if set(counts) == {1, 3}:
        return 3
    examples = {info.channels: info.path for info in reversed(infos)}
    found = "; ".join(f'{n} with {c} channels (such as "{printable(examples[c])}")' for c, n in counts.most_common())
    raise UserError(
        f"the images of domain {config.title(side)} do not agree in their channels: {found}. Only grey and RGB can be "
        f"mixed. Set {option(f'data.channels_{side}')} to the number that is right, and remove the others or set "
        f"{option('data.on_bad_image', 'skip')}."
    )


def _widest(dtypes: set[str]) -> Literal["uint8", "uint16", "int16", "float32"]:
    """Return the type that holds every image of a domain; what none of three integer types holds becomes float32."""
    if dtypes == {"uint8"}:
        return "uint8"
    if dtypes <= {"uint8", "uint16"}:
        return "uint16"
    if dtypes <= {"uint8", "int16"}:
        return "int16"
    return "float32"
