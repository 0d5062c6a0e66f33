"""From the settings to images that can be trained on: found, checked, described, cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unpaired.data.cache import open_cache
from unpaired.data.check import Checked, ImageInfo, check_images, require
from unpaired.data.config import DataConfig
from unpaired.data.folders import Folders, find_folders, list_images
from unpaired.data.refusal import shown
from unpaired.data.source import CentreCropped, FolderSource, ImageSource
from unpaired.data.transforms import check_sizes, height_width, training_size
from unpaired.data.values import Domain
from unpaired.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The images of both domains, ready for a loader, and what is known of them."""

    a: ImageSource
    """Training images of domain A, before the random crop."""
    b: ImageSource
    """Training images of domain B, before the random crop."""
    domain_a: Domain
    domain_b: Domain
    held_out_a: ImageSource
    """Images of A for samples and measurements: prepared and cut to the middle, nothing random."""
    held_out_b: ImageSource
    """The same for B."""
    held_out_from: Literal["test", "train"]
    """Whether the held-out images are test images or, where there are none, training images."""
    size: tuple[int, int] | None
    """(height, width) of every training image, or None where they differ."""
    flip: bool = True
    """Whether the loader mirrors images at random."""
    folders: Folders
    notices: list[str] = field(default_factory=list)
    """What a person should know about this data, one sentence each."""

    @property
    def layout(self) -> str:
        """How the folders were found, in words."""
        return self.folders.layout


