"""One file of decoded images: made once, checked when opened, thrown away when old."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from unpaired.core.cache import Cache, CacheError, user_cache_folder
from unpaired.core.errors import UserError, option
from unpaired.data.packing import Packing
from unpaired.data.parallel import for_each
from unpaired.data.source import FolderSource
from unpaired.data.transforms import height_width, load_size

VERSION = 2
"""Changes whenever decoding or preparing an image would give other pixels, or a file would hold them differently."""
DECODED = Cache(folder="decoded", suffix=".images", limit_bytes=20 * 2**30)
"""Decoded and prepared images, one file for all of a source."""

_MAGIC = b"unpaired"
_HEADER = struct.Struct("<8sIIqq16s")
_PAGE = 4096


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
    }
    if source.reading.key():
        options["reading"] = source.reading.key()
    digest = hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=16)
    for info in source.images:
        digest.update(info.digest)
    return digest.hexdigest()


def is_made(source: FolderSource) -> bool:
    """Return whether there is a file with the prepared images of a source; it may yet turn out to be damaged."""
    return DECODED.find(decoded_key(source)) is not None


def open_cache_file(
    source: FolderSource,
    packing: Packing,
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Map the file with the prepared images of a source, made first if it is absent or damaged.

    Raises `UserError` when the disk fills up; nothing half-written is left.
    """
    try:
        _move_old_files()
        path = DECODED.get(
            decoded_key(source),
            lambda path: _make(path, source, packing, workers, progress),
            is_whole=lambda path: _mapped(path, packing) is not None,
        )
    except CacheError as error:
        raise UserError(f"{error} Or set {option('data.cache')} to memory or none.") from error
    data = _mapped(path, packing)
    if data is None:
        raise UserError(f'the cache file "{path}" cannot be read back. Set {option("data.cache")} to memory or none.')
    return data


def _move_old_files() -> None:
    """Bring files of earlier versions, which lay in the cache folder itself, to where they are found and pruned."""
    with contextlib.suppress(OSError):
        for old in user_cache_folder().glob("*.images"):
            if re.fullmatch("[0-9a-f]{32}", old.stem):
                old.rename(DECODED.path(old.stem))


def _header(packing: Packing) -> tuple[bytes, int]:
    """Return the file's beginning (header and index), and where the images begin."""
    index = np.ascontiguousarray(packing.entries, "<i8").tobytes()
    checksum = hashlib.blake2b(index, digest_size=16).digest()
    head = _HEADER.pack(_MAGIC, VERSION, packing.channels, len(packing.entries), packing.total_bytes, checksum)
    start = -(-(len(head) + len(index)) // _PAGE) * _PAGE
    return head + index, start


def _mapped(path: Path, packing: Packing) -> NDArray[np.uint8] | None:
    """Map the images of a file, or return None where it is absent, cut short, damaged or of another layout."""
    beginning, start = _header(packing)
    try:
        with path.open("rb") as file:
            sound = file.read(len(beginning)) == beginning
            sound = sound and os.fstat(file.fileno()).st_size == start + packing.total_bytes
            return np.asarray(np.memmap(file, np.uint8, "r", start, (packing.total_bytes,))) if sound else None
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
                file.seek(start + int(packing.entries[index, 0]))
                file.write(content.data)

        for_each(len(source), work, workers=workers, progress=progress)
