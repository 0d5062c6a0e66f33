"""Which image of A belongs to which of B: files of the same name, the two halves of one file, or equal positions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.check import BadFile, BadFiles, Checked, ImageInfo, listed
from unpaired.data.config import DataConfig
from unpaired.data.folders import Folders, Place, list_images
from unpaired.data.formats import Frame
from unpaired.data.reading import ImageFile
from unpaired.data.streams.shards import StoredImage
from unpaired.data.streams.stream import Stream
from unpaired.data.transforms import prepared_size

_RULE = "A pair is two files whose paths agree, below their folders and without suffix"


def match_pairs(
    place_a: Place,
    place_b: Place,
    a: Sequence[ImageFile],
    b: Sequence[ImageFile],
    on_mismatch: Literal["fail", "skip"],
) -> tuple[Sequence[ImageFile], Sequence[ImageFile], list[str]]:
    """Return the images of both domains that have a partner, in one order, and what a person should know.

    Files and members of tar files match by name, rows of tables by number; two own sources match by position and must
    be of one length.
    """
    if isinstance(place_a, Path) and isinstance(place_b, Path):
        return match_by_name(place_a, place_b, [Path(f) for f in a], [Path(f) for f in b], on_mismatch)
    if isinstance(place_a, Stream) and isinstance(place_b, Stream):
        return match_by_name(place_a, place_b, a, b, on_mismatch)
    if any(isinstance(place, Path | Stream) for place in (place_a, place_b)) or len(a) != len(b):
        raise UserError(
            f"pairs need two folders (or two streams of shards) that agree in their names, or two own sources of one "
            "length; received "
            f"{_described(place_a, a)} and {_described(place_b, b)}."
        )
    return a, b, []


def _described(place: Place, files: Sequence[ImageFile]) -> str:
    kind = "a folder" if isinstance(place, Path) else "shards" if isinstance(place, Stream) else "a source"
    return f"{kind} of {plural(len(files), 'image')}"


def match_by_name(
    folder_a: Path | Stream,
    folder_b: Path | Stream,
    a: Sequence[ImageFile],
    b: Sequence[ImageFile],
    on_mismatch: Literal["fail", "skip"],
) -> tuple[list[ImageFile], list[ImageFile], list[str]]:
    """Return the files of both places that have a partner, in one order, and what a person should know.

    Partners agree in their path below the folder without its suffix, or in their `key` in shards (in Unicode form NFC).
    Raises `UserError` where two files of one folder have the same name, where nothing matches, and, with "fail", where
    any file has no partner; `BadFiles` lists those.
    """
    named_a, named_b = _by_name(folder_a, a), _by_name(folder_b, b)
    both = [name for name in named_a if name in named_b]
    without = [
        BadFile(path, f"no file of this name (without suffix) in {printable(other)}")
        for named, others, other in ((named_a, named_b, folder_b), (named_b, named_a, folder_a))
        for name, path in named.items()
        if name not in others
    ]
    if not both:
        raise BadFiles(
            f'no file of "{printable(folder_a)}" has a partner in "{printable(folder_b)}":\n{listed(without)}\n'
            f"{_RULE}. Rename the files, or train a method that needs no pairs.",
            without,
        )
    count = f"{plural(len(without), 'file')} without a partner"
    if without and on_mismatch == "fail":
        raise BadFiles(
            f"{count}:\n{listed(without)}\n{_RULE}. Rename or remove them, or leave them out with "
            f"{option('data.on_bad_image', 'skip')}.",
            without,
        )
    notices = [f"{count}, left out:\n{listed(without)}"] if without else []
    return [named_a[name] for name in both], [named_b[name] for name in both], notices


def count_pairs(folders: Folders) -> tuple[int | None, str | None]:
    """Return how many training pairs the names of the files make, or None and why; test images must match as well."""
    counts, alone = list[int](), list[ImageFile]()
    for a, b in ((folders.train_a, folders.train_b), (folders.test_a, folders.test_b)):
        if isinstance(a, Path) and isinstance(b, Path):
            try:
                counts.append(len(match_by_name(a, b, list_images(a), list_images(b), "fail")[0]))
            except BadFiles as error:
                alone += [bad.path for bad in error.bad_files]
            except UserError as error:
                return None, str(error)
    if alone:
        files = f"{plural(len(alone), 'file')} {'has' if len(alone) == 1 else 'have'} no partner of the same name"
        return None, f'{files}, such as "{printable(alone[0])}"'
    return (counts[0] if counts else None), None


def whole_pairs(
    files_a: Sequence[ImageFile], files_b: Sequence[ImageFile], a: Checked, b: Checked
) -> tuple[list[ImageInfo], list[ImageInfo], list[str]]:
    """Return the pairs of which both sides are sound, and what a person should know; row i of both lists is a pair.

    `files_a[i]` and `files_b[i]` are partners. Raises `BadFiles` where no pair is left.
    """
    sound_a, sound_b = ({info.path: info for info in side.good} for side in (a, b))
    rows = [
        (sound_a[one], sound_b[two])
        for one, two in zip(files_a, files_b, strict=True)
        if one in sound_a and two in sound_b
    ]
    if not rows:
        raise BadFiles("no pair is left of which both images can be used.", [*a.bad, *b.bad])
    alone = len(sound_a) + len(sound_b) - 2 * len(rows)
    notices = []
    if alone:
        one = alone == 1
        notices.append(
            f"{plural(alone, 'sound image')} {'is' if one else 'are'} left out because the other image of "
            f"{'its pair' if one else 'their pairs'} cannot be used"
        )
    return [one for one, _ in rows], [two for _, two in rows], notices


def require_equal_sizes(
    a: Sequence[ImageInfo], b: Sequence[ImageInfo], config: DataConfig, *, size_multiple: int
) -> None:
    """Raise `UserError` where the two images of a pair would be prepared to different sizes; it lists them."""
    different = list[BadFile]()
    for one, two in zip(a, b, strict=True):
        sizes = [prepared_size(info.height, info.width, config, size_multiple=size_multiple) for info in (one, two)]
        if sizes[0] != sizes[1]:
            other = f"{printable(two.path)}: {two.height} x {two.width}"
            different.append(BadFile(one.path, f"{one.height} x {one.width}, and {other}"))
    if different:
        raise UserError(
            f"{plural(len(different), 'pair')} of images of different sizes (height x width):\n{listed(different)}\n"
            f"The two images of a pair are cut at the same place, and {option('data.preprocess', config.preprocess)} "
            "does not bring them to one size. Use resize_and_crop, or make their sizes equal."
        )


def _by_name(folder: Path | Stream, paths: Sequence[ImageFile]) -> dict[str, ImageFile]:
    named: dict[str, ImageFile] = {}
    for path in paths:
        below = path.key if isinstance(path, StoredImage) else Path(path).relative_to(folder).with_suffix("").as_posix()
        below += f"#{path.index}" if isinstance(path, Frame) else ""
        name = unicodedata.normalize("NFC", below)
        if name in named:
            raise UserError(
                f'"{printable(named[name])}" and "{printable(path)}" have the same name without suffix, so it is not '
                "clear which of them belongs to the other domain's. Rename or remove one of them."
            )
        named[name] = path
    return named
