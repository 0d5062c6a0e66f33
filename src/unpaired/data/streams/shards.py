"""Shards: files that hold many images, each of which is read by its number without the others.

Tar files (WebDataset) are read where the members lie, by an index that is kept in the user's cache. The row groups of
Parquet files are unpacked into the cache of shards when they are first read, so that one row costs one read. Arrow
files of saved Hugging Face data sets are memory-mapped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import tarfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from unpaired.core.cache import Cache, cache_key
from unpaired.core.errors import UserError
from unpaired.core.files import parse_json
from unpaired.core.text import printable
from unpaired.data.bad_image import BadImage
from unpaired.data.formats import readable_suffixes
from unpaired.data.formats.content import ImageBytes
from unpaired.data.parallel import for_each
from unpaired.data.streams.columns import arrow, image_column
from unpaired.data.streams.remote import StoredFile, open_fs, request

INDEXES = Cache(folder="shard-indexes", suffix=".json", limit_bytes=2**28, checked=True)
"""Where the members of tar files lie."""
_VERSION = 1
_BLOCK = 512
_TAIL = 2**20
_ROWS = 64
_NO_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Member(NamedTuple):
    """One file in a tar file."""

    name: str
    offset: int
    """Where its content begins."""
    size: int


class Shard(ABC):
    """Images by number; safe to ask from several threads."""

    file: StoredFile

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images it holds."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return the content of one image's file; `BadImage` where there is none, `UserError` where it is damaged."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what an image is called within its shard."""

    def key(self, index: int) -> str:
        """Return what images of one pair have in common in two streams."""
        return self.name(index)

    def identity(self, index: int) -> tuple[str, str]:
        """Return the place of an image, and a stamp that changes with its content."""
        return f"{self.file.url}\0{index}", self.file.stamp


@final
@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """One image of a shard; it stands where a path stands for files."""

    shard: Shard
    index: int

    def load(self) -> ImageBytes:
        """Return its content."""
        return ImageBytes(self.shard.read(self.index), os.fspath(self))

    @property
    def short(self) -> str:
        """Its name without where the shard lies."""
        return f"{self.shard.file.name}/{self.shard.name(self.index)}"

    @property
    def key(self) -> str:
        """What images of one pair have in common in two streams."""
        return self.shard.key(self.index)

    def identity(self) -> tuple[str, str]:
        """Return its place, and a stamp that changes with its content."""
        return self.shard.identity(self.index)

    def __fspath__(self) -> str:
        return f"{self.shard.file.url}/{self.shard.name(self.index)}"


def open_shards(
    files: Sequence[StoredFile],
    choice: str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Shard]:
    """Return the shards of tar, Parquet and Arrow files in their order, indexed in parallel; `UserError` for others.

    `choice` is the ending of the members (`input.png`) or the column that holds the images, where there are several.
    """
    opened: list[list[Shard]] = [[] for _ in files]

    def work(number: int) -> None:
        opened[number] = _opened(files[number], number, choice)

    for_each(len(files), work, workers=0, progress=progress)
    return [shard for shards in opened for shard in shards if len(shard)]


def _opened(file: StoredFile, number: int, choice: str | None) -> list[Shard]:
    name = file.url.lower()
    if name.endswith(".tar"):
        return [TarShard(file, choice)]
    if name.endswith(".arrow"):
        return [ArrowShard(file, number, choice)]
    if name.endswith((".parquet", ".pq")):
        return row_groups(file, number, choice)
    compressed = "is compressed, and members are read where they lie; unpack it once (gunzip)"
    kind = compressed if name.endswith(_NO_TAR) else "is no shard"
    raise UserError(f'"{printable(file.url)}" {kind}. Shards are .tar, .parquet and .arrow files.')


# ------------------------------------------------------------------------------------------------------------ tar files


@final
class TarShard(Shard):
    """The images in a tar file, as WebDataset and tar write them, in the file's order."""

    def __init__(self, file: StoredFile, choice: str | None = None) -> None:
        self.file = file
        images = [member for member in self.members() if _is_image(member.name, choice)]
        if not images:
            what = "images" if choice is None else f"members that end with .{printable(choice.removeprefix('.'))}"
            raise UserError(f'"{printable(file.url)}" holds no {what}. It has: {_endings(self)}.')
        if choice is None:
            _require_one_image_each(file, images)
        self._images = images

    def members(self) -> list[Member]:
        """Return every regular file in it, images or not."""
        key = cache_key(["tar", _VERSION, self.file.url, self.file.stamp])
        known = INDEXES.find(key)
        if known is not None:
            return _read_index(known)
        found = list_members(self.file)
        INDEXES.put(key, json.dumps(found).encode())
        return found

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> bytes:
        member = self._images[index]
        with self.file.open() as stream:
            stream.seek(member.offset)
            content = stream.read(member.size)
        if len(content) < member.size:
            raise _damaged(self.file, "it ends before its members do")
        return content

    def name(self, index: int) -> str:
        return self._images[index].name

    def key(self, index: int) -> str:
        return _sample(self._images[index].name)[0]


