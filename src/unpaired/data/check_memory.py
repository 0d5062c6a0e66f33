"""What is known of files that were checked before, so that the next run starts at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.data.reading import ImageFile

_FILE = "checked-2.sqlite"
"""The number changes with the rules of decoding: what older rules found is forgotten."""
_MAX_BYTES = 2**28
_COLUMNS = "path BLOB PRIMARY KEY, size INT, mtime INT, height INT, width INT, channels INT, dtype TEXT, digest BLOB"
_TABLE = f"CREATE TABLE IF NOT EXISTS sound ({_COLUMNS}, low REAL, high REAL) WITHOUT ROWID"
_GONE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ROW: TypeAdapter[tuple[Any, int, int, int, int, int, str, bytes, float | None, float | None]] = TypeAdapter(
    tuple[Any, int, int, int, int, int, str, bytes, float | None, float | None], config=ConfigDict(strict=True)
)


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

    @property
    def format(self) -> str:
        """The file's format by its first bytes, else by its suffix; what an own source is called for its images."""
        if not isinstance(self.path, Path):
            return type(self.path.source).__name__
        with self.path.open("rb") as stream:
            head = stream.read(8)
        if head.startswith(b"\xff\xd8\xff"):
            return "JPEG"
        return "PNG" if head.startswith(b"\x89PNG") else self.path.suffix[1:].upper()


_VALUES = attrgetter("height", "width", "channels", "dtype", "digest", "low", "high")


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

    def recall(self, paths: Iterable[Path]) -> dict[Path, ImageInfo]:
        """Return what is known of those of the files that have not changed since."""
        known = dict[Path, ImageInfo]()

        def find(database: sqlite3.Connection) -> None:
            for path in paths:
                row = database.execute("SELECT * FROM sound WHERE path = ?", (self._key(path),)).fetchone()
                if row is not None and (info := _info(path, row)) is not None:
                    known[path] = info

        self._use(find, attempts=1)
        return known

    def remember(self, images: Iterable[tuple[ImageInfo, os.stat_result]]) -> None:
        """Remember sound images, each with the status that its file had before it was read."""
        rows = [
            (self._key(Path(info.path)), status.st_size, status.st_mtime_ns, *_VALUES(info)) for info, status in images
        ]
        insert = f"INSERT OR REPLACE INTO sound VALUES ({', '.join('?' * 10)})"
        self._use(lambda database: database.executemany(insert, rows), attempts=2)

    def _key(self, path: Path) -> bytes:
        return os.fsencode(os.path.abspath(path)) + self._suffix

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


def _info(path: Path, row: tuple[object, ...]) -> ImageInfo | None:
    """Return what a row says, or None where the file has changed or the row makes no sense."""
    try:
        _, size, mtime, height, width, channels, dtype, digest, low, high = _ROW.validate_python(row)
        status = os.stat(path)
    except (OSError, ValidationError):
        return None
    if (status.st_size, status.st_mtime_ns) != (size, mtime):
        return None
    # The same few words for 100,000 files are kept once.
    return ImageInfo(path, height, width, channels, sys.intern(dtype), digest, low, high)
