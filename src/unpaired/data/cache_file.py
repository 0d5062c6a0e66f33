"""One file of decoded images: made once, checked when opened, thrown away when old."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.files import user_cache_folder
from unpaired.data.packing import Packing
from unpaired.data.parallel import for_each
from unpaired.data.source import FolderSource
from unpaired.data.transforms import height_width, load_size

VERSION = 2
"""Changes whenever decoding or preparing an image would give other pixels, or a file would hold them differently."""
KEPT_BYTES = 20 * 2**30
"""Files that were not used for longest are deleted beyond this."""

_MAGIC = b"unpaired"
_HEADER = struct.Struct("<8sIIqq16s")
_PAGE = 4096
_ABANDONED_SECONDS = 86_400


def cache_key(source: FolderSource) -> str:
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
    """Say whether there is a file with the prepared images of a source; it may yet turn out to be damaged."""
    with contextlib.suppress(UserError):
        return (user_cache_folder() / f"{cache_key(source)}.images").is_file()
    return False


def open_cache_file(
    source: FolderSource,
    packing: Packing,
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Map the file with the prepared images of a source, made first if it is absent or damaged.

    Several processes may do this at once; one makes the file while the others wait, and where the file system knows no
    locks each makes its own and the last one stays. Raises `UserError` when the disk fills up; nothing half-written is
    left.
    """
    folder = user_cache_folder()
    path = folder / f"{cache_key(source)}.images"
    data = _mapped(path, packing)
    if data is None:
        with _one_at_a_time(path.with_suffix(".lock")):
            data = _mapped(path, packing)
            if data is None:
                _make(path, source, packing, workers, progress)
                data = _mapped(path, packing)
    if data is None:
        raise UserError(f'the cache file "{path}" cannot be read back. Set data.cache to memory or none.')
    with contextlib.suppress(OSError):
        os.utime(path)
    prune(folder, keep=path)
    return data


def prune(folder: Path, *, keep: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Delete cache files beyond `kept_bytes`, least recently used first, and what interrupted runs left behind."""
    files = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except OSError:
            continue
        if path.suffix == ".images":
            files.append((status.st_mtime, status.st_size, path))
        elif path.suffix in (".part", ".lock") and time.time() - status.st_mtime > _ABANDONED_SECONDS:
            _delete(path)
    room = kept_bytes
    for _, size, path in sorted(files, reverse=True):
        room -= size
        if room < 0 and path != keep:
            _delete(path)


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
    temporary = path.with_name(f"{path.stem}-{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
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
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _delete(temporary)
        raise UserError(
            f'cannot write decoded images to "{path.parent}": {error.strerror}. Make room there, set UNPAIRED_CACHE to '
            "a folder on another disk, or set data.cache to memory or none."
        ) from error
    except BaseException:
        _delete(temporary)
        raise


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock among processes; where there are no locks, go on without."""
    with path.open("ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
