"""From the settings to images that can be trained on: found, checked, described, cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.cache import open_cache
from unpaired.data.check import BadFiles, Checked, ImageInfo, check_images, require
from unpaired.data.config import DataConfig
from unpaired.data.describe import describe_domain, overlaps
from unpaired.data.directions import Side
from unpaired.data.folders import ANNOTATIONS, Folders, Place, find_folders, list_files
from unpaired.data.formats import use_readers
from unpaired.data.label_search import settled_labels
from unpaired.data.own import ImageFile
from unpaired.data.pairs import match_pairs, require_equal_sizes, whole_pairs
from unpaired.data.reading import Reading, half_of
from unpaired.data.source import CentreCropped, FolderSource, ImageSource
from unpaired.data.transforms import check_sizes, height_width, training_size
from unpaired.data.values import Domain

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
SIDES: tuple[Side, Side] = ("a", "b")


class Part(NamedTuple):
    """The images of one domain for training, or for tests."""

    test: bool
    side: Side

    def title(self, config: DataConfig) -> str:
        """Return what a person calls it: `A`, `A (test)`, or the domain's name in place of the letter."""
        return f"{config.title(self.side)}{' (test)' if self.test else ''}"


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
    """Whether the loader flips images at random."""
    paired: bool = False
    """Whether image i of A belongs to image i of B, held-out images too; the loader then keeps them together."""
    folders: Folders
    files: Mapping[Part, Sequence[ImageInfo]] = field(default_factory=dict)
    """The files of all images, in their order."""
    notices: list[str] = field(default_factory=list)
    """What a person should know about this data, one sentence each."""
    contents: str = ""
    """A digest of what all files hold, wherever they lie."""

    @property
    def layout(self) -> str:
        """How the folders were found, in words."""
        return self.folders.layout


