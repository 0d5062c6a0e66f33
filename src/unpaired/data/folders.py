"""Which folders hold the images, and which files in them are images."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.files import real_path
from unpaired.core.settings import option
from unpaired.core.text import listing, plural, printable
from unpaired.data.bad_image import BadImage
from unpaired.data.catalogue import dataset_folder, is_dataset, unknown_place
from unpaired.data.config import DataConfig
from unpaired.data.decode import UNSUPPORTED, count_frames, reader_of
from unpaired.data.formats import (
    Frame,
    container_suffixes,
    is_image_folder,
    missing_extras,
    readable_suffixes,
    suffix_of,
)
from unpaired.data.formats.dicom import is_bare_dicom
from unpaired.data.reading import ImageFile, OwnImage, open_source
from unpaired.data.source import ImageSource
from unpaired.data.streams.remote import CACHE_GIB
from unpaired.data.streams.stream import Stream, is_stream

ANNOTATIONS = "ROOT/{trainannot,train[,testannot,test]}"
"""The layout of CamVid: label maps, which are A, beside photos, which are B."""
_LAYOUTS = {
    "ROOT/{trainA,trainB[,testA,testB]}": ("trainA", "trainB", "testA", "testB"),
    "ROOT/{train_A,train_B[,test_A,test_B]}": ("train_A", "train_B", "test_A", "test_B"),
    "ROOT/{train,test}/{A,B}": ("train/A", "train/B", "test/A", "test/B"),
    "ROOT/{A,B}/{train[,test]}": ("A/train", "B/train", "A/test", "B/test"),
    ANNOTATIONS: ("trainannot", "train", "testannot", "test"),
}
_EXPLICIT, _SHARDS = "two folders, a and b", "shards, a and b"


Place = Path | Stream | ImageSource
"""Where the images of a domain are: a folder, shards, or the user's own source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The folders (or own sources) of one data set; with side-by-side files, A and B are in the same ones."""

    train_a: Place
    """Training images of domain A."""
    train_b: Place
    """Training images of domain B."""
    test_a: Place | None = None
    """Held-out images of domain A; None where there are none."""
    test_b: Place | None = None
    """Held-out images of domain B; None where there are none."""
    layout: str
    """How they were found, in words."""


def find_folders(config: DataConfig) -> Folders:
    """Find the folders of both domains, or the user's own sources that stand for them.

    Raises `UserError` where settings contradict one another, a folder is missing, no known layout fits, or A and B are
    the same folder or one inside the other.
    """
    given = [name for name, place in (config.folders() | config.sources()).items() if place is not None]
    if config.root is not None and given:
        raise UserError(
            f"{option('data.root', config.root)} is given together with "
            f"{listing([option(f'data.{name}') for name in given])}. Give either one root folder, or the folders "
            "(or sources) of both domains."
        )
    try:
        if config.side_by_side is not None:
            return _side_by_side(config)
        folders = _explicit(config) if config.root is None else _in_root(_root(config.root))
        _require_apart("training", folders.train_a, folders.train_b)
        _require_apart("test", folders.test_a, folders.test_b)
        return folders
    except OSError as error:  # no permission, or a name that is too long
        raise UserError(f'cannot read the folder "{printable(error.filename)}": {error.strerror}.') from error


def list_files(
    place: Place, channels: int | None = None, axis: int = 0, neighbours: int = 0, every: int = 1
) -> Sequence[ImageFile]:
    """Return the images below a folder, sorted by path, or those of shards or an own source in their order.

    `channels` of the domain, where they are known, tell images from channels in files that leave it open; `axis` and
    `neighbours` as in `in_frames`, and of such files every n-th image is taken. Raises `UserError` for
    images without neighbours where they are asked for.
    """
    if isinstance(place, Stream):
        return place.images
    if isinstance(place, Path):
        files = in_frames(list_images(place), axis, neighbours, channels=channels)
        alone = next((file for file in files if neighbours and not isinstance(file, Frame)), None)
        if alone is not None:
            raise UserError(
                f'{option("data.neighbours", neighbours)}: "{printable(alone)}" is an image by itself. Only slices of '
                "volumes, stacks, clips and DICOM series have neighbours."
            )
        return [file for file in files if not isinstance(file, Frame) or file.index % every == 0]
    return [OwnImage(place, n) for n in range(len(place))]