def list_members(file: StoredFile) -> list[Member]:
    """Return the regular files in a tar file; `UserError` where it is damaged or cut short."""
    with file.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                found = [Member(each.name, each.offset_data, each.size) for each in archive if _is_plain(each)]
                end = archive.offset
                if any(member.size < 0 or member.offset < 0 for member in found):
                    raise ValueError("a member has a negative size")
        except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
            raise _damaged(file, str(error) or type(error).__name__) from None
        # tarfile takes a damaged header, and the end of the file, for the end of the archive.
        stream.seek(end)
        closing = stream.read(_BLOCK)
        if len(closing) < _BLOCK:
            raise _damaged(file, "it is cut short: the blocks that end an archive are missing")
        if any(closing):
            raise _damaged(file, f"the header at byte {end} makes no sense")
        if any(stream.read(_TAIL)):
            raise _damaged(file, "something follows its end; archives that were joined are read to the first end only")
    return found


def _read_index(path: Path) -> list[Member]:
    return [Member(name, offset, size) for name, offset, size in parse_json(path.read_bytes())]


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse()


def _is_image(name: str, choice: str | None) -> bool:
    base = name.rpartition("/")[2]
    if base.startswith(".") or "__MACOSX/" in name:
        return False
    if choice is not None:
        return base.lower().endswith(f".{choice.lower().removeprefix('.')}")
    return os.path.splitext(base)[1].lower() in readable_suffixes()


def _sample(name: str) -> tuple[str, str]:
    """Return key and ending of a member, as WebDataset splits them: at the first dot of the last part."""
    folder, slash, base = name.rpartition("/")
    key, _, ending = base.partition(".")
    return folder + slash + key, ending


def _require_one_image_each(file: StoredFile, images: Sequence[Member]) -> None:
    """Raise `UserError` where every sample has several images and nobody said which of them is meant."""
    samples = [_sample(member.name) for member in images]
    keys, endings = {key for key, _ in samples}, sorted({ending for _, ending in samples})
    if len(endings) > 1 and len(keys) * len(endings) == len(samples):
        raise UserError(
            f'"{printable(file.url)}" has {len(endings)} images of every sample: {", ".join(map(printable, endings))}. '
            f'Choose one: "{printable(file.url)}#{printable(endings[0])}".'
        )


def _endings(shard: TarShard) -> str:
    endings = sorted({_sample(member.name)[1] for member in shard.members()})
    more = [f"and {len(endings) - 8} more"] if len(endings) > 8 else []
    return ", ".join([*(f".{printable(ending)}" for ending in endings[:8]), *more]) or "nothing"


def _damaged(file: StoredFile, reason: str) -> UserError:
    return UserError(
        f'"{printable(file.url)}" is damaged: {printable(reason)}. Copy or write it again; a whole shard is never '
        "left out."
    )


# --------------------------------------------------------------------------------------------------------------- tables


def row_groups(file: StoredFile, number: int, choice: str | None) -> list[Shard]:
    """Return a shard for each row group of a Parquet file; only its footer is read."""
    with parquet(file) as table:
        column, is_record = image_column(table.schema_arrow, choice, file.url)
        counts = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
    firsts = np.concatenate([[0], np.cumsum(counts)]).tolist()
    return [
        RowGroup(file, number, group, firsts[group], count, column, is_record) for group, count in enumerate(counts)
    ]


@contextlib.contextmanager
def parquet(file: StoredFile) -> Iterator[Any]:
    """Open a Parquet file, remote ones by ranges; `UserError` where it is none."""
    pa = arrow()
    if file.is_remote:
        fs, path = open_fs(file.url)
        source: Any = request(file.url, lambda: fs.open(path, "rb", cache_type="readahead"))
    else:
        source = file.open()
    with contextlib.closing(source):
        try:
            table = pa.parquet.ParquetFile(source)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(file, f"no Parquet file ({error})") from None
        yield table


