"""From the settings to images that can be trained on: found, checked, described, cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural
from unpaired.data.cache import CachedSource, open_cache
from unpaired.data.check import BadFiles, Checked, ImageInfo, check_images, require
from unpaired.data.config import DataConfig
from unpaired.data.crops import CropSource, by_windows, for_training, in_windows
from unpaired.data.describe import Finding, describe_domain, overlaps
from unpaired.data.directions import Side
from unpaired.data.folders import Folders, Place, annotations_unread, find_folders, in_words, left_out, list_files
from unpaired.data.formats import Frame, use_readers
from unpaired.data.groups import group_names, groups_of, held_out, shared_groups, split_notice
from unpaired.data.label_search import settled_labels
from unpaired.data.order import Windows
from unpaired.data.pairs import match_pairs, require_equal_sizes, whole_pairs
from unpaired.data.ranges import with_ranges
from unpaired.data.reading import ImageFile, Reading, half_of, holds_alpha
from unpaired.data.scale import Scale, scale_of, whole_settings
from unpaired.data.source import CentreCropped, FolderSource, ImageSource, changed_geometry
from unpaired.data.streamed import list_streams, windows_of
from unpaired.data.transforms import (
    PUBLISHED_MULTIPLE,
    check_sizes,
    height_width,
    training_size,
)
from unpaired.data.values import Domain
from unpaired.data.windows import at_level, check_windows, large_of, without_large

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
    """Images of A for samples and measurements: whole, or their middle where training only crops; nothing random."""
    held_out_b: ImageSource
    """The same for B."""
    held_out_parts: Mapping[Side, Part]
    """Which images are held out: test images or, where a domain has none, training images."""
    size: tuple[int, int] | None
    """(height, width) of every training image, or None where they differ."""
    windows: Windows | None = None
    """The shards of the training images, where few of them are in use at a time; None to draw from all images."""
    flip: bool = True
    """Whether the loader flips images at random."""
    paired: bool = False
    """Whether image i of A belongs to image i of B, held-out images too; the loader then keeps them together."""
    group: str | None = None
    """How the group of an image is found, `data.group`."""
    scale: Scale | None = None
    """The size at which networks see whole images, as in training."""
    folders: Folders
    files: Mapping[Part, Sequence[ImageInfo]] = field(default_factory=dict)
    """The files of all images, in their order."""
    sources: Mapping[Part, FolderSource] = field(default_factory=dict)
    """All images for measuring, each read from its file when it is asked for; of large ones some windows."""
    notices: list[str] = field(default_factory=list)
    """What a person should know about this data, one sentence each."""
    findings: tuple[Finding, ...] = ()
    """What the values of the files say and the settings do not; the notices say it in words."""
    contents: str = ""
    """A digest of what all files hold, wherever they lie."""

    @property
    def has_missing(self) -> bool:
        """Whether pixels of training images have no value; they are NaN."""
        return any(info.missing > 0 for part, infos in self.files.items() if not part.test for info in infos)

    @property
    def held_out_from(self) -> Literal["test", "train"]:
        """Whether the held-out images are test images; "train" where those of a domain are not."""
        return "test" if all(part.test for part in self.held_out_parts.values()) else "train"

    def held_out_groups(self) -> dict[Side, list[str]]:
        """Return the group of every held-out image, those of a pair in one; nothing where training images stand in."""
        images = {side: self.sources[part].images for side, part in self.held_out_parts.items() if part.test}
        if len(images) < len(SIDES):
            return {}
        return {side: group_names(images["a" if self.paired else side], self.group) for side in SIDES}

    def repaired(self) -> int:
        """Return how many training images were decoded again so far because the cache was damaged."""
        kept = [source.opened if isinstance(source, CropSource) else source for source in (self.a, self.b)]
        return sum(source.repaired for source in kept if isinstance(source, CachedSource))

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
    check_windows(config, paired=paired)
    _check_labels(config)
    use_readers(config.readers, option("data.readers"))
    folders = find_folders(config)
    of_streams = list_streams(folders, config, progress)
    listed, notices = _list_all(folders, config, paired=paired)
    notices = [*of_streams, *notices, *_left_out(folders, config)]
    readings = {side: _reading(side, listed, config, progress) for side in SIDES}
    # Images that are padded to a multiple of the smallest size are never too small.
    least = 1 if size_multiple > PUBLISHED_MULTIPLE and size_multiple >= minimum_size else minimum_size
    checked = {part: _check(part, found, readings, config, least, progress) for part, found in listed.items()}
    notices += require({part.title(config): found for part, found in checked.items()}, config.on_bad_image)
    files = {part: found.good for part, found in checked.items()}
    if paired:
        notices += _keep_pairs(files, listed, checked, config, size_multiple)
    notices += _hold_out(files, config, paired=paired)
    trained_on = {side: files[Part(False, side)] for side in SIDES}
    config = with_ranges(config, trained_on, readings, progress)
    domains, findings, described = _describe(files, readings, folders, config)
    notices += described
    sources = {part: _source(part, found, config, domains, size_multiple, readings) for part, found in files.items()}
    a, b = (sources[Part(False, side)] for side in SIDES)
    for side, each in zip(SIDES, (a, b), strict=True):
        notices += changed_geometry(config.title(side), each)
    size = training_size(config) or _common_size([a, b])
    require_one_size(size, batch_size)
    measured, opened, of_cache = _opened(sources, config, progress)
    notices += of_cache
    shown = {side: Part(Part(True, side) in files, side) for side in SIDES}
    notices += _standing_in([part for part in shown.values() if not part.test], config)
    held_out_a, held_out_b = (_held_out(measured[part], opened[part], config) for part in shown.values())
    return TrainingData(
        a=for_training(a, opened[Part(False, "a")]),
        b=for_training(b, opened[Part(False, "b")]),
        domain_a=domains["a"],
        domain_b=domains["b"],
        held_out_a=held_out_a,
        held_out_b=held_out_b,
        held_out_parts=shown,
        size=size,
        windows=windows_of(config, trained_on["a"], trained_on["b"]),
        flip=config.flip,
        paired=paired,
        group=config.group,
        scale=scale_of(config, trained_on),
        folders=folders,
        files=files,
        sources=measured,
        notices=notices,
        findings=tuple(findings),
        contents=contents_of(files),
    )


def with_what_was_found(config: DataConfig, data: TrainingData) -> DataConfig:
    """Return the settings with palettes and ranges that were found in the files, so that nobody searches again."""
    labels = [
        setting if setting is None or domain.labels is None else replace(setting, palette=domain.labels.palette)
        for setting, domain in ((config.labels_a, data.domain_a), (config.labels_b, data.domain_b))
    ]
    ranges = [
        domain.range if isinstance(given, str) else given
        for given, domain in ((config.range_a, data.domain_a), (config.range_b, data.domain_b))
    ]
    return replace(config, labels_a=labels[0], labels_b=labels[1], range_a=ranges[0], range_b=ranges[1])


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


def _opened(
    sources: Mapping[Part, FolderSource], config: DataConfig, progress: Progress | None
) -> tuple[dict[Part, FolderSource], dict[Part, ImageSource], list[str]]:
    """Return the images for measuring, all images behind a cache but those of domains with large ones, and notices."""
    measured = {part: in_windows(source) for part, source in sources.items()}
    notices = [f"{part.title(config)}: {by_windows(source)}" for part, source in sources.items() if source.has_large]
    seen = {part: measured[part] if part.test else source for part, source in sources.items()}
    titled = {part.title(config): source for part, source in seen.items() if not source.has_large}
    cached, kept = open_cache(titled, config.cache, workers=config.workers, progress=_caching(progress))
    opened = {part: cached.get(part.title(config), source) for part, source in seen.items()}
    return measured, opened, [*notices, *([kept] if titled else [])]


def _check_labels(config: DataConfig) -> None:
    for side in SIDES:
        for name, value in (("channels", config.channels(side)), ("range", config.given_range(side))):
            if config.labels(side) is not None and value is not None:
                raise UserError(
                    f"{option(f'data.{name}_{side}', value)}: {option(f'data.labels_{side}')} says that the images are "
                    "label maps, whose channels and values follow from their classes. Leave "
                    f"{option(f'data.{name}_{side}')} out."
                )


def _list_all(
    folders: Folders, config: DataConfig, *, paired: bool
) -> tuple[dict[Part, Sequence[ImageFile]], list[str]]:
    """Return the images of all parts and what a person should know; with `paired`, pair by pair in one order.

    Raises `BadFiles` that lists the files without a partner of training and test images.
    """

    def list_side(side: Side, place: Place) -> Sequence[ImageFile]:
        return list_files(place, config.channels(side), config.axis_number, config.neighbours, config.every)

    listed, notices, refused = dict[Part, Sequence[ImageFile]](), list[str](), list[BadFiles]()
    for test, places in ((False, (folders.train_a, folders.train_b)), (True, (folders.test_a, folders.test_b))):
        a, b = places
        if a is None or b is None:  # no test images, or those of one domain, which make no pairs
            alone = {Part(test, side): place for side, place in zip(SIDES, places, strict=True) if place is not None}
            listed |= {} if paired else {part: list_side(part.side, place) for part, place in alone.items()}
            continue
        files: tuple[Sequence[ImageFile], Sequence[ImageFile]] = list_side("a", a), list_side("b", b)
        if paired and config.side_by_side is None:
            try:
                *matched, reported = match_pairs(a, b, *files, config.on_bad_image)
                files, notices = (matched[0], matched[1]), notices + reported
            except BadFiles as error:
                refused.append(error)
        listed[Part(test, "a")], listed[Part(test, "b")] = files
    if refused:
        raise BadFiles("\n".join(map(str, refused)), [bad for error in refused for bad in error.bad_files])
    return {part: at_level(files, config.level) for part, files in listed.items()}, notices


def _left_out(folders: Folders, config: DataConfig) -> list[str]:
    """Return which files of images are not read, in words, once for every folder."""
    places = {Part(False, "a"): folders.train_a, Part(False, "b"): folders.train_b}
    tests = {Part(True, "a"): folders.test_a, Part(True, "b"): folders.test_b}
    places |= {part: place for part, place in tests.items() if place is not None}
    titles = {place: part.title(config) for part, place in reversed(places.items()) if isinstance(place, Path)}
    return [f"{titles[place]}: {text}" for place in reversed(titles) for text in in_words(left_out(place))]


def _reading(
    side: Side, listed: Mapping[Part, Sequence[ImageFile]], config: DataConfig, progress: Progress | None
) -> Reading:
    """Return how the files of a domain are read; what settings leave open of label maps is found in all its files."""
    half, asked = half_of(side, config.side_by_side), config.labels(side)
    files = [file for part, found in listed.items() if part.side == side for file in found]
    if asked is None:
        may_have = config.channels(side) in (2, 4)
        alpha = may_have and holds_alpha(without_large(files, large_of(config, Reading(half=half))), config.max_pixels)
        return Reading(half=half, alpha=alpha, channels=config.channels(side))
    labels = settled_labels(
        side,
        asked,
        files,
        half,
        max_pixels=config.max_pixels,
        workers=config.workers,
        progress=_stage(progress, f"reading label maps {config.title(side)}"),
    )
    return Reading(half=half, labels=labels)


def _check(
    part: Part,
    files: Sequence[ImageFile],
    readings: Mapping[Side, Reading],
    config: DataConfig,
    minimum_size: int,
    progress: Progress | None,
) -> Checked:
    minimum = (minimum_size, minimum_size) if config.preprocess == "none" else (1, 1)
    return check_images(
        files,
        reading=readings[part.side],
        max_pixels=config.max_pixels,
        minimum=height_width(config.crop_size) if config.preprocess == "crop" else minimum,
        channels=config.channels(part.side),
        # With a range that is still to be found nothing is refused for its values.
        value_range=None if config.given_range(part.side) is None else (0.0, 1.0),
        large=large_of(config, readings[part.side]),
        workers=config.workers,
        progress=_stage(progress, f"checking {part.title(config)}"),
    )


def _source(
    part: Part,
    images: Sequence[ImageInfo],
    config: DataConfig,
    domains: Mapping[Side, Domain],
    size_multiple: int,
    readings: Mapping[Side, Reading],
) -> FolderSource:
    settings = whole_settings(config) if part.test else config
    channels, reading = domains[part.side].channels, readings[part.side]
    return FolderSource(
        images, settings, channels=channels, size_multiple=size_multiple, reading=reading, padded=not part.test
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
            files[a], files[b], reported = whole_pairs(listed[a], listed[b], checked[a], checked[b])
            require_equal_sizes(files[a], files[b], config, size_multiple=size_multiple)
            notices += reported
            counts.append(len(files[a]))
    tests = f" and {counts[1]:,} for tests" if len(counts) > 1 else ""
    how = "side by side in one file each" if config.side_by_side else "matched by name"
    if not isinstance(files[Part(False, "a")][0].path, Path | Frame):
        how = "matched by position"
    return [*notices, f"{plural(counts[0], 'pair')}{tests}, {how}"]


def _hold_out(files: dict[Part, list[ImageInfo]], config: DataConfig, *, paired: bool) -> list[str]:
    """Move whole groups of training images to the tests where that is asked for; return what a person should know."""
    groups = {part: groups_of(found, config.group) for part, found in files.items()}
    train, test = ([one for part, found in groups.items() if part.test == side for one in found] for side in (0, 1))
    if config.held_out is None:
        shared = shared_groups(train, test)
        return [] if shared is None else [shared]
    if test:
        raise UserError(
            f"{option('data.held_out', config.held_out)}: there are test images already. Leave it out, or "
            f"{option('data.test_a')} and {option('data.test_b')}."
        )
    members = {side: list(zip(groups[Part(False, side)], files[Part(False, side)], strict=True)) for side in SIDES}
    chosen = held_out(members, config.held_out)
    out = {side: [group in chosen for group, _ in found] for side, found in members.items()}
    if paired:
        either = [one or other for one, other in zip(*out.values(), strict=True)]
        out = {"a": either, "b": either}
    for side, found in members.items():
        for test_part in (False, True):
            kept = [info for (_, info), held in zip(found, out[side], strict=True) if held == test_part]
            files[Part(test_part, side)] = kept
            if not kept:
                kind = "held-out" if test_part else "training"
                setting = option("data.held_out", config.held_out)
                raise UserError(f"{setting}: no {kind} image of {config.title(side)} would be left.")
    return [split_notice(chosen, sum(sum(each) for each in out.values()), config.held_out)]


def _describe(
    files: Mapping[Part, Sequence[ImageInfo]], readings: Mapping[Side, Reading], folders: Folders, config: DataConfig
) -> tuple[dict[Side, Domain], list[Finding], list[str]]:
    """Return what both domains are, what their values say and settings do not, and what a person should know."""
    domains, findings, notices = dict[Side, Domain](), list[Finding](), list[str]()
    for side in SIDES:
        infos = [info for part, found in files.items() if part.side == side for info in found]
        domains[side], reported, odd = describe_domain(side, infos, readings[side], config)
        notices, findings = [*notices, *reported], [*findings, *odd]
    notices += overlaps({part.title(config): {info.digest for info in found} for part, found in files.items()})
    if not any(finding.side == "a" for finding in findings):
        notices += annotations_unread(folders, config)
    return domains, findings, notices


def _standing_in(parts: Sequence[Part], config: DataConfig) -> list[str]:
    """Return whose training images stand in for test images, in words."""
    if len(parts) == len(SIDES):
        return ["there are no test images, so samples and measurements use training images"]
    return [f"there are no test images of {part.title(config)}, so its training images stand in" for part in parts]


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def _caching(progress: Progress | None) -> Progress | None:
    return None if progress is None else lambda name, done, total: progress(f"caching {name}", done, total)


def _common_size(sources: Iterable[FolderSource]) -> tuple[int, int] | None:
    sizes = {source.size(index) for source in sources for index in range(len(source))}
    return sizes.pop() if len(sizes) == 1 else None


def _held_out(source: FolderSource, opened: ImageSource, config: DataConfig) -> ImageSource:
    """Return whole images, or their middle where training only crops; not padded, since translators do that."""
    whole = whole_settings(config)
    own, crop = source.without_padding(whole), training_size(whole)
    has_large = isinstance(opened, FolderSource) and opened.has_large
    kept = opened if own is source and not has_large else own
    return kept if crop is None else CentreCropped(kept, crop)