def in_frames(
    files: Sequence[Path], axis: int = 0, neighbours: int = 0, channels: int | None = None
) -> list[Path | Frame]:
    """Return files with those that hold several images (volumes, stacks, clips) replaced by these, in their order.

    A file that cannot be read stays as it is, so that checking reports it.
    """
    several, images = container_suffixes(), list[Path | Frame]()
    each = None if channels is None else max(1, channels // (2 * neighbours + 1))
    for file in files:
        count, may_hold = 1, suffix_of(file) in several or is_bare_dicom(file)
        if may_hold:
            with contextlib.suppress(BadImage):
                count = count_frames(file, axis, each)
        alone = count == 1 and not (axis and may_hold) and not (neighbours and _has_series(file))
        images += [file] if alone else [Frame(file, index, axis, neighbours) for index in range(count)]
    return images


def _has_series(file: Path) -> bool:
    with contextlib.suppress(BadImage):
        return bool(reader_of(file).series(file))
    return False


def list_images(folder: Path) -> list[Path]:
    """Return every image file below a folder, sorted by path.

    Links are followed, every real folder is read once (so loops end), hidden files and folders are left out; broken
    links are kept, so that checking reports them. Raises `UserError` for an unreadable folder, and where no image is.
    """
    found = _search(folder)
    if not found.images:
        raise UserError(
            f'no images in the folder "{printable(folder)}": found {found.others_in_words()}. '
            "Images are, for instance, .jpg, .png, .webp, .tif and .npy files, also in folders below."
            + "".join(f" {text[0].upper()}{text[1:]}." for text in in_words(found.left_out()))
        )
    return [Path(name) for name in sorted(found.images)]


def left_out(folder: Path) -> dict[str, int]:
    """Return how many files of images below a folder cannot be read by this installation, by suffix."""
    return _search(folder).left_out()


def in_words(left: Mapping[str, int]) -> list[str]:
    """Return what files are left out and what would read them, in one text for every remedy."""
    extras = missing_extras()
    remedies: dict[str, list[str]] = {}
    for suffix, count in left.items():
        remedy = f"pip install 'unpaired[{extras[suffix]}]'" if suffix in extras else UNSUPPORTED[suffix]
        remedies.setdefault(remedy, []).append(f"{count:,} {suffix}")
    return [f"{listing(counts)} left out: {remedy}" for remedy, counts in remedies.items()]


def _search(folder: Path) -> _Found:
    found = _Found(readable_suffixes(installed=True))
    folders, links, seen = [os.fspath(folder)], list[str](), set[tuple[int, int]]()
    while folders or links:
        current = folders.pop() if folders else links.pop()
        try:
            status = os.stat(current)
            identity = (status.st_dev, status.st_ino)
            if identity not in seen:
                seen.add(identity)
                _scan(current, found, folders, links)
        except OSError as error:
            raise UserError(f'cannot read the folder "{printable(current)}": {error.strerror}.') from error
    return found


@dataclass(slots=True)
class _Found:
    suffixes: Set[str]
    images: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    folders: int = 0

    def left_out(self) -> dict[str, int]:
        known = missing_extras().keys() | UNSUPPORTED
        return {suffix: count for suffix, count in self.others.most_common() if suffix in known}

    def others_in_words(self) -> str:
        kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in self.others.most_common(8)]
        files = f"{plural(self.others.total(), 'other file')} ({', '.join(kinds)})" if kinds else "no files"
        return f"{files} and {plural(self.folders, 'folder')}"


