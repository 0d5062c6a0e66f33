"""Folders of translations and of real images, whoever fake them, and which file belongs to which.

Files belong together when their paths below their folders agree without suffix, and without the ending that tells what
they are: `_real`, `_fake`, `_rec` or `_idt`, alone or with `_A` or `_B`. So `n01_fake_B.png` of the authors' code
belongs to `n01_real_A.png` and to `n01.jpg`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.check import BadFiles, ImageInfo, check_images, require
from unpaired.data.config import DataConfig
from unpaired.data.describe import range_with_gaps
from unpaired.data.folders import in_frames, list_images
from unpaired.data.formats import Frame, container_suffixes, suffix_of
from unpaired.data.held_out import evenly
from unpaired.data.source import FolderSource
from unpaired.data.training import Progress
from unpaired.data.values import Domain
from unpaired.evaluation.dataset import Images, Row, Task
from unpaired.evaluation.options import Options

RULE = (
    "Files belong together when their names agree without suffix and without the endings _real, _fake, _rec and _idt "
    "(with _A or _B or without)"
)
_ENDING = re.compile(r"_(real|fake|rec|idt)(_[AB])?$")
_PATTERN = re.compile(r"[*?\[]")
_LISTED = 10


@dataclass(frozen=True, slots=True)
class _Folder:
    """One side: its setting as its user knows it, the folder, its sound files."""

    option: str
    root: Path
    files: list[ImageInfo]

    def by_key(self) -> dict[str, int]:
        """Return the position of every file by what it is matched by; `UserError` where two would be the same."""
        found: dict[str, int] = {}
        for position, info in enumerate(self.files):
            frame = info.path if isinstance(info.path, Frame) else None
            key = key_of(Path(info.path) if frame is None else frame.path, self.root)
            key += "" if frame is None else f"#{frame.index}"
            if key in found:
                raise UserError(
                    f'{self.option}: "{printable(self.files[found[key]].path)}" and "{printable(info.path)}" have the '
                    f"same name, so it is not clear which of them is meant. {RULE}. Rename or remove one of them, or "
                    f"give a pattern in quotes, such as '{printable(self.root)}/*_fake_B.png'."
                )
            found[key] = position
        return found


def key_of(path: Path, root: Path) -> str:
    """Return what a file is matched by, see `RULE`."""
    relative = path.relative_to(root)
    whole = relative.name[: len(relative.name) - len(suffix_of(relative))]
    stem = _ENDING.sub("", whole)
    return unicodedata.normalize("NFC", relative.with_name(stem or whole or relative.name).as_posix())


def open_folders(options: Options, progress: Progress | None) -> tuple[Task, list[str]]:
    """Find, check and match the images of `real`, `fake` and `inputs`; return them and notices.

    Raises `UserError` where a folder or pattern holds no images, `BadFiles` where images are bad or have no partner.
    """
    assert options.real is not None
    assert options.fake is not None
    places = {"real": options.real, "fake": options.fake}
    if options.input is not None:
        places["input"] = options.input
    listed = {name: _listed(option(name), place) for name, place in places.items()}
    checked = {
        option(name): check_images(
            in_frames(paths), max_pixels=options.max_pixels or MAX_PIXELS, progress=_progress_of(progress, option(name))
        )
        for name, (_, paths) in listed.items()
    }
    notices = require(checked, options.on_bad_image or "fail")
    sides = {name: _Folder(option(name), root, checked[option(name)].good) for name, (root, _) in listed.items()}
    channels = _channels(sides)
    rows, alone = _match(sides, options)
    notices += alone
    sets = {name: _images(side, channels, options) for name, side in sides.items()}
    chosen = [rows[index] for index in evenly(len(rows), options.images)]
    real = [row.target for row in chosen if row.target is not None] if options.paired else None
    inputs = sets.get("input")
    task = Task(
        direction="folders",
        heading=f"{_called(options.fake)} against {_called(options.real)}",
        target_name=_called(options.real),
        inputs=None if inputs is None else inputs.only([row.input for row in chosen if row.input is not None]),
        fakes=sets["fake"].only([row.fake for row in chosen if row.fake is not None]),
        real=sets["real"].only(evenly(len(sides["real"].files), options.images) if real is None else real),
        rows=tuple(chosen),
        split="folder",
    )
    return task, notices


def _called(place: str | Path) -> str:
    """Return the name of a folder or pattern: its last part."""
    return printable(Path(os.path.expanduser(place)).absolute().name)


def _progress_of(progress: Progress | None, option: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(f"checking {option}", done, total)


def _listed(setting: str, place: str | Path) -> tuple[Path, list[Path]]:
    """Return the folder and its images, or those that a pattern names."""
    path = Path(os.path.expanduser(place))
    if path.is_dir():
        paths = list_images(path)
        _refuse_mixture(setting, path, paths)
        return path, paths
    if path.exists():
        if suffix_of(path) in container_suffixes():
            return path.parent, [path]
        raise UserError(f'{setting} "{printable(path)}" is a file. Give a folder of images, or a clip.')
    if _PATTERN.search(path.name) and path.parent.is_dir():
        paths = [found for found in list_images(path.parent) if fnmatch.fnmatchcase(found.name, path.name)]
        if not paths:
            raise UserError(f'{setting} "{printable(path)}": no image in "{printable(path.parent)}" fits this pattern.')
        return path.parent, paths
    siblings = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    raise UserError(f'{setting} "{printable(path)}" does not exist.{did_you_mean(path.name, siblings)}')


def _refuse_mixture(setting: str, folder: Path, paths: Sequence[Path]) -> None:
    """Raise `UserError` for a folder in which inputs and translations lie together, as the authors' code leaves it."""
    kinds = Counter(found[0] for path in paths if (found := _ENDING.search(path.stem)) is not None)
    if len(kinds) > 1:
        held = ", ".join(f"{count} files *{kind}" for kind, count in kinds.most_common())
        raise UserError(
            f'{setting} "{printable(folder)}" holds images of several kinds: {held}. Say which are meant by a pattern '
            f"in quotes, such as {setting} '{printable(folder)}/*_fake_B.png'."
        )


