"""Every file is read before training begins: what is sound, what is not, and why."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import MAX_PIXELS, BadImage, refuse_bomb
from unpaired.data.decode import meaning_of
from unpaired.data.formats import Frame, ImageBytes, Meaning, suffix_of
from unpaired.data.parallel import for_each, sharing_memory
from unpaired.data.reading import PICTURES, ImageFile, OwnImage, Reading
from unpaired.data.streams.shards import StoredImage
from unpaired.data.values import DTYPE_RANGES, Image
from unpaired.data.windows import Large, digest_of, glimpse, share_of_gaps

_LISTED = 5
_REMEMBERED_AT_ONCE = 2000
_TOLERANCE = 1e-3
"""How far floats may lie outside [0, 1]: rounding, not another range."""
_FILE = "checked-4.sqlite"
"""The number changes with the rules of decoding: what older rules found is forgotten."""
_MAX_BYTES = 2**28
_COLUMNS = "path BLOB PRIMARY KEY, size INT, mtime INT, height INT, width INT, channels INT, dtype TEXT, digest BLOB"
_TABLE = f"CREATE TABLE IF NOT EXISTS sound ({_COLUMNS}, low REAL, high REAL, missing REAL, meaning TEXT) WITHOUT ROWID"
_GONE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_Row = tuple[Any, int, int, int, int, int, str, bytes, float | None, float | None, float, str]
_ROW: TypeAdapter[_Row] = TypeAdapter(_Row, config=ConfigDict(strict=True))
_MEANING = TypeAdapter(Meaning)
_NOTHING = Meaning()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What checking found out about a sound image file, or the half of it that is used."""

    path: ImageFile
    height: int
    width: int
    channels: int
    """Channels that networks see."""
    dtype: str
    """Name of the NumPy dtype."""
    digest: bytes
    """BLAKE2b-128 of the file's bytes, and of which half of it this is; of the values for own images."""
    low: float | None
    """Smallest value; None for 8-bit images, where it is of no interest."""
    high: float | None
    """Largest value; None for 8-bit images."""
    missing: float = 0.0
    """Share of the pixels that have no value (NaN, nodata, masks); such images are float32 with NaN when they are
    read."""
    meaning: Meaning = _NOTHING
    """What the file says of its images beyond their pixels."""
    by_windows: bool = False
    """Whether it is too large to be decoded whole: what is said of its values was found in some windows of it."""

    @property
    def format(self) -> str:
        """The file's format by its first bytes, else by its suffix; what an own source is called for its images."""
        if isinstance(self.path, OwnImage):
            return type(self.path.source).__name__
        path = self.path.path if isinstance(self.path, Frame) else self.path
        file = path.load() if isinstance(path, StoredImage) else path
        if isinstance(file, Path) and file.is_dir():
            return suffix_of(file)[1:].upper()
        with file.open("rb") as stream:
            head = stream.read(8)
        if head.startswith(b"\xff\xd8\xff"):
            return "JPEG"
        return "PNG" if head.startswith(b"\x89PNG") else suffix_of(file)[1:].upper()


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that cannot be used, and why."""

    path: ImageFile
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The files of one folder, divided into two lists; both lists in the order in which the files were given."""

    good: list[ImageInfo]
    bad: list[BadFile]


class BadFiles(UserError):
    """Files that cannot be used; `bad_files` lists them, and so does the message."""

    def __init__(self, message: str, bad_files: Sequence[BadFile]) -> None:
        super().__init__(message)
        self.bad_files = list(bad_files)


