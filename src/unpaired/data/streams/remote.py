"""Files on disk and in remote storage: found by patterns, compared with what they were before, fetched into a cache."""

from __future__ import annotations

import glob
import itertools
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from unpaired.core.cache import Cache, cache_key
from unpaired.core.errors import UserError, needs_extra
from unpaired.core.files import means_full_disk
from unpaired.core.text import printable

T = TypeVar("T")

CACHE_GIB = 20.0
"""Bound of the cache in GiB, unless `data.shard_cache` says otherwise."""
ATTEMPTS = 5
"""How often a request is sent before the storage is taken for unreachable."""
FIRST_PAUSE = 0.5
"""Seconds before a request is sent again; each further pause is twice as long."""
STALL_SECONDS = 60.0
"""A web server that sends nothing for so long has failed; other storage has such a limit of its own."""
BLOCK = 8 * 2**20
"""Bytes of one request; so much is lost where a connection breaks."""
_AT_ONCE = 8
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST_PATTERNS = 1_000_000
# fmt: off
_STAMPS = (
    "ETag", "etag", "Content-MD5", "md5Hash", "checksum", "blob_id", "generation", "LastModified", "Last-Modified",
    "mtime",
)
# fmt: on
"""What the packages of storage call what changes with the content."""


def shard_cache(gib: float = CACHE_GIB) -> Cache:
    """Return the cache of fetched and unpacked shards, bounded by so many GiB."""
    return Cache(folder="shards", suffix=".shard", limit_bytes=int(gib * 2**30))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file, and what tells it from another one of the same name."""

    url: str
    """A URL of remote storage, or a path."""
    size: int | None
    """Bytes; None where a web server does not say."""
    stamp: str
    """Changes with the content: an entity tag, or size and time of modification."""
    cache: Cache = field(default_factory=shard_cache, repr=False, compare=False)
    """Where remote files are kept while they are used."""

    @property
    def is_remote(self) -> bool:
        """Whether it has to be fetched."""
        return is_remote(self.url)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.url.rstrip("/").rpartition("/")[2] if self.is_remote else os.path.basename(self.url)

    def path(self) -> Path:
        """Return where it lies on this machine, fetched first if need be; it may be deleted while it is not open."""
        if not self.is_remote:
            return Path(self.url)
        key = cache_key([self.url, self.stamp])
        return self.cache.find(key) or self.cache.get(key, self._fetch)

    def open(self) -> BinaryIO:
        """Open it for reading; `UserError` where it is another file by now or cannot be reached."""
        for _ in range(ATTEMPTS):
            path = self.path()
            try:
                stream = path.open("rb")
            except FileNotFoundError:
                if self.is_remote:  # another process made room
                    continue
                raise UserError(f'"{printable(self.url)}" has been deleted. Put it back.') from None
            except OSError as error:
                raise UserError(f'"{printable(self.url)}" cannot be read: {error.strerror}.') from error
            if not self.is_remote and _local_stamp(os.fstat(stream.fileno())) != self.stamp:
                stream.close()
                raise self._changed()
            return stream
        raise UserError(f'"{printable(self.url)}" is deleted from the cache as soon as it is there. Make it larger.')

    def read(self) -> bytes:
        """Return its content without keeping it, for small files."""
        if not self.is_remote:
            with self.open() as stream:
                return stream.read()
        fs, path = open_fs(self.url)
        return request(self.url, lambda: bytes(fs.cat_file(path)))

    def _fetch(self, to: Path) -> None:
        fs, path = open_fs(self.url)
        with to.open("wb") as out:
            if self.size is None:
                out.write(request(self.url, lambda: bytes(fs.cat_file(path))))
            starts = range(0, self.size or 0, BLOCK)
            for first in range(0, len(starts), _AT_ONCE):
                some = list(starts[first : first + _AT_ONCE])
                out.writelines(self._blocks(fs, path, some))
                if out.tell() >= (self.size or 0):
                    break
        if (self.size is not None and to.stat().st_size != self.size) or stored_file(self.url).stamp != self.stamp:
            raise self._changed()

    def _blocks(self, fs: Any, path: str, starts: list[int]) -> list[bytes]:
        ends = {start: min(start + BLOCK, self.size or 0) for start in starts}
        kept: dict[int, bytes] = {}

        def fetch() -> list[bytes]:
            missing = [start for start in starts if start not in kept]  # what has come is not asked for again
            found = fs.cat_ranges([path] * len(missing), missing, [ends[start] for start in missing], on_error="return")
            failed: Exception | None = None
            for start, block in zip(missing, found, strict=True):
                if isinstance(block, Exception):
                    failed = block
                elif start == 0 and len(block) == self.size:
                    return [bytes(block)]  # a web server that knows no ranges sends everything
                elif len(block) != ends[start] - start:
                    failed = ConnectionError("the answer was cut short")
                else:
                    kept[start] = bytes(block)
            if failed is not None:
                raise failed
            return [kept[start] for start in starts]

        return request(self.url, fetch)

    def _changed(self) -> UserError:
        return UserError(
            f'"{printable(self.url)}" has changed since it was listed. Put it back, or start again to have its images '
            "checked again."
        )


def is_remote(place: str) -> bool:
    """Whether a place is the URL of remote storage."""
    return "://" in place


def open_fs(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path within it; `UserError` where a package is missing."""
    with needs_extra("streams", f'"{printable(url)}", which is remote storage,', "fsspec"):
        import fsspec
    try:
        fs, path = fsspec.url_to_fs(url, **(_patience() if url.startswith("http") else {}))
        return fs, str(path)
    except ImportError as error:
        raise UserError(
            f'"{printable(url)}": a package for this kind of storage is missing ({error}). S3, HTTP and the Hugging '
            'Face hub come with: pip install "unpaired[streams]".'
        ) from error
    except Exception as error:  # packages of storage check their settings in ways of their own
        raise UserError(f'"{printable(url)}" cannot be opened: {_in_words(error)}.') from error


