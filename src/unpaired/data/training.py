"""From the settings to images that can be trained on: found, checked, described, cached."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unpaired.core.errors import UserError
from unpaired.core.text import printable
from unpaired.data.cache import open_cache
from unpaired.data.check import BadFiles, Checked, ImageInfo, check_images, require
from unpaired.data.config import DataConfig
from unpaired.data.folders import ANNOTATIONS, Folders, find_folders, list_images
from unpaired.data.label_search import settled_labels
from unpaired.data.labels_config import LabelsConfig
from unpaired.data.pairs import match_by_name, require_equal_sizes, whole_pairs
from unpaired.data.reading import Reading, half_of
from unpaired.data.source import CentreCropped, FolderSource, ImageSource
from unpaired.data.transforms import check_sizes, height_width, training_size
from unpaired.data.values import Domain

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
    paired: bool = False
    """Whether image i of A belongs to image i of B, held-out images too; the loader then keeps them together."""
    folders: Folders
    notices: list[str] = field(default_factory=list)
    """What a person should know about this data, one sentence each."""
    contents: str = ""
    """A digest of what all files hold, wherever they lie."""
    held_out_files: tuple[Sequence[ImageInfo], Sequence[ImageInfo]] = ((), ())
    """The files of the held-out images of A and B, in their order."""

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
    folders = find_folders(config)
    listed = _list_all(folders)
    notices = _match(folders, listed, config) if paired and config.side_by_side is None else []
    readings = {name: _reading(name, listed, config, progress) for name in _DOMAINS}
    checked = {
        name: _check(name, paths, config, readings[_domain_of(name)], minimum_size, progress)
        for name, paths in listed.items()
    }
    notices += require(checked, config.on_bad_image)
    images = {name: part.good for name, part in checked.items()}
    if paired:
        notices += _keep_pairs(images, listed, checked, config, size_multiple)
    domain_a, domain_b = (_describe(name, images, readings[name], config, notices) for name in _DOMAINS)
    notices += _overlaps(images) + _annotations_unread(folders, config)
    channels = {"A": domain_a.channels, "B": domain_b.channels}
    sources = {
        name: FolderSource(
            infos,
            config,
            channels=channels[_domain_of(name)],
            size_multiple=size_multiple,
            reading=readings[_domain_of(name)],
        )
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
        paired=paired,
        folders=folders,
        notices=notices,
        contents=contents_of(images),
        held_out_files=(images.get("A (test)", images["A"]), images.get("B (test)", images["B"])),
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
            f"a batch of {batch_size} images needs images of one size, and these keep sizes of their own. Set the "
            'batch size to 1, or data.preprocess to a mode that crops: "resize_and_crop", "crop" or '
            '"scale_width_and_crop".'
        )


def _list_all(folders: Folders) -> dict[str, list[Path]]:
    named = {"A": folders.train_a, "B": folders.train_b, "A (test)": folders.test_a, "B (test)": folders.test_b}
    return {name: list_images(folder) for name, folder in named.items() if folder is not None}


_Domain = Literal["A", "B"]
_DOMAINS: tuple[_Domain, _Domain] = ("A", "B")


def _domain_of(name: str) -> _Domain:
    """Return the domain of a part such as "A (test)"."""
    return "A" if name.startswith("A") else "B"


def _labels_of(name: _Domain, config: DataConfig) -> LabelsConfig | None:
    return config.labels_a if name == "A" else config.labels_b


def _check_labels(config: DataConfig) -> None:
    """Refuse settings of pictures for domains that hold label maps."""
    settings = (
        ("a", config.labels_a, config.channels_a, config.range_a),
        ("b", config.labels_b, config.channels_b, config.range_b),
    )
    for letter, labels, channels, declared in settings:
        for name, value in (("channels", channels), ("range", declared)):
            if labels is not None and value is not None:
                raise UserError(
                    f"data.{name}_{letter} is {value}, and data.labels_{letter} says that the images are label maps, "
                    f"whose channels and values follow from their classes. Leave data.{name}_{letter} out."
                )


def _reading(name: _Domain, listed: dict[str, list[Path]], config: DataConfig, progress: Progress | None) -> Reading:
    """Say how the files of a domain are read; what the settings leave open of label maps is found in all its files."""
    half, wanted = half_of(name, config.side_by_side), _labels_of(name, config)
    if wanted is None:
        return Reading(half=half)
    paths = [path for part, paths in listed.items() if _domain_of(part) == name for path in paths]
    report = None if progress is None else _stage(progress, f"reading label maps {name}")
    labels = settled_labels(
        name, wanted, paths, half, max_pixels=config.max_pixels, workers=config.workers, progress=report
    )
    return Reading(half=half, labels=labels)


def _match(folders: Folders, listed: dict[str, list[Path]], config: DataConfig) -> list[str]:
    """Bring the files of both domains into one order, pair by pair; return what a person should know.

    Raises `BadFiles` that lists the files without a partner of training and test images.
    """
    notices, refused = list[str](), list[BadFiles]()
    sides = {"": (folders.train_a, folders.train_b), " (test)": (folders.test_a, folders.test_b)}
    for part, (folder_a, folder_b) in sides.items():
        if folder_a is not None and folder_b is not None:
            paths_a, paths_b = listed[f"A{part}"], listed[f"B{part}"]
            try:
                a, b, told = match_by_name(folder_a, folder_b, paths_a, paths_b, config.on_bad_image)
            except BadFiles as error:
                refused.append(error)
                continue
            listed[f"A{part}"], listed[f"B{part}"] = a, b
            notices += told
    if refused:
        raise BadFiles("\n".join(map(str, refused)), [bad for error in refused for bad in error.bad_files])
    return notices


def _keep_pairs(
    images: dict[str, list[ImageInfo]],
    listed: dict[str, list[Path]],
    checked: dict[str, Checked],
    config: DataConfig,
    size_multiple: int,
) -> list[str]:
    """Leave only pairs of which both sides are sound, and of one size; return what a person should know."""
    notices: list[str] = []
    for part in ("", " (test)"):
        a, b = f"A{part}", f"B{part}"
        if a in listed:
            images[a], images[b], told = whole_pairs(listed[a], listed[b], checked[a], checked[b])
            require_equal_sizes(images[a], images[b], config, size_multiple=size_multiple)
            notices += told
    tests = f" and {len(images['A (test)']):,} for tests" if "A (test)" in images else ""
    how = "matched by name" if config.side_by_side is None else "side by side in one file each"
    return [*notices, f"{len(images['A']):,} pairs{tests}, {how}"]


def _describe(
    name: _Domain, images: dict[str, list[ImageInfo]], reading: Reading, config: DataConfig, notices: list[str]
) -> Domain:
    if reading.labels is not None:
        wanted = _labels_of(name, config)
        found = wanted is not None and wanted.palette is None and wanted.names is None
        notices.append(f"{name} holds {reading.labels.in_words()}{' (found in the files)' if found else ''}")
        if reading.labels.hidden_in is not None:
            notices.append(
                f"{name}: void is printable black, which is also the colour of class {reading.labels.hidden_in}, so "
                f'networks cannot tell the two apart; they can with data.labels_{name.lower()}.feed = "one_hot", or a '
                "palette without black"
            )
        return Domain(channels=reading.labels.channels, labels=reading.labels)
    in_a = name == "A"
    channels, declared = (config.channels_a, config.range_a) if in_a else (config.channels_b, config.range_b)
    return _domain(name, images, channels, declared, notices)


def _annotations_unread(folders: Folders, config: DataConfig) -> list[str]:
    if folders.layout != ANNOTATIONS or config.labels_a is not None:
        return []
    return [
        f'"{printable(folders.train_a)}" holds label maps by its name, and its files are read as pictures; for class '
        "indices set data.labels_a.kind to index"
    ]


def _check(
    name: str,
    paths: Sequence[Path],
    config: DataConfig,
    reading: Reading,
    minimum_size: int,
    progress: Progress | None,
) -> Checked:
    minimum = (1, 1)
    if config.preprocess == "crop":
        minimum = height_width(config.crop_size)
    elif config.preprocess == "none":
        minimum = (minimum_size, minimum_size)
    in_a = name.startswith("A")
    return check_images(
        paths,
        reading=reading,
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
    found = "; ".join(f'{n} with {c} channels (such as "{printable(examples[c])}")' for c, n in counts.most_common())
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


def contents_of(images: Mapping[str, Sequence[ImageInfo]]) -> str:
    """Return a digest of what the files of all parts hold, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(images):
        digest.update(f"{name}:{len(images[name])}:".encode())
        for info in images[name]:
            digest.update(info.digest)
    return digest.hexdigest()


def _overlaps(images: dict[str, list[ImageInfo]]) -> list[str]:
    """Say where the same file contents appear on two sides that should have nothing in common."""
    digests = {name: {info.digest for info in infos} for name, infos in images.items()}
    pairs = [("A", "B"), ("A", "A (test)"), ("B", "B (test)")]
    shared = [(one, two, len(digests[one] & digests[two])) for one, two in pairs if two in digests]
    return [f"{count} images are the same in {one} and {two}" for one, two, count in shared if count]