def check_images(
    paths: Sequence[ImageFile],
    *,
    reading: Reading = PICTURES,
    max_pixels: int = MAX_PIXELS,
    minimum: tuple[int, int] = (1, 1),
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    workers: int = 0,
    large: Large | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Decode every file fully, in parallel, and tell sound from bad ones.

    `reading` says what is taken from each file; `minimum` is the smallest usable (height, width); `channels` what the
    domain was set to (grey and RGB become one another); `value_range` what was declared; of `large` images a grid of
    windows is decoded. What is found out about sound
    files is remembered in the user's cache, by path, size and modification time. `progress(done, total)` is called in
    this thread.
    """
    found = _inspect_all(paths, reading, max_pixels, workers, large, progress)
    alike = {2, 4} if reading.alpha else {1, 3}  # these become one another
    accepted = None if channels is None else alike if channels in alike else {channels}
    good, bad = list[ImageInfo](), list[BadFile]()
    for path in paths:
        info = found[path]
        reason = info if isinstance(info, str) else _unfit(info, max_pixels, minimum, value_range)
        if reason is None and isinstance(info, ImageInfo) and info.channels not in (accepted or {info.channels}):
            reason = f"{info.channels} channels, where the domain has {channels}"
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
    large: Large | None,
    progress: Callable[[int, int], None] | None,
) -> dict[ImageFile, ImageInfo | str]:
    """Return what every file holds, or why it is bad; remembered as it is found, also when this is interrupted."""
    memory = CheckMemory(reading.key())
    known = memory.recall(path for path in paths if isinstance(path, Seen))
    if large is not None:  # what is known of those was found by decoding them whole
        known = {path: info for path, info in known.items() if info.height * info.width <= large.pixels}
    found: dict[ImageFile, ImageInfo | str] = {path: known[path] for path in known}
    unknown = [path for path in paths if path not in found]
    fresh: list[tuple[ImageInfo, Stamp]] = []
    lock = threading.Lock()

    def work(index: int) -> None:
        path = unknown[index]
        try:
            stamp = _stamp(path) if isinstance(path, Seen) else None
            if large is not None and isinstance(path, Path | Frame) and (size := large.size(path)) is not None:
                found[path] = _glimpsed(path, size, reading)
                return
            info = found[path] = _inspect(path, reading, max_pixels)
        except BadImage as error:
            found[path] = error.reason
            return
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            found[path] = "missing: no such file, or a broken link" if missing else f"unreadable: {error.strerror}"
            return
        if stamp is None:  # an own image: nothing says whether it has changed
            return
        with lock:
            fresh.append((info, stamp))
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
        file = path.load() if isinstance(path, StoredImage) else path
        return _described(path, file, *reading.read_valid(file, max_pixels=max_pixels), reading)


def _glimpsed(path: Path | Frame, size: tuple[int, int], reading: Reading) -> ImageInfo:
    """Describe a large image by some windows of it; never remembered, since that takes no time."""
    seen, shares, ends = list[Image](), list[float](), list[tuple[float, float]]()
    for window in glimpse(path, size):
        image, valid = reading.read_valid(window)
        seen.append(image)
        shares.append(1.0 if valid is None else float(valid.mean()))
        if image.dtype != np.uint8 and shares[-1]:
            known = image if valid is None else image[valid]
            ends.append((float(known.min()), float(known.max())))
    low, high = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (None, None)
    missing = max(1 - sum(shares) / len(shares), share_of_gaps(path, size))
    dtype, said = sys.intern(seen[0].dtype.name), meaning_of(path, channels=reading.channels)
    channels, digest = seen[0].shape[2], digest_of(path, seen)
    return ImageInfo(path, *size, channels, dtype, digest, low, high, missing=missing, meaning=said, by_windows=True)


def _described(
    path: ImageFile,
    file: Path | OwnImage | ImageBytes | Frame,
    image: Image,
    valid: NDArray[np.bool_] | None,
    reading: Reading,
) -> ImageInfo:
    """Describe the image that was read from `file`, which is `path` or its content."""
    if isinstance(file, ImageBytes) or (isinstance(file, Path) and file.is_file()):
        with file.open("rb") as stream:
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
        known = image if valid is None else image[valid]
        low, high = float(known.min()), float(known.max())
    missing = 0.0 if valid is None else float(1 - valid.mean())
    meaning = _NOTHING if isinstance(file, OwnImage) else meaning_of(file, channels=reading.channels)
    dtype = sys.intern(image.dtype.name)
    return ImageInfo(path, height, width, channels, dtype, digest, low, high, missing, meaning)


def _unfit(
    info: ImageInfo, max_pixels: int, minimum: tuple[int, int], declared: tuple[float, float] | None
) -> str | None:
    try:
        max_pixels = 2**40 if info.by_windows else max_pixels
        refuse_bomb(info.path, info.height, info.width, info.channels, max_pixels)
    except BadImage as error:
        return error.reason
    if info.height < minimum[0] or info.width < minimum[1]:
        return f"too small: {info.height} x {info.width} (height x width), at least {minimum[0]} x {minimum[1]} needed"
    if declared is not None:
        return None
    remedy = f"declare the values that become -1 and 1 ({option('data.range_a')}, {option('data.range_b')})"
    if info.dtype not in DTYPE_RANGES:
        return f"values of type {info.dtype} have no obvious range; {remedy}"
    outside = info.low is not None and info.high is not None and (info.low < -_TOLERANCE or info.high > 1 + _TOLERANCE)
    if info.dtype.startswith("float") and outside:
        return f"floats from {info.low:g} to {info.high:g}, where [0, 1] is expected; {remedy}"
    return None


Seen = Path | StoredImage | Frame
"""Files of which is remembered what they hold."""
Stamp = tuple[int, int]
"""Size and time of modification, or what says the same of an image in a shard."""


def _place(file: Seen) -> bytes:
    if isinstance(file, StoredImage):
        return file.identity()[0].encode()
    path, view = (file.path, b"\0" + file.key.encode()) if isinstance(file, Frame) else (file, b"")
    return os.fsencode(os.path.abspath(path)) + view


def _stamp(file: Seen) -> Stamp:
    if isinstance(file, Path | Frame):
        path = file.path if isinstance(file, Frame) else file
        found = [os.stat(path)]
        if stat.S_ISDIR(found[0].st_mode):  # an image that is a folder
            found = [os.stat(inner) for inner in sorted(path.rglob("*")) if inner.is_file()]
        return sum(each.st_size for each in found), max((each.st_mtime_ns for each in found), default=0)
    digest = hashlib.blake2b(file.identity()[1].encode(), digest_size=14).digest()
    return int.from_bytes(digest[:7]), int.from_bytes(digest[7:])  # SQLite's integers have 64 bits and a sign


_VALUES = attrgetter("height", "width", "channels", "dtype", "digest", "low", "high", "missing")


class CheckMemory:
    """Remembers sound files by absolute path, size and modification time, in one SQLite file of the user's cache.

    Several runs may use it at once. A damaged file is thrown away; where the folder cannot be written or locked,
    nothing is remembered and everything works, only slower.
    """

    def __init__(self, reading: str = "") -> None:
        """`reading` tells what was found by reading files in one way from what was found in another."""
        self._file: Path | None = None
        # No path holds a zero byte.
        self._suffix = b"\0" + hashlib.blake2b(reading.encode(), digest_size=16).digest() if reading else b""
        with contextlib.suppress(UserError):
            self._file = user_cache_folder() / _FILE
        if self._file is not None and self._file.is_file() and self._file.stat().st_size > _MAX_BYTES:
            self._forget()

    def recall(self, paths: Iterable[Seen]) -> dict[Seen, ImageInfo]:
        """Return what is known of those of the files that have not changed since."""
        known = dict[Seen, ImageInfo]()

        def find(database: sqlite3.Connection) -> None:
            for path in paths:
                row = database.execute("SELECT * FROM sound WHERE path = ?", (self._key(path),)).fetchone()
                if row is not None and (info := _info(path, row)) is not None:
                    known[path] = info

        self._use(find, attempts=1)
        return known

    def remember(self, images: Iterable[tuple[ImageInfo, Stamp]]) -> None:
        """Remember sound images, each with the stamp that its file had before it was read."""
        rows = [
            (self._key(info.path), *stamp, *_VALUES(info), _said(info.meaning))
            for info, stamp in images
            if isinstance(info.path, Seen)
        ]
        insert = f"INSERT OR REPLACE INTO sound VALUES ({', '.join('?' * 12)})"
        self._use(lambda database: database.executemany(insert, rows), attempts=2)

    def _key(self, path: Seen) -> bytes:
        return _place(path) + self._suffix

    def _use(self, work: Callable[[sqlite3.Connection], object], attempts: int) -> None:
        """Do something with the database; a damaged one is thrown away, and a new one tried where that makes sense."""
        for _attempt in range(attempts if self._file is not None else 0):
            try:
                assert self._file is not None
                with closing(sqlite3.connect(self._file, timeout=30)) as database, database:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.execute("PRAGMA synchronous = NORMAL")
                    database.execute(_TABLE)
                    work(database)
                return
            except sqlite3.DatabaseError as error:
                code = getattr(error, "sqlite_errorcode", None)
                if code not in _GONE and isinstance(error, sqlite3.OperationalError):
                    return
                self._forget()

    def _forget(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self._file}{suffix}")


def _info(path: Seen, row: tuple[object, ...]) -> ImageInfo | None:
    """Return what a row says, or None where the file has changed or the row makes no sense."""
    try:
        _, size, mtime, height, width, channels, dtype, digest, low, high, missing, said = _ROW.validate_python(row)
        meaning = _MEANING.validate_json(said) if said else _NOTHING
        if _stamp(path) != (size, mtime):
            return None
    except (OSError, ValidationError):
        return None
    # The same few words for 100,000 files are kept once.
    return ImageInfo(path, height, width, channels, sys.intern(dtype), digest, low, high, missing, meaning)


def _said(meaning: Meaning) -> str:
    return "" if meaning == _NOTHING else _MEANING.dump_json(meaning).decode()