def _scan(folder: str, found: _Found, folders: list[str], links: list[str]) -> None:
    """Sort the entries of one folder; folders to visit go to `folders`, linked ones to `links`, in order."""
    below = list[tuple[bool, str]]()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "__MACOSX":
                continue
            if _is_folder(entry) and not (name.lower().endswith(".zarr") and is_image_folder(Path(name))):
                below.append((entry.is_symlink(), entry.path))
            elif suffix_of(name) in found.suffixes or is_bare_dicom(entry):
                found.images.append(entry.path)
            else:
                found.others[suffix_of(name)] += 1
    found.folders += len(below)
    for linked, path in sorted(below, reverse=True):
        (links if linked else folders).append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _explicit(config: DataConfig) -> Folders:
    given = zip(config.folders().items(), config.sources().items(), strict=True)
    a, b, test_a, test_b = (_place(*folder, *source, config.shard_cache) for folder, source in given)
    if a is None or b is None:
        missing = listing([option(f"data.{name}") for name, place in (("a", a), ("b", b)) if place is None])
        raise UserError(
            f"no images are given: {missing} missing. Give {option('data.root')} (a folder with one of the layouts "
            f"{', '.join(_LAYOUTS)}), or both folders {option('data.a')} and {option('data.b')}."
        )
    of_files = isinstance(a, Path | Stream) and isinstance(b, Path | Stream)
    layout = _EXPLICIT if isinstance(a, Path) and isinstance(b, Path) else _SHARDS if of_files else "own image sources"
    return Folders(train_a=a, train_b=b, test_a=test_a, test_b=test_b, layout=layout)


def image_folders(config: DataConfig) -> list[Path]:
    """Return the folders of images that settings name, into which no command writes."""
    found = find_folders(config)
    places = (found.train_a, found.train_b, found.test_a, found.test_b)
    return [place for place in places if isinstance(place, Path)]


def _place(
    name: str, folder: str | None, source_name: str, source: str | None, cache_gib: float = CACHE_GIB
) -> Place | None:
    if folder is not None and source is not None:
        raise UserError(
            f"{option(f'data.{name}', folder)} and {option(f'data.{source_name}', source)} are both given. Leave one "
            "of them out."
        )
    if source is not None:
        return open_source(f"data.{source_name}", source)
    if folder is not None and is_stream(folder):
        return Stream(folder, cache_gib=cache_gib)
    return None if folder is None else _existing(f"data.{name}", folder)


def _in_root(root: Path) -> Folders:
    fitting = [layout for layout, names in _LAYOUTS.items() if all((root / name).is_dir() for name in names[:2])]
    if len(fitting) != 1:
        trouble = "more than one known layout fits" if fitting else "no known layout fits"
        raise UserError(
            f'{trouble} in "{printable(root)}". Tried: {", ".join(_LAYOUTS)}. Found there: {_contents(root)}. '
            f"Rename the folders, or name them with {option('data.a')} and {option('data.b')}.{_hint(root)}"
        )
    train_a, train_b, test_a, test_b = (root / name for name in _LAYOUTS[fitting[0]])
    # One of the two may be missing or empty: training images then stand in for that domain.
    tests = [folder if folder.is_dir() and _search(folder).images else None for folder in (test_a, test_b)]
    return Folders(train_a=train_a, train_b=train_b, test_a=tests[0], test_b=tests[1], layout=fitting[0])


def _hint(root: Path) -> str:
    if not (_holds_images(root) or _holds_images(root / "train")):
        return ""
    return (
        f" Where every file holds an image of A and one of B side by side, set {option('data.side_by_side')} to ab or "
        "ba."
    )


