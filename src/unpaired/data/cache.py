"""Decoded images kept, so that decoding limits training in the first epoch at most.

In memory, images are kept as they are first asked for. On disk, one file holds all images of a source; it is keyed by
their contents and the options of their preparation, made once, memory-mapped by every later run, and bounded only by
the disk. Each image in it has a checksum, which is verified when a run first reads it; a damaged one is decoded again.
Both take images of different sizes and dtypes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from unpaired.core.cache import Cache, CacheError, user_cache_folder
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.parallel import for_each
from unpaired.data.source import FolderSource, ImageSource
from unpaired.data.transforms import height_width, load_size
from unpaired.data.values import Image

CacheMode = Literal["auto", "memory", "disk", "none"]
VERSION = 4
"""Changes whenever decoding or preparing an image would give other pixels, or a file would hold them differently."""
DECODED = Cache(folder="decoded", suffix=".images", limit_bytes=20 * 2**30)
"""Decoded and prepared images, one file for all of a source."""

_MEMORY_LIMIT = 2 * 2**30
_DISK_MARGIN = 2**30
_MEMORY_UNKNOWN = 4 * 2**30
_MAGIC = b"unpaired"
_HEADER = struct.Struct("<8sIIqq16s")
_PAGE = 4096
_ALIGNMENT = 64
_DTYPES = ("uint8", "uint16", "int16", "float32", "int8", "int32", "uint32", "int64", "uint64")


class Choice(NamedTuple):
    """Where decoded images go, and why, in words."""

    mode: Literal["memory", "disk", "none"]
    reason: str


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each image of a source lies in one block of bytes; known before any of them is decoded.

    The channels of an image lie one after the other, as networks take them: a crop is then rows of one channel, which
    are copied and converted many values at a time. To everyone who asks, images are [H, W, C] all the same.
    """

    entries: NDArray[np.int64]
    """[N, 4]: offset in bytes, height, width, number of the dtype."""
    channels: int
    total_bytes: int

    def block(self, data: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the bytes of image `index`, a view."""
        offset, height, width, code = self.entries[index].tolist()
        return data[offset : offset + height * width * self.channels * np.dtype(_DTYPES[code]).itemsize]

    def view(self, data: NDArray[np.uint8], index: int) -> Image:
        """Return image `index` of the block, [H, W, C], without a copy; its transpose to [C, H, W] is contiguous."""
        _, height, width, code = self.entries[index].tolist()
        values = self.block(data, index).view(_DTYPES[code])
        return values.reshape(self.channels, height, width).transpose(1, 2, 0)


def pack(source: FolderSource) -> Packing:
    """Lay out the prepared images of a source, one after the other, each aligned for any dtype."""
    entries = np.zeros((len(source), 4), np.int64)
    at = 0
    for index in range(len(source)):
        (height, width), dtype = source.size(index), source.dtype(index)
        entries[index] = (at, height, width, _DTYPES.index(dtype))
        at += -(-height * width * source.channels * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT
    return Packing(entries, source.channels, at)


class CachedSource:
    """Another source's images in one block of bytes: memory that fills as they are read, or a file."""

    def __init__(self, source: FolderSource, packing: Packing, file: CacheFile | None = None) -> None:
        self._source, self._packing, self._file = source, packing, file
        # Not initialised: the system hands out the pages as images are written to them.
        self._data = np.empty(packing.total_bytes, np.uint8) if file is None else file.data
        self._sound = bytearray(len(source))
        self.repaired = 0
        """Images of the file that were damaged and have been decoded again."""

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Image:
        image = self._packing.view(self._data, index)
        if not self._sound[index]:
            # Two threads may both decode the same image; they write the same bytes.
            if self._file is None:
                image[...] = self._source[index]
            elif zlib.crc32(self._packing.block(self._data, index).data) != self._file.checksums[index]:
                self.repaired += 1
                decoded = self._source[index]
                if not self._file.rewrite(self._packing, index, decoded):
                    return decoded
            self._sound[index] = 1
        image.flags.writeable = False
        return image

    def name(self, index: int) -> str:
        """Return the other source's name."""
        return self._source.name(index)


def choose_cache(mode: CacheMode, needed: int, *, missing: int | None = None) -> Choice:
    """Choose where `needed` bytes of decoded images go; `missing` of them are not on disk yet (all, by default).

    "auto": memory up to 2 GiB or a quarter of what is free, whichever is less (shared among the processes of one
    machine); else the disk, where a gibibyte stays free; else nothing is kept. Raises `UserError` where memory or disk
    is asked for and there is no room.
    """
    missing = needed if missing is None else missing
    again = "decoded images are not kept, and every epoch decodes them again:"
    if mode == "none":
        return Choice("none", f"decoded images are not kept: {option('data.cache', 'none')}")
    memory = available_memory()
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # set by torchrun
    if mode == "memory" and needed > memory:
        raise UserError(
            f"{option('data.cache', 'memory')}: the decoded images need {_size(needed)} where {_size(memory)} of "
            f"memory are free. Set {option('data.cache')} to disk, auto or none."
        )
    if mode == "memory" or (mode == "auto" and needed * processes <= min(_MEMORY_LIMIT, memory // 4)):
        return Choice("memory", f"decoded images are kept in memory ({_size(needed)})")
    try:
        folder = user_cache_folder()
    except UserError as error:
        if mode == "disk":
            raise
        return Choice("none", f"{again} {error}")
    free = free_disk(folder)
    if missing + (_DISK_MARGIN if mode == "auto" else 0) <= free:
        return Choice("disk", f'decoded images are kept on disk ({_size(needed)} in "{folder}")')
    if mode == "disk":
        raise UserError(
            f"{option('data.cache', 'disk')}: the decoded images need {_size(missing)} where {_size(free)} are free at "
            f'"{folder}". Make room, set UNPAIRED_CACHE to a folder on a larger disk, or set {option("data.cache")} to '
            "none."
        )
    return Choice(
        "none",
        f"{again} they need {_size(needed)}, too much for {_size(memory)} of free memory, and {_size(free)} are free "
        f'at "{folder}"',
    )


def open_cache(
    sources: dict[str, FolderSource],
    mode: CacheMode,
    *,
    workers: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, ImageSource], str]:
    """Put a cache before each of the sources; return them under the same names, and where the images are kept.

    A disk cache that does not exist yet is made now; `progress(name, done, total)` is called in this thread.
    """
    packings = {name: pack(source) for name, source in sources.items()}
    needed = sum(packing.total_bytes for packing in packings.values())
    asked = sources if mode in ("auto", "disk") else {}
    present = [name for name, source in asked.items() if DECODED.find(decoded_key(source)) is not None]
    choice = choose_cache(mode, needed, missing=needed - sum(packings[name].total_bytes for name in present))
    if choice.mode == "none":
        return dict(sources), choice.reason
    opened = dict[str, ImageSource]()
    for name, source in sources.items():
        file = None
        if choice.mode == "disk":
            report = None if progress is None else lambda done, total, name=name: progress(name, done, total)
            file = open_cache_file(source, packings[name], workers=workers, progress=report)
        opened[name] = CachedSource(source, packings[name], file)
    return opened, choice.reason


def available_memory() -> int:
    """Return the bytes of memory that this process could still take: the machine's, or its container's if less."""
    found = [size for size in (_memory_of_machine(), _memory_of_container()) if size is not None]
    return max(0, min(found)) if found else _MEMORY_UNKNOWN


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that holds `folder`."""
    return shutil.disk_usage(folder).free


def _memory_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        pass
    try:  # not on Linux: half of what is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _memory_of_container() -> int | None:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        folder = Path("/sys/fs/cgroup" if limit == "memory.max" else "/sys/fs/cgroup/memory")
        try:
            return int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):  # absent, or "max"
            continue
    return None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


# ------------------------------------------------------------------------------------------------------ files of images


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of prepared images, memory-mapped."""

    path: Path
    start: int
    """Where the images begin."""
    data: NDArray[np.uint8]
    """The bytes of all images."""
    checksums: NDArray[np.uint32]
    """The CRC-32 of each image's bytes."""

    def rewrite(self, packing: Packing, index: int, image: Image) -> bool:
        """Put an image in place of damaged bytes; return whether it can be read there now."""
        content = np.ascontiguousarray(image.transpose(2, 0, 1))
        with contextlib.suppress(OSError), self.path.open("r+b") as file:
            _write(file, self.start, packing, index, content)
            file.flush()
            return zlib.crc32(packing.block(self.data, index).data) == int(self.checksums[index])
        return False


def open_cache_file(
    source: FolderSource,
    packing: Packing,
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CacheFile:
    """Map the file with the prepared images of a source, made first if it is absent or of another layout.

    Raises `UserError` when the disk fills up; nothing half-written is left.
    """
    try:
        path = DECODED.get(
            decoded_key(source),
            lambda path: _make(path, source, packing, workers, progress),
            is_whole=lambda path: _mapped(path, packing) is not None,
        )
    except CacheError as error:
        raise UserError(f"{error} Or set {option('data.cache')} to memory or none.") from error
    file = _mapped(path, packing)
    if file is None:
        raise UserError(f'the cache file "{path}" cannot be read back. Set {option("data.cache")} to memory or none.')
    return file


def decoded_key(source: FolderSource) -> str:
    """Return a name for the prepared images of a source: their contents in order, and how they are prepared."""
    config = source.config
    options = {
        "version": VERSION,
        "pillow": PIL.__version__,
        "preprocess": config.preprocess,
        "load": load_size(config),
        "crop": height_width(config.crop_size),
        "channels": source.channels,
        "multiple": source.size_multiple,
        "padded": source.padded,
    }
    if source.reading.key():
        options["reading"] = source.reading.key()
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=16)
    for info in source.images:
        digest.update(info.digest)
    return digest.hexdigest()


def _header(packing: Packing) -> tuple[bytes, int]:
    """Return the file's beginning (header and index), and where the images begin; checksums are between the two."""
    index = np.ascontiguousarray(packing.entries, "<i8").tobytes()
    checksum = hashlib.blake2b(index, digest_size=16).digest()
    head = _HEADER.pack(_MAGIC, VERSION, packing.channels, len(packing.entries), packing.total_bytes, checksum)
    return head + index, -(-(len(head) + len(index) + 4 * len(packing.entries)) // _PAGE) * _PAGE


def _mapped(path: Path, packing: Packing) -> CacheFile | None:
    """Map a file, or return None where it is absent, cut short, or its beginning damaged or of another layout."""
    beginning, start = _header(packing)
    count = len(packing.entries)
    try:
        with path.open("rb") as file:
            sound = file.read(len(beginning)) == beginning
            if not sound or os.fstat(file.fileno()).st_size != start + packing.total_bytes:
                return None
            data = np.asarray(np.memmap(file, np.uint8, "r", start, (packing.total_bytes,)))
            checksums = np.asarray(np.memmap(file, "<u4", "r", len(beginning), (count,)))
            return CacheFile(path, start, data, checksums)
    except OSError:
        return None


def _make(
    path: Path,
    source: FolderSource,
    packing: Packing,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    with path.open("xb") as file:
        beginning, start = _header(packing)
        file.write(beginning)
        file.truncate(start + packing.total_bytes)
        lock = threading.Lock()

        def work(index: int) -> None:
            content = np.ascontiguousarray(source[index].transpose(2, 0, 1))
            with lock:
                _write(file, start, packing, index, content)

        for_each(len(source), work, workers=workers, progress=progress)


def _write(file: BinaryIO, start: int, packing: Packing, index: int, content: NDArray[np.generic]) -> None:
    """Write the bytes of one image, and their checksum."""
    file.seek(start + int(packing.entries[index, 0]))
    file.write(content.data)
    file.seek(_HEADER.size + packing.entries.nbytes + 4 * index)
    file.write(struct.pack("<I", zlib.crc32(content.data)))