def _match(sides: Mapping[str, _Folder], options: Options) -> tuple[list[Row], list[str]]:
    """Return one row for every translation that has the partners it needs; files without one are an error."""
    fake = sides["fake"].by_key() if options.paired or options.input is not None else None
    if fake is None:
        return [Row(None, index, None) for index in range(len(sides["fake"].files))], []
    partners = [name for name, asked in {"real": options.paired, "input": options.input is not None}.items() if asked]
    keyed = {name: sides[name].by_key() for name in partners}
    lines = list[str]()
    for name, keys in keyed.items():
        lines += _alone(sides["fake"], fake, keys, sides[name]) + _alone(sides[name], keys, fake, sides["fake"])
    keep = [key for key in fake if all(key in keys for keys in keyed.values())]
    listed = "\n".join(lines[:_LISTED])
    if not keep or (lines and options.on_bad_image != "skip"):
        more = f"\n  and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        raise BadFiles(
            f"{len(lines)} file{'s have' if len(lines) > 1 else ' has'} no partner:\n{listed}{more}\n{RULE}. Rename or "
            f"remove them, or leave them out with {option('on_bad_image', 'skip')}.",
            [],
        )
    notices = [f"{plural(len(lines), 'file')} without a partner, left out:\n{listed}"] if lines else []
    inputs, real = keyed.get("input", {}), keyed.get("real", {})
    return [Row(inputs.get(key), fake[key], real.get(key)) for key in keep], notices


def _alone(side: _Folder, keys: Mapping[str, int], others: Mapping[str, int], other: _Folder) -> list[str]:
    return [
        f"  {side.option} {printable(side.files[position].path)}: nothing of this name in {other.option}"
        for key, position in keys.items()
        if key not in others
    ]


def _channels(sides: Mapping[str, _Folder]) -> int:
    """Return the channels that all images are compared in: one where all are grey, else those of all."""
    counts = {info.channels for side in sides.values() for info in side.files}
    if counts == {1, 3}:
        return 3
    if len(counts) > 1:
        found = "; ".join(
            f"{side.option} has {', '.join(map(str, sorted({info.channels for info in side.files})))}"
            for side in sides.values()
        )
        raise UserError(f"images of different channels cannot be compared: {found}. Only grey and RGB can be mixed.")
    return counts.pop()


def _images(side: _Folder, channels: int, options: Options) -> Images:
    if options.image_size is None:
        config = DataConfig(preprocess="none")
        sizes = [(info.height, info.width) for info in side.files]
    else:
        size = options.image_size
        config = DataConfig(preprocess="resize_and_crop", crop_size=size, load_size=size)
        sizes = [size] * len(side.files)
    deep = {info.dtype for info in side.files}
    units = {info.meaning.unit for info in side.files}
    gaps = any(info.missing for info in side.files)
    return Images(
        source=FolderSource(side.files, config, channels=channels, size_multiple=1),
        # Values are read by each file's own type; this one says how deep a picture of them would be.
        domain=Domain(
            channels=channels,
            dtype="uint8" if deep == {"uint8"} else "float32",
            range=range_with_gaps(side.option, deep) if gaps else None,
            unit=options.unit or (units.pop() if len(units) == 1 else ""),
        ),
        files=tuple(side.files),
        sizes=tuple(sizes),
        positions=tuple(range(len(side.files))),
        prepared="as they are" if options.image_size is None else f"resized to {sizes[0][0]} x {sizes[0][1]}, whole",
    )