def _side_by_side(config: DataConfig) -> Folders:
    if config.root is None:
        raise UserError(
            f"{option('data.side_by_side', config.side_by_side)}: every file holds both domains. Give one folder, "
            f"{option('data.root')}: with train (and test or val), or with the files themselves."
        )
    root = _root(config.root, pairs=True)
    order = "A left, B right" if config.side_by_side == "ab" else "B left, A right"
    if (root / "train").is_dir() and _holds_images(root / "train"):
        test = next((root / name for name in ("test", "val") if _holds_images(root / name)), None)
        layout = f"ROOT/{{train[,test or val]}}, side by side: {order}"
        return Folders(train_a=root / "train", train_b=root / "train", test_a=test, test_b=test, layout=layout)
    if not _holds_images(root):
        raise UserError(
            f'no side-by-side files in "{printable(root)}". Tried: image files in ROOT/train, and in ROOT itself. '
            f"Found there: {_contents(root)}. Move the files, or leave {option('data.side_by_side')} out where A and B "
            "have folders of their own."
        )
    return Folders(train_a=root, train_b=root, layout=f"ROOT, side by side: {order}")


def _holds_images(folder: Path) -> bool:
    """Return whether image files lie in a folder itself, whatever lies in folders below."""
    if not folder.is_dir():
        return False
    readable = readable_suffixes(installed=True)
    return any(suffix_of(path) in readable and not path.name.startswith(".") for path in folder.iterdir())


def _root(given: str, *, pairs: bool = False) -> Path:
    """Return the root folder that a user gave: a folder or, where there is none, the name of a published data set."""
    return dataset_folder(given, pairs=pairs) if is_dataset(given) else _existing("data.root", given)


def _existing(setting: str, given: str) -> Path:
    folder = Path(given)
    with contextlib.suppress(RuntimeError):  # no user has this name: "~name" is then a folder
        folder = Path(os.path.expanduser(folder))
    try:
        if folder.is_dir():
            return folder
        there = folder.exists()
    except OSError as error:  # no permission, or a name that is too long
        raise UserError(f"{option(setting, printable(folder)[:200])}: {error.strerror}.") from error
    if there:
        raise UserError(
            f"{option(setting, printable(folder))}: this is a file. Give a folder of images or shards (.tar, .parquet)."
        )
    siblings = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    raise unknown_place(setting, os.fspath(folder), siblings)


def _contents(root: Path) -> str:
    entries = sorted(root.iterdir())
    folders = [f"{printable(path.name)}/" for path in entries if path.is_dir()]
    for name in ("train", "test", "A", "B"):
        inner = root / name
        if inner.is_dir():
            folders += [f"{name}/{printable(path.name)}/" for path in sorted(inner.iterdir()) if path.is_dir()]
    listed = ", ".join(folders[:12]) + (f" and {len(folders) - 12} more" if len(folders) > 12 else "")
    return f"{f'the folders {listed}' if folders else 'no folders'}, and {sum(p.is_file() for p in entries)} files"


def _require_apart(kind: str, a: Place | None, b: Place | None) -> None:
    if isinstance(a, Stream) and isinstance(b, Stream) and a.place == b.place:
        raise UserError(
            f'the {kind} images of A and B are the same: "{printable(a)}". Unpaired translation needs two domains; '
            "where one file holds both, choose with #COLUMN or #ENDING."
        )
    if not (isinstance(a, Path) and isinstance(b, Path)):
        return
    real_a, real_b = real_path(a), real_path(b)
    if real_a == real_b or os.path.samefile(real_a, real_b):
        raise UserError(
            f'the {kind} images of A and B are the same folder: "{printable(a)}" and "{printable(b)}". '
            "Unpaired translation needs two domains; give two different folders."
        )
    if real_a.is_relative_to(real_b) or real_b.is_relative_to(real_a):
        raise UserError(
            f'one folder of {kind} images lies inside the other: "{printable(a)}" and "{printable(b)}". Folders are '
            "read with everything below them, so one domain would contain the other; give two folders beside one "
            "another."
        )


def annotations_unread(folders: Folders, config: DataConfig) -> list[str]:
    """Return whether label maps by their folder's name are read as pictures, in words."""
    if folders.layout != ANNOTATIONS or config.labels_a is not None:
        return []
    place = folders.train_a
    name = printable(place) if isinstance(place, Path) else type(place).__name__
    return [
        f'"{name}" holds label maps by its name, and its files are read as pictures; for class '
        f"indices set {option('data.labels_a.kind', 'index')}"
    ]
