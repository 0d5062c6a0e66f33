"""Every file is read before training begins: what is sound, what is not, and why."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import MAX_PIXELS, BadImage, refuse_bomb
from unpaired.data.check_memory import CheckMemory, ImageInfo
from unpaired.data.parallel import for_each, sharing_memory
from unpaired.data.reading import PICTURES, ImageFile, Reading
from unpaired.data.values import DTYPE_RANGES, Image

__all__ = ["BadFile", "BadFiles", "Checked", "ImageInfo", "check_images", "require"]

_LISTED = 5
_REMEMBERED_AT_ONCE = 2000
_TOLERANCE = 1e-3
"""How far floats may lie outside [0, 1]: rounding, not another range."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that cannot be used, and why."""

    path: ImageFile
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The files of one folder, told apart; both lists in the order in which the files were given."""

    good: list[ImageInfo]
    bad: list[BadFile]


class BadFiles(UserError):
    """Files that cannot be used; `bad_files` lists them, and so does the message."""

    def __init__(self, message: str, bad_files: Sequence[BadFile]) -> None:
        super().__init__(message)
        self.bad_files = list(bad_files)


class _Limits(NamedTuple):
    """What the settings ask of a sound image."""

    max_pixels: int
    minimum: tuple[int, int]
    channels: int | None
    alike: tuple[set[int], ...]
    """Numbers of channels that become one another."""
    value_range: tuple[float, float] | None


def check_images(
    paths: Sequence[ImageFile],
    *,
    reading: Reading = PICTURES,
    max_pixels: int = MAX_PIXELS,
    minimum: tuple[int, int] = (1, 1),
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Decode every file fully, in parallel, and tell sound from bad ones.

    `reading` says what is taken from each file; `minimum` is the smallest usable (height, width); `channels` what the
    domain was set to (grey and RGB become one another); `value_range` what was declared. What is found out about sound
    files is remembered in the user's cache, by path, size and modification time. `progress(done, total)` is called in
    this thread.
    """
    found = _inspect_all(paths, reading, max_pixels, workers, progress)
    alike = ({2, 4},) if reading.alpha else ({1, 3},)
    limits = _Limits(max_pixels, minimum, channels, alike, value_range)
    good, bad = list[ImageInfo](), list[BadFile]()
    for path in paths:
        info = found[path]
        reason = info if isinstance(info, str) else _unfit(info, limits)
        if reason is not None:
            bad.append(BadFile(path, reason))
        elif isinstance(info, ImageInfo):
            good.append(info)
    return Checked(good, bad)


def require(checked: Mapping[str, Checked], on_bad: Literal["fail", "skip"]) -> list[str]:
    """Raise `BadFiles` where files of any folder (by name) cannot be used; return what a person should know.

    "fail": any bad file is an error that lists all of them. "skip": they are left out, with a notice; a folder of
    which nothing is left is an error.
    """
    # A side-by-side file is read once for each half, and listed once.
    every = dict.fromkeys(file for part in checked.values() for file in part.bad)
    bad = sorted(every, key=lambda file: os.fspath(file.path))
    if bad and on_bad == "fail":
        raise BadFiles(
            f"{plural(len({file.path for file in bad}), 'file')} cannot be used:\n{listed(bad)}\n"
            f"Repair or remove them, or leave them out with {option('data.on_bad_image', 'skip')}.",
            bad,
        )
    for name, part in checked.items():
        if not part.good:
            raise BadFiles(f"no usable image is left in {name}:\n{listed(part.bad)}", bad)
    return [
        f"{name}: {plural(len(part.bad), 'file')} left out:\n{listed(part.bad)}"
        for name, part in checked.items()
        if part.bad
    ]