def open_training_data(
    config: DataConfig,
    *,
    paired: bool = False,
    size_multiple: int = 4,
    minimum_size: int = 1,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> TrainingData:
    """Find, list and check all images, decide what the domains are, and open the cache.

    `paired` asks for image i of A to belong to image i of B: by name, or as the halves of one file. `size_multiple` and
    `minimum_size` are what the networks ask of image sizes; they matter where images keep sizes of their own. Raises
    `UserError` (`BadFiles` for unusable files) before anything is written but the user's cache.
    """
    check_sizes(config)
    _check_labels(config)
    use_readers(config.readers, option("data.readers"))
    folders = find_folders(config)
    listed, notices = _list_all(folders, config, match=paired and config.side_by_side is None)
    readings = {side: _reading(side, listed, config, progress) for side in SIDES}
    checked = {
        part: _check(part, files, readings[part.side], config, minimum_size, progress) for part, files in listed.items()
    }
    notices += require({part.title(config): found for part, found in checked.items()}, config.on_bad_image)
    files = {part: found.good for part, found in checked.items()}
    if paired:
        notices += _keep_pairs(files, listed, checked, config, size_multiple)
    domains = dict[Side, Domain]()
    for side in SIDES:
        infos = [info for part, found in files.items() if part.side == side for info in found]
        domains[side], told = describe_domain(side, infos, readings[side], config)
        notices += told
    notices += overlaps({part.title(config): {info.digest for info in found} for part, found in files.items()})
    notices += _annotations_unread(folders, config)
    sources = {
        part.title(config): FolderSource(
            found,
            config,
            channels=domains[part.side].channels,
            size_multiple=size_multiple,
            reading=readings[part.side],
        )
        for part, found in files.items()
    }
    a, b = (Part(False, side).title(config) for side in SIDES)
    size = training_size(config) or _common_size([sources[a], sources[b]])
    require_one_size(size, batch_size)
    caching: Progress | None = None
    if progress is not None:
        caching = lambda name, done, total: progress(f"caching {name}", done, total)  # noqa: E731
    opened, kept = open_cache(sources, config.cache, workers=config.workers, progress=caching)
    notices.append(kept)
    tests = Part(True, "a") in files
    if not tests:
        notices.append("there are no test images, so samples and measurements use training images")
    held_out_a, held_out_b = (
        _held_out(opened[Part(tests, side).title(config)], training_size(config)) for side in SIDES
    )
    return TrainingData(
        a=opened[a],
        b=opened[b],
        domain_a=domains["a"],
        domain_b=domains["b"],
        held_out_a=held_out_a,
        held_out_b=held_out_b,
        held_out_from="test" if tests else "train",
        size=size,
        flip=config.flip,
        paired=paired,
        folders=folders,
        files=files,
        notices=notices,
        contents=contents_of(files),
    )


def with_found_labels(config: DataConfig, data: TrainingData) -> DataConfig:
    """Return the settings with the palettes that were found in the files, so that nobody has to search again."""
    labels = [
        setting if setting is None or domain.labels is None else replace(setting, palette=domain.labels.palette)
        for setting, domain in ((config.labels_a, data.domain_a), (config.labels_b, data.domain_b))
    ]
    return replace(config, labels_a=labels[0], labels_b=labels[1])


def require_one_size(size: tuple[int, int] | None, batch_size: int) -> None:
    """Raise `UserError` where images of different sizes would have to form a batch."""
    if size is None and batch_size > 1:
        raise UserError(
            f"{option('training.batch_size', batch_size)} needs images of one size, and these keep sizes of their own. "
            f"Set the batch size to 1, or {option('data.preprocess')} to a mode that crops: resize_and_crop, crop or "
            "scale_width_and_crop."
        )


def contents_of(files: Mapping[Part, Sequence[ImageInfo]]) -> str:
    """Return a digest of what the files of all parts hold, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for part in sorted(files, key=lambda part: (part.side, part.test)):
        digest.update(f"{part.side.upper()}{' (test)' if part.test else ''}:{len(files[part])}:".encode())
        for info in files[part]:
            digest.update(info.digest)
    return digest.hexdigest()


def _check_labels(config: DataConfig) -> None:
    for side in SIDES:
        for name, value in (("channels", config.channels(side)), ("range", config.value_range(side))):
            if config.labels(side) is not None and value is not None:
                raise UserError(
                    f"{option(f'data.{name}_{side}', value)}: {option(f'data.labels_{side}')} says that the images are "
                    "label maps, whose channels and values follow from their classes. Leave "
                    f"{option(f'data.{name}_{side}')} out."
                )


def _list_all(
    folders: Folders, config: DataConfig, *, match: bool
) -> tuple[dict[Part, Sequence[ImageFile]], list[str]]:
    """Return the images of all parts and what a person should know; with `match`, pair by pair in one order.

    Raises `BadFiles` that lists the files without a partner of training and test images.
    """
    listed, notices, refused = dict[Part, Sequence[ImageFile]](), list[str](), list[BadFiles]()
    for test, places in ((False, (folders.train_a, folders.train_b)), (True, (folders.test_a, folders.test_b))):
        a, b = places
        if a is None or b is None:
            continue
        files: tuple[Sequence[ImageFile], Sequence[ImageFile]] = list_files(a), list_files(b)
        if match:
            try:
                *matched, told = match_pairs(a, b, *files, config.on_bad_image)
                files, notices = (matched[0], matched[1]), notices + told
            except BadFiles as error:
                refused.append(error)
        listed[Part(test, "a")], listed[Part(test, "b")] = files
    if refused:
        raise BadFiles("\n".join(map(str, refused)), [bad for error in refused for bad in error.bad_files])
    return listed, notices


def _reading(
    side: Side, listed: Mapping[Part, Sequence[ImageFile]], config: DataConfig, progress: Progress | None
) -> Reading:
    """Return how the files of a domain are read; what settings leave open of label maps is found in all its files."""
    half, asked = half_of(side, config.side_by_side), config.labels(side)
    if asked is None:
        return Reading(half=half)
    labels = settled_labels(
        side,
        asked,
        [file for part, files in listed.items() if part.side == side for file in files],
        half,
        max_pixels=config.max_pixels,
        workers=config.workers,
        progress=_stage(progress, f"reading label maps {config.title(side)}"),
    )
    return Reading(half=half, labels=labels)


def _check(
    part: Part,
    files: Sequence[ImageFile],
    reading: Reading,
    config: DataConfig,
    minimum_size: int,
    progress: Progress | None,
) -> Checked:
    minimum = (minimum_size, minimum_size) if config.preprocess == "none" else (1, 1)
    return check_images(
        files,
        reading=reading,
        max_pixels=config.max_pixels,
        minimum=height_width(config.crop_size) if config.preprocess == "crop" else minimum,
        channels=config.channels(part.side),
        value_range=config.value_range(part.side),
        workers=config.workers,
        progress=_stage(progress, f"checking {part.title(config)}"),
    )


def _keep_pairs(
    files: dict[Part, list[ImageInfo]],
    listed: Mapping[Part, Sequence[ImageFile]],
    checked: Mapping[Part, Checked],
    config: DataConfig,
    size_multiple: int,
) -> list[str]:
    """Leave only pairs of which both sides are sound, and of one size; return what a person should know."""
    notices, counts = list[str](), list[int]()
    for test in (False, True):
        a, b = Part(test, "a"), Part(test, "b")
        if a in listed:
            files[a], files[b], told = whole_pairs(listed[a], listed[b], checked[a], checked[b])
            require_equal_sizes(files[a], files[b], config, size_multiple=size_multiple)
            notices += told
            counts.append(len(files[a]))
    tests = f" and {counts[1]:,} for tests" if len(counts) > 1 else ""
    how = "side by side in one file each" if config.side_by_side else "matched by name"
    if not isinstance(files[Part(False, "a")][0].path, Path):
        how = "matched by position"
    return [*notices, f"{plural(counts[0], 'pair')}{tests}, {how}"]


def _annotations_unread(folders: Folders, config: DataConfig) -> list[str]:
    if folders.layout != ANNOTATIONS or config.labels_a is not None:
        return []
    return [
        f'"{_name(folders.train_a)}" holds label maps by its name, and its files are read as pictures; for class '
        f"indices set {option('data.labels_a.kind', 'index')}"
    ]


def _name(place: Place) -> str:
    return printable(place) if isinstance(place, Path) else type(place).__name__


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def _common_size(sources: Iterable[FolderSource]) -> tuple[int, int] | None:
    sizes = {source.size(index) for source in sources for index in range(len(source))}
    return sizes.pop() if len(sizes) == 1 else None


def _held_out(source: ImageSource, crop: tuple[int, int] | None) -> ImageSource:
    return source if crop is None else CentreCropped(source, crop)