def _patience() -> dict[str, Any]:
    """Return how long to wait for web servers: as long as something comes."""
    import aiohttp

    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_connect=STALL_SECONDS, sock_read=STALL_SECONDS)}}


def request(url: str, work: Callable[[], T]) -> T:
    """Ask remote storage for something, several times if need be; raises `UserError` alone.

    What is not there and what is forbidden is not asked for again.
    """
    reason, advice = "", "Check the address and the network, then run the command again."
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except FileNotFoundError:
            reason, advice = "there is no such file", "Check the address."
            break
        except PermissionError as error:
            reason, advice = f"access is refused ({_in_words(error)})", "Check the credentials in the environment."
            break
        except UserError:
            raise
        except Exception as error:  # every kind of storage has errors of its own
            if means_full_disk(error):
                raise
            reason = f"{_in_words(error)}, {attempt + 1} times"
            if attempt + 1 < ATTEMPTS:
                time.sleep(FIRST_PAUSE * 2**attempt)
    # Without a cause: an OSError there would be taken for one of the disk that it is written to.
    raise UserError(f'"{printable(url)}" cannot be read: {reason}. {advice}')


def stored_file(place: str, cache: Cache | None = None) -> StoredFile:
    """Return the file at a path or URL; `UserError` where there is none."""
    cache = cache or shard_cache()
    if not is_remote(place):
        try:
            status = os.stat(place)
        except OSError as error:
            raise UserError(f'"{printable(place)}" cannot be read: {error.strerror}.') from error
        return StoredFile(place, status.st_size, _local_stamp(status), cache)
    fs, path = open_fs(place)
    fs.invalidate_cache()  # another file may be there by now
    return _of_info(place, request(place, lambda: fs.info(path)), cache)


def find_files(place: str, suffixes: tuple[str, ...], cache: Cache | None = None) -> list[StoredFile]:
    """Return the files of a path or URL with `{000..010}`, `{a,b}`, `*` and `?`; of a remote folder those below it.

    Braces keep their order, what a pattern finds is sorted by name; below a folder only `suffixes` count. Raises
    `UserError` where nothing is found.
    """
    cache = cache or shard_cache()
    found = [file for each in _expanded(place) for file in matching_files(each, suffixes, cache)]
    if not found:
        raise UserError(
            f'no file fits "{printable(place)}". Shards are {", ".join(suffixes[:3])} files; patterns are written in '
            "quotes, such as 'shards/horses-{000..010}.tar' or 'shards/*.tar'."
        )
    return found


def matching_files(place: str, suffixes: tuple[str, ...], cache: Cache) -> list[StoredFile]:
    """Return what fits one pattern without braces, see `find_files`; nothing where nothing fits."""
    magic = "*" in place or (not place.startswith("http") and any(mark in place for mark in "?["))
    if not is_remote(place):
        found = sorted(glob.glob(place, recursive=True)) if magic and not os.path.exists(place) else [place]
        return [stored_file(path, cache) for path in found]
    fs, path = open_fs(place)
    fs.invalidate_cache()  # other files may be there by now

    def look() -> dict[str, Any]:
        if magic:
            return dict(fs.glob(path, detail=True))
        info = fs.info(path)
        return dict(fs.find(path, detail=True)) if info.get("type") == "directory" else {info["name"]: info}

    infos = request(place, look)
    kept = {
        name: info
        for name, info in infos.items()
        if info.get("type") != "directory" and (len(infos) == 1 or name.lower().endswith(suffixes))
    }
    return [_of_info(fs.unstrip_protocol(name), kept[name], cache) for name in sorted(kept)]


def _of_info(url: str, info: dict[str, Any], cache: Cache) -> StoredFile:
    size = info.get("size")
    marks = [f"{key} {info[key]}" for key in _STAMPS if info.get(key)]
    return StoredFile(url, size if isinstance(size, int) else None, f"{size} {marks[0] if marks else ''}", cache)


def _local_stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _expanded(pattern: str) -> list[str]:
    """Return what braces stand for: `{08..11}` counts, with zeros as written, and `{a,b}` lists."""
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    counted = _RANGE.fullmatch(found[1])
    if counted:
        first, last = int(counted[1]), int(counted[2])
        if last < first or last - first >= _MOST_PATTERNS:
            raise UserError(
                f'"{printable(pattern)}": a range goes from a lower to a higher number, at most {_MOST_PATTERNS:,} of '
                f"them; received {found[0]}."
            )
        parts = [str(number).zfill(len(counted[1])) for number in range(first, last + 1)]
    else:
        parts = found[1].split(",")
    rest = _expanded(pattern[found.end() :])
    if len(parts) * len(rest) > _MOST_PATTERNS:
        raise UserError(f'"{printable(pattern)}" stands for more than {_MOST_PATTERNS:,} files.')
    start = pattern[: found.start()]
    return [f"{start}{part}{end}" for part, end in itertools.product(parts, rest)]


def _in_words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