@final
class RowGroup(Shard):
    """The images in one row group of a Parquet file."""

    def __init__(
        self, file: StoredFile, number: int, group: int, first: int, count: int, column: str, is_record: bool
    ) -> None:
        self.file, self._group, self._first, self._count = file, group, first, count
        self._file_number, self._column, self._is_record = number, column, is_record
        self._cache_key = cache_key(["rows", _VERSION, file.url, file.stamp, group, column])

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        return f"row {self._first + index}"

    def key(self, index: int) -> str:
        return f"{self._file_number}/{self._first + index}"

    def identity(self, index: int) -> tuple[str, str]:
        return f"{self.file.url}\0{self._column}\0{self._first + index}", self.file.stamp

    def read(self, index: int) -> bytes:
        while True:
            cache = self.file.cache
            path = cache.find(self._cache_key) or cache.get(self._cache_key, self._unpack)
            try:
                with path.open("rb") as stream:
                    stream.seek(16 * index)
                    start, end = struct.unpack("<qq", stream.read(16))
                    stream.seek(start)
                    content = stream.read(end - start)
                break
            except FileNotFoundError:
                continue  # another process made room
        return _required(content, f"{self.file.url}/{self.name(index)}")

    def _unpack(self, to: Path) -> None:
        """Write (start, end) of every row, then the bytes of all."""
        if self.file.is_remote:
            request(self.file.url, lambda: self._write(to))
        else:
            self._write(to)

    def _write(self, to: Path) -> None:
        places, at = list[int](), 16 * self._count
        with parquet(self.file) as table, to.open("wb") as out:
            out.seek(at)
            for content in self._contents(table):
                places += [at, at + len(content)]
                at += len(content)
                out.write(content)
            if len(places) != 2 * self._count:
                raise _damaged(self.file, f"row group {self._group} has {len(places) // 2} of {self._count} rows")
            out.seek(0)
            out.write(struct.pack(f"<{len(places)}q", *places))

    def _contents(self, table: Any) -> Iterator[bytes]:
        leaf = f"{self._column}.bytes" if self._is_record else self._column
        try:
            for batch in table.iter_batches(_ROWS, row_groups=[self._group], columns=[leaf], use_threads=False):
                yield from _cells(batch.column(0), self._is_record)
        except (arrow().ArrowException, OSError, ValueError) as error:
            if self.file.is_remote:  # or the connection broke: it is tried again
                raise ConnectionError(f"row group {self._group}: {error}") from error
            raise _damaged(self.file, f"row group {self._group}: {error}") from None


@final
class ArrowShard(Shard):
    """The images in an Arrow file, as `datasets` saves them; memory-mapped."""

    def __init__(self, file: StoredFile, number: int, choice: str | None) -> None:
        self.file, self._number, self._lock = file, number, threading.Lock()
        pa, path = arrow(), file.path()
        try:
            mapped = pa.memory_map(os.fspath(path))
            table = _arrow_reader(pa, mapped).read_all()
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, f"no Arrow file ({error})") from None
        self._column, self._is_record = image_column(table.schema, choice, file.url)
        self._values = table.column(self._column)

    def __len__(self) -> int:
        return len(self._values)

    def name(self, index: int) -> str:
        return f"row {index}"

    def key(self, index: int) -> str:
        return f"{self._number}/{index}"

    def identity(self, index: int) -> tuple[str, str]:
        return f"{self.file.url}\0{self._column}\0{index}", self.file.stamp

    def read(self, index: int) -> bytes:
        cell = self._values[index]
        content = (cell["bytes"] if self._is_record and cell.is_valid else cell).as_py()
        return _required(content, f"{self.file.url}/{self.name(index)}")


@contextlib.contextmanager
def record_batches(file: StoredFile) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Yield the schema of a Parquet or Arrow file, and its rows as record batches of at most 64 rows."""
    if not file.url.lower().endswith(".arrow"):
        with parquet(file) as table:
            yield table.schema_arrow, table.iter_batches(_ROWS, use_threads=False)
        return
    with arrow().memory_map(os.fspath(file.path())) as mapped:
        whole = _arrow_reader(arrow(), mapped).read_all()
        yield whole.schema, iter(whole.to_batches(max_chunksize=_ROWS))


def _arrow_reader(pa: Any, mapped: Any) -> Any:
    """Open the stream format, which `datasets` writes, or the file format."""
    is_file = mapped.read(6) == b"ARROW1"
    mapped.seek(0)
    return pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)


def _cells(column: Any, is_record: bool) -> list[bytes]:
    values = column.field("bytes") if is_record else column
    valid = column.is_valid().to_pylist()
    return [cell or b"" if there else b"" for cell, there in zip(values.to_pylist(), valid, strict=True)]


def _required(content: bytes | None, name: str) -> bytes:
    if not content:
        raise BadImage(name, "empty: the cell holds no bytes; data sets of paths alone are to be saved with the images")
    return content


# ------------------------------------------------------------------------------------------------------- single objects


@final
class Objects(Shard):
    """The image files below a folder of remote storage, each fetched when it is read and not kept."""

    def __init__(self, folder: str, files: Sequence[StoredFile]) -> None:
        digest = hashlib.sha256("\n".join(f"{file.url} {file.stamp}" for file in files).encode("utf-8", "replace"))
        self.file = StoredFile(folder.rstrip("/"), None, digest.hexdigest())
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index].url.removeprefix(self.file.url).lstrip("/")

    def key(self, index: int) -> str:
        return os.path.splitext(self.name(index))[0]

    def identity(self, index: int) -> tuple[str, str]:
        return self._files[index].url, self._files[index].stamp

    def read(self, index: int) -> bytes:
        return self._files[index].read()