def listed(bad: Sequence[BadFile]) -> str:
    """Return the files, one a line; of many with the same reason (but for its numbers) the first ones."""
    kinds: dict[str, list[BadFile]] = {}
    for file in bad:
        kinds.setdefault(re.sub(r"\d+", "0", file.reason), []).append(file)
    lines = []
    for files in kinds.values():
        named = files if len(files) <= _LISTED + 1 else files[:_LISTED]
        lines += [f"  {file}" for file in named]
        if len(named) < len(files):
            lines.append(f"  and {len(files) - len(named):,} more for the same reason")
    return "\n".join(lines)


def _inspect_all(
    paths: Sequence[ImageFile],
    reading: Reading,
    max_pixels: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[ImageFile, ImageInfo | str]:
    """Return what every file holds, or why it is bad; remembered as it is found, also when this is interrupted."""
    memory = CheckMemory(reading.key())
    known = memory.recall(path for path in paths if isinstance(path, Path))
    found: dict[ImageFile, ImageInfo | str] = {path: known[path] for path in known}
    unknown = [path for path in paths if path not in found]
    fresh: list[tuple[ImageInfo, os.stat_result]] = []
    lock = threading.Lock()

    def work(index: int) -> None:
        path = unknown[index]
        try:
            status = os.stat(path) if isinstance(path, Path) else None
            info = found[path] = _inspect(path, reading, max_pixels)
        except BadImage as error:
            found[path] = error.reason
            return
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            found[path] = "missing: no such file, or a broken link" if missing else f"unreadable: {error.strerror}"
            return
        if status is None:  # an own image: nothing says whether it has changed
            return
        with lock:
            fresh.append((info, status))
            ready = fresh[:] if len(fresh) >= _REMEMBERED_AT_ONCE else []
            if ready:
                fresh.clear()
        if ready:
            memory.remember(ready)

    before = len(paths) - len(unknown)
    report = None if progress is None else lambda done, _: progress(before + done, len(paths))
    try:
        for_each(len(unknown), work, workers=workers, progress=report)
    finally:
        if fresh:
            memory.remember(fresh)
    return found


def _inspect(path: ImageFile, reading: Reading, max_pixels: int) -> ImageInfo:
    with sharing_memory():
        return _described(path, reading.read(path, max_pixels=max_pixels), reading)


def _described(path: ImageFile, image: Image, reading: Reading) -> ImageInfo:
    if isinstance(path, Path):
        with path.open("rb") as stream:
            half = (reading.half or "").encode()
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16, person=half)).digest()
    else:
        kind = f"{image.shape} {image.dtype}".encode()
        digest = hashlib.blake2b(kind + image.tobytes(), digest_size=16, person=b"own").digest()
    height, width, channels = image.shape
    if reading.labels is not None:
        channels = reading.labels.channels
    low = high = None
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
    return ImageInfo(path, height, width, channels, sys.intern(image.dtype.name), digest, low, high)


def _unfit(info: ImageInfo, limits: _Limits) -> str | None:
    minimum, channels = limits.minimum, limits.channels
    try:
        refuse_bomb(Path(info.path), info.height, info.width, info.channels, limits.max_pixels)
    except BadImage as error:
        return error.reason
    if info.height < minimum[0] or info.width < minimum[1]:
        return f"too small: {info.height} x {info.width} (height x width), at least {minimum[0]} x {minimum[1]} needed"
    if channels is not None and info.channels != channels and {info.channels, channels} not in limits.alike:
        return f"{info.channels} channels, where the domain has {channels}"
    if limits.value_range is not None:
        return None
    remedy = f"declare the values that become -1 and 1 ({option('data.range_a')}, {option('data.range_b')})"
    if info.dtype not in DTYPE_RANGES:
        return f"values of type {info.dtype} have no obvious range; {remedy}"
    outside = info.low is not None and info.high is not None and (info.low < -_TOLERANCE or info.high > 1 + _TOLERANCE)
    if info.dtype.startswith("float") and outside:
        return f"floats from {info.low:g} to {info.high:g}, where [0, 1] is expected; {remedy}"
    return None