def open_training_data(
    config: DataConfig,
    *,
    size_multiple: int = 4,
    minimum_size: int = 1,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> TrainingData:
    """Find, list and check all images, decide what the domains are, and open the cache.

    `size_multiple` and `minimum_size` are what the networks ask of image sizes; they matter where images keep sizes of
    their own. Raises `UserError` (`BadFiles` for unusable files) before anything is written but the user's cache.
    """
    check_sizes(config)
    folders = find_folders(config)
    listed = _list_all(folders)
    checked = {name: _check(name, paths, config, minimum_size, progress) for name, paths in listed.items()}
    notices = require(checked, config.on_bad_image)
    images = {name: part.good for name, part in checked.items()}
    domain_a = _domain("A", images, config.channels_a, config.range_a, notices)
    domain_b = _domain("B", images, config.channels_b, config.range_b, notices)
    notices += _overlaps(images)
    channels = {"A": domain_a.channels, "B": domain_b.channels}
    sources = {
        name: FolderSource(infos, config, channels=channels[name[0]], size_multiple=size_multiple)
        for name, infos in images.items()
    }
    size = training_size(config) or _common_size([sources["A"], sources["B"]])
    require_one_size(size, batch_size)
    caching = None if progress is None else _staged(progress, "caching")
    opened, kept = open_cache(sources, config.cache, workers=config.workers, progress=caching)
    notices.append(kept)
    if "A (test)" not in opened:
        notices.append("there are no test images, so samples and measurements use training images")
    held_out_a, held_out_b = (
        _held_out(opened.get(f"{name} (test)", opened[name]), training_size(config)) for name in ("A", "B")
    )
    return TrainingData(
        a=opened["A"],
        b=opened["B"],
        domain_a=domain_a,
        domain_b=domain_b,
        held_out_a=held_out_a,
        held_out_b=held_out_b,
        held_out_from="test" if "A (test)" in opened else "train",
        size=size,
        flip=config.flip,
        folders=folders,
        notices=notices,
    )


def require_one_size(size: tuple[int, int] | None, batch_size: int) -> None:
    """Raise `UserError` where images of different sizes would have to form a batch."""
    if size is None and batch_size > 1:
        raise UserError(
            f"a batch of {batch_size} images needs images of one size, and these keep sizes of their own. Set the "
            'batch size to 1, or data.preprocess to a mode that crops: "resize_and_crop", "crop" or '
            '"scale_width_and_crop".'
        )


def _list_all(folders: Folders) -> dict[str, list[Path]]:
    named = {"A": folders.train_a, "B": folders.train_b, "A (test)": folders.test_a, "B (test)": folders.test_b}
    return {name: list_images(folder) for name, folder in named.items() if folder is not None}


def _check(
    name: str, paths: Sequence[Path], config: DataConfig, minimum_size: int, progress: Progress | None
) -> Checked:
    minimum = (1, 1)
    if config.preprocess == "crop":
        minimum = height_width(config.crop_size)
    elif config.preprocess == "none":
        minimum = (minimum_size, minimum_size)
    in_a = name.startswith("A")
    return check_images(
        paths,
        max_pixels=config.max_pixels,
        minimum=minimum,
        channels=config.channels_a if in_a else config.channels_b,
        value_range=config.range_a if in_a else config.range_b,
        workers=config.workers,
        progress=None if progress is None else _stage(progress, f"checking {name}"),
    )


def _stage(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)


def _staged(progress: Progress, verb: str) -> Progress:
    return lambda name, done, total: progress(f"{verb} {name}", done, total)


def _domain(
    name: str,
    images: dict[str, list[ImageInfo]],
    channels: int | None,
    declared: tuple[float, float] | None,
    notices: list[str],
) -> Domain:
    """Describe a domain by all its images, those for tests included."""
    infos = [info for part, infos in images.items() if part.startswith(name) for info in infos]
    counts = Counter(info.channels for info in infos)
    chosen = channels if channels is not None else _channels(name, infos, counts)
    if chosen == 3 and counts[1]:
        notices.append(
            f"{name} has {counts[1]:,} grey image{'s' if counts[1] > 1 else ''} of {len(infos):,}; RGB is made of them"
        )
    if chosen == 1 and counts[3]:
        notices.append(f"{name} has {counts[3]} colour images of {len(infos)}; they become grey")
    dtypes = Counter(info.dtype for info in infos)
    if len(dtypes) > 1:
        kinds = ", ".join(f"{count} of {dtype}" for dtype, count in dtypes.most_common())
        notices.append(f"{name} mixes types of values ({kinds}); each is mapped to [-1, 1] by its own range")
    if declared is not None:
        clipped = sum(_outside(info, declared) for info in infos)
        if clipped:
            notices.append(
                f"{name} has {clipped} images with values outside the declared range {declared}; they are clipped"
            )
    return Domain(channels=chosen, dtype=_widest(set(dtypes)), range=declared)


def _channels(name: str, infos: Sequence[ImageInfo], counts: Counter[int]) -> int:
    if len(counts) == 1:
        return next(iter(counts))
    if set(counts) == {1, 3}:
        return 3
    examples = {info.channels: info.path for info in reversed(infos)}
    found = "; ".join(f'{n} with {c} channels (such as "{shown(examples[c])}")' for c, n in counts.most_common())
    raise UserError(
        f"the images of domain {name} do not agree in their channels: {found}. Only grey and RGB can be mixed. "
        f"Set data.channels_{name.lower()} to the number that is right, and remove the others or set "
        "data.on_bad_image to skip."
    )


def _outside(info: ImageInfo, declared: tuple[float, float]) -> bool:
    return info.low is not None and info.high is not None and (info.low < declared[0] or info.high > declared[1])


def _widest(dtypes: set[str]) -> Literal["uint8", "uint16", "int16", "float32"]:
    """Return the type that holds every image of a domain; what none of three integer types holds becomes float32."""
    if dtypes == {"uint8"}:
        return "uint8"
    if dtypes <= {"uint8", "uint16"}:
        return "uint16"
    if dtypes <= {"uint8", "int16"}:
        return "int16"
    return "float32"


def _common_size(sources: Sequence[FolderSource]) -> tuple[int, int] | None:
    sizes = {source.size(index) for source in sources for index in range(len(source))}
    return sizes.pop() if len(sizes) == 1 else None


def _held_out(source: ImageSource, crop: tuple[int, int] | None) -> ImageSource:
    return source if crop is None else CentreCropped(source, crop)


def _overlaps(images: dict[str, list[ImageInfo]]) -> list[str]:
    """Say where the same file contents appear on two sides that should have nothing in common."""
    digests = {name: {info.digest for info in infos} for name, infos in images.items()}
    pairs = [("A", "B"), ("A", "A (test)"), ("B", "B (test)")]
    shared = [(one, two, len(digests[one] & digests[two])) for one, two in pairs if two in digests]
    return [f"{count} images are the same in {one} and {two}" for one, two, count in shared if count]
