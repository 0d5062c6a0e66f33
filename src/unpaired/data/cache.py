"""Decoded images kept, so that decoding limits training in the first epoch at most.

In memory, images are kept as they are first asked for. On disk, one file holds all images of a source; it is keyed by
their contents and the options of their preparation, made once, memory-mapped by every later run, and bounded only by
the disk. Both take images of different sizes and dtypes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.core.cache import user_cache_folder
from unpaired.core.errors import UserError
from unpaired.data.cache_file import is_made, open_cache_file
from unpaired.data.capacity import available_memory, free_disk
from unpaired.data.packing import Packing, pack
from unpaired.data.source import FolderSource, ImageSource
from unpaired.data.values import Image

CacheMode = Literal["auto", "memory", "disk", "none"]

_MEMORY_LIMIT = 2 * 2**30
_DISK_MARGIN = 2**30


class Choice(NamedTuple):
    """Where decoded images go, and why, in words."""

    mode: Literal["memory", "disk", "none"]
    reason: str


class MemorySource:
    """Another source's images, each kept in one block of memory once it has been asked for."""

    def __init__(self, source: FolderSource) -> None:
        self._source, self._packing = source, pack(source)
        # Not initialised: the system hands out the pages as images are written to them.
        self._data = np.empty(self._packing.total_bytes, np.uint8)
        self._filled = bytearray(len(source))

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._source)

    def __getitem__(self, index: int) -> Image:
        """Return one prepared image, [H, W, C]; read-only."""
        kept = self._packing.view(self._data, index)
        if not self._filled[index]:
            # Two threads may both decode the same image; they write the same bytes.
            kept[...] = self._source[index]
            self._filled[index] = 1
        kept.flags.writeable = False
        return kept

    def name(self, index: int) -> str:
        """Return the other source's name."""
        return self._source.name(index)


class DiskSource:
    """Another source's images, in a memory-mapped file."""

    def __init__(self, source: FolderSource, packing: Packing, data: NDArray[np.uint8]) -> None:
        self._source, self._packing, self._data = source, packing, data

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._source)

    def __getitem__(self, index: int) -> Image:
        """Return one prepared image, [H, W, C]; read-only."""
        return self._packing.view(self._data, index)

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
    if mode == "none":
        return Choice("none", "decoded images are not kept: data.cache is none")
    memory = available_memory()
    if mode == "memory":
        if needed > memory:
            raise UserError(
                f"data.cache is memory, and the decoded images need {_size(needed)} where {_size(memory)} of memory "
                "are free. Set data.cache to disk, auto or none."
            )
        return Choice("memory", f"decoded images are kept in memory ({_size(needed)})")
    if mode == "disk":
        folder = user_cache_folder()
        free = free_disk(folder)
        if missing > free:
            raise UserError(
                f'data.cache is disk, and the decoded images need {_size(missing)} where {_size(free)} are free at "'
                f'{folder}". Make room, set UNPAIRED_CACHE to a folder on a larger disk, or set data.cache to none.'
            )
        return Choice("disk", f'decoded images are kept on disk ({_size(needed)} in "{folder}")')
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # set by torchrun
    if needed * processes <= min(_MEMORY_LIMIT, memory // 4):
        return Choice("memory", f"decoded images are kept in memory ({_size(needed)})")
    try:
        folder = user_cache_folder()
    except UserError as error:
        return Choice("none", f"decoded images are not kept, and every epoch decodes them again: {error}")
    free = free_disk(folder)
    if missing + _DISK_MARGIN <= free:
        return Choice("disk", f'decoded images are kept on disk ({_size(needed)} in "{folder}")')
    return Choice(
        "none",
        f"decoded images are not kept, and every epoch decodes them again: they need {_size(needed)}, too much for "
        f'{_size(memory)} of free memory, and {_size(free)} are free at "{folder}"',
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
    missing = needed - sum(packings[name].total_bytes for name in present)
    choice = choose_cache(mode, needed, missing=missing)
    opened: dict[str, ImageSource] = {}
    for name, source in sources.items():
        if choice.mode == "memory":
            opened[name] = MemorySource(source)
        elif choice.mode == "none":
            opened[name] = source
        else:
            report = None if progress is None else _named(progress, name)
            data = open_cache_file(source, packings[name], workers=workers, progress=report)
            opened[name] = DiskSource(source, packings[name], data)
    return opened, choice.reason


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
