"""The user's cache: files that are made once, shared by all processes, bounded, and made again when missing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import filelock

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_file, clear_leftovers, write_atomic
from unpaired.core.text import printable

OWN_FOLDER = "unpaired-cache"
"""What is ours in a folder that the user chose, where other things may lie too."""
_NO_LOCKS = (OSError, NotImplementedError)
"""What a file system without locks raises."""


class CacheError(UserError):
    """The cache cannot be written; what it would hold can be made without it, where there is memory for it."""


def user_cache_folder() -> Path:
    """Return the user's cache folder, made if need be: in `UNPAIRED_CACHE` where set, else in the platform's place.

    It is a folder of our own (`UNPAIRED_CACHE/unpaired-cache`), since what is old in it is deleted. Everything in it
    can be deleted at any time; it is made again. Raises `CacheError` where it cannot be written.
    """
    import platformdirs

    chosen = os.environ.get("UNPAIRED_CACHE")
    usual = platformdirs.user_cache_path("unpaired", appauthor=False)
    folder = Path(os.path.expanduser(chosen)) / OWN_FOLDER if chosen else usual
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
    except OSError as error:
        raise CacheError(
            f'cannot use the cache folder "{printable(folder)}": {error.strerror}. '
            "Set the environment variable UNPAIRED_CACHE to a folder that can be written."
        ) from error
    return folder


def cache_key(depends_on: Any) -> str:
    """Return a key, 32 hexadecimal digits, for what plain JSON describes."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Files of one kind, each named by a key, in a folder of their own.

    A file is there whole or not at all. One process makes it while others wait; where the file system knows no locks
    each makes its own. Beyond `limit_bytes` the least recently used files are deleted, never one that a process is
    making, and never a file whose name is none of this cache's.
    """

    folder: str
    """Name of the folder within the user's cache."""
    suffix: str
    """Of the files, such as `.npz`."""
    limit_bytes: int
    checked: bool = False
    """Whether a checksum is kept beside each file and compared whenever the file is looked for."""

    def path(self, key: str) -> Path:
        """Return where the file of a key lies; `CacheError` where the cache folder cannot be used."""
        folder = user_cache_folder() / self.folder
        return folder / f"{key}{self.suffix}"

    def find(self, key: str) -> Path | None:
        """Return the file of a key, now the most recently used; None where there is no whole one."""
        with contextlib.suppress(UserError, OSError):
            path = self.path(key)
            if self._is_whole(path):
                os.utime(path)
                return path
        return None

    def get(self, key: str, make: Callable[[Path], None], *, is_whole: Callable[[Path], bool] | None = None) -> Path:
        """Return the file of a key, made first where there is no whole one: `make` writes the path it is given.

        The file may be deleted by another process afterwards; what is open stays readable. Raises `CacheError`
        where it cannot be written.
        """
        path = self.path(key)
        try:
            make_once(path, lambda temporary: self._make(path, temporary, make), is_whole or self._is_whole)
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                raise _cannot_keep(path.parent, error.__cause__) from error
            raise
        with contextlib.suppress(OSError):
            os.utime(path)
        self.prune(keep=key)
        return path

    def put(self, key: str, content: bytes) -> None:
        """Keep a file's content; where that is impossible it is not kept."""
        with contextlib.suppress(UserError):
            self.get(key, lambda path: _write(path, content))

    def prune(self, *, keep: str | None = None) -> None:
        """Delete the least recently used files beyond the limit, and what killed processes have left behind."""
        groups: dict[str, list[Path]] = {}
        with contextlib.suppress(OSError, UserError):
            for path in self.path("").parent.iterdir():
                match = re.fullmatch(r"\.?([0-9a-f]{32})\..+", path.name)
                if match and path.suffix in (self.suffix, ".sha256", ".lock"):
                    groups.setdefault(match[1], []).append(path)
        room = self.limit_bytes
        found = [(*self._used(key, paths), key, paths) for key, paths in groups.items()]
        for _, size, key, paths in sorted(found, reverse=True):
            room -= size
            leftovers = [path for path in paths if path.name.startswith(".")]
            if key != keep and (room < 0 or not size):
                _delete_unless_locked(paths)
            elif leftovers:
                _delete_unless_locked(leftovers)

    def _used(self, key: str, paths: list[Path]) -> tuple[float, int]:
        """Return when the file of a key was used last, and its bytes; zeros where there is none."""
        for path in paths:
            if path.name == f"{key}{self.suffix}":
                with contextlib.suppress(OSError):
                    status = path.stat()
                    return status.st_mtime, status.st_size
        return 0.0, 0

    def _is_whole(self, path: Path) -> bool:
        if not self.checked or not path.is_file():
            return path.is_file()
        try:
            return _checksum(path) == path.with_suffix(".sha256").read_text(encoding="ascii")
        except (OSError, ValueError):
            return False

    def _make(self, path: Path, temporary: Path, make: Callable[[Path], None]) -> None:
        make(temporary)
        if self.checked:
            write_atomic(path.with_suffix(".sha256"), _checksum(temporary))


def make_once(path: Path, make: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.is_file) -> None:
    """Let one process make a file while others wait: `make` writes a temporary path that takes its place when whole.

    Raises `CacheError` where its folder cannot be made, `UserError` where it cannot be written.
    """
    if is_whole(path):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_keep(path.parent, error) from error
    with _one_at_a_time(path):
        if is_whole(path):  # another process has made it in the meantime
            return
        clear_leftovers(path.parent, of=path)  # of a killed process: this one holds the lock
        with atomic_file(path) as temporary:
            make(temporary)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot_keep(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f'cannot write into the cache folder "{printable(folder)}": {error.strerror or error}. Make room there, or set '
        "UNPAIRED_CACHE to a folder on another disk."
    )


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(*_NO_LOCKS):
            held.enter_context(filelock.FileLock(path.with_suffix(".lock")))
        yield


def _delete_unless_locked(paths: list[Path]) -> None:
    """Delete files of one key, unless a process holds their lock or cannot be asked."""
    lock = paths[0].with_name(f"{paths[0].name.lstrip('.')[:32]}.lock")
    with contextlib.suppress(filelock.Timeout, *_NO_LOCKS), filelock.FileLock(lock, timeout=0):
        for path in (*paths, lock):  # who waits for the lock notices that its file is gone, and makes a new one
            path.unlink(missing_ok=True)
