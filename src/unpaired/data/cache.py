"""Decoded images kept, so that decoding limits training in the first epoch at most.

In memory, images are kept as they are first asked for. On disk, one file holds all images of a source; it is keyed by
their contents and the options of their preparation, made once, memory-mapped by every later run, and bounded only by
the disk. Both take images of different sizes and dtypes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.cache_file import is_made, open_cache_file
from unpaired.data.packing import Packing, pack
from unpaired.data.source import FolderSource, ImageSource
from unpaired.data.values import Image

CacheMode = Literal["auto", "memory", "disk", "none"]

_MEMORY_LIMIT = 2 * 2**30
_DISK_MARGIN = 2**30
_MEMORY_UNKNOWN = 4 * 2**30


class Choice(NamedTuple):
    """Where decoded images go, and why, in words."""

    mode: Literal["memory", "disk", "none"]
    reason: str


class CachedSource:
    """Another source's images in one block of bytes: a memory-mapped file, or memory that fills as they are read."""

    def __init__(self, source: FolderSource, packing: Packing, data: NDArray[np.uint8] | None = None) -> None:
        self._source, self._packing = source, packing
        self._filled = bytearray(len(source)) if data is None else bytearray(b"\1") * len(source)
        # Not initialised: the system hands out the pages as images are written to them.
        self._data = np.empty(packing.total_bytes, np.uint8) if data is None else data

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Image:
        image = self._packing.view(self._data, index)
        if not self._filled[index]:
            # Two threads may both decode the same image; they write the same bytes.
            image[...] = self._source[index]
            self._filled[index] = 1
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
    present = [name for name, source in sources.items() if mode in ("auto", "disk") and is_made(source)]
    choice = choose_cache(mode, needed, missing=needed - sum(packings[name].total_bytes for name in present))
    if choice.mode == "none":
        return dict(sources), choice.reason
    opened = dict[str, ImageSource]()
    for name, source in sources.items():
        data = None
        if choice.mode == "disk":
            report = None if progress is None else lambda done, total, name=name: progress(name, done, total)
            data = open_cache_file(source, packings[name], workers=workers, progress=report)
        opened[name] = CachedSource(source, packings[name], data)
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
