"""Archives of others (zip, tar, tar.gz): unpacked into a new folder, whole or not at all, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path
from typing import IO, NamedTuple

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_folder, open_regular
from unpaired.core.text import megabytes, printable

MOST_FILES = 500_000
"""In one archive; the largest published data set has 139,000."""
MOST_TIMES = 30
"""Times the archive's own size that its files may have together: images hardly shrink."""
MOST_EXTRA = 64 << 20
"""Bytes beside, for small archives."""
LARGEST = 1 << 40
_BLOCK = 1 << 18
_DRIVE = re.compile(r"^[A-Za-z]:")

Rename = Callable[[str], str | None]
"""From a file's path in the archive to that in the folder; None leaves it out."""
Progress = Callable[[int, int], None]
"""Takes the files that are done, and the number of all (0 where that is not known)."""


class Entry(NamedTuple):
    """One regular file of an archive."""

    name: str
    """Its path with forward slashes, checked."""
    size: int
    """Bytes by the archive's word."""
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, *, rename: Rename | None = None, progress: Progress | None = None) -> int:
    """Unpack an archive into a folder that is not there yet, and return the number of files.

    The archive is refused, and nothing is left, where a path leads out of the folder or is taken twice, an entry is a
    link, a device or encrypted, or there are more files or bytes than an archive of this size can hold in earnest; the
    bytes are counted as they come, whatever the archive says. What macOS puts in (`__MACOSX`) is left out. Modes and
    owners are not taken over. Raises `UserError`.
    """
    rename = rename or (lambda name: name)
    room = min(LARGEST, MOST_EXTRA + MOST_TIMES * archive.stat().st_size)
    taken: set[str] = set()
    with atomic_folder(folder, replace=False) as temporary, _entries(archive, room) as (count, entries):
        for number, entry in enumerate(entries):
            name = rename(entry.name)
            if name is None:
                continue
            _require_inside(name, archive)
            if name.casefold() in taken:
                raise UserError(f"{printable(archive)} holds {_shown(name)} twice. It is not unpacked.")
            if len(taken) >= MOST_FILES:
                raise UserError(f"{printable(archive)} holds more than {MOST_FILES:,} files. It is not unpacked.")
            taken.add(name.casefold())
            room -= _write(entry, temporary / name, room, archive)
            if progress is not None:
                progress(number + 1, count)
        if not taken:
            raise UserError(f"{printable(archive)} holds none of the files that are looked for.")
    return len(taken)


def _write(entry: Entry, path: Path, room: int, archive: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{printable(archive)} holds {_shown(entry.name)} within a file. It is not unpacked."
        ) from error
    written = 0
    with entry.open() as source, path.open("xb") as target:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > room:
                raise _too_much(archive)
            target.write(block)
    if written != entry.size:
        raise UserError(f"{printable(archive)} is damaged: {_shown(entry.name)} is not complete.")
    return written


def _too_much(archive: Path) -> UserError:
    return UserError(
        f"{printable(archive)} unpacks to more than {MOST_TIMES} times its own size "
        f"({megabytes(archive.stat().st_size)}), as no archive of images does. It is not unpacked."
    )


@contextlib.contextmanager
def _entries(archive: Path, room: int) -> Iterator[tuple[int, Iterator[Entry]]]:
    """Yield the number of entries (0 where it is not known) and the regular files among them, in their order."""
    try:
        with open_regular(archive, at_most=LARGEST) as file, contextlib.ExitStack() as stack:
            start = file.read(512)
            file.seek(0)
            if start.startswith(b"PK"):
                packed = stack.enter_context(zipfile.ZipFile(file))
                infos = packed.infolist()
                if sum(info.file_size for info in infos) > room:
                    raise _too_much(archive)
                yield len(infos), _of_zip(packed, infos, archive)
            elif start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
                mode = "r|gz" if start.startswith(b"\x1f\x8b") else "r|"
                yield 0, _of_tar(stack.enter_context(tarfile.open(fileobj=file, mode=mode)), archive)  # type: ignore[call-overload]
            else:
                page = start.lstrip().lower().startswith((b"<!doctype", b"<html"))
                what = "a page of a website" if page else "something else"
                raise UserError(f"{printable(archive)} is no zip, tar or tar.gz archive but {what}.")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, LZMAError, NotImplementedError) as error:
        raise UserError(f"{printable(archive)} is damaged ({_reason(error)}). Download it again.") from error
    except (ValueError, OverflowError, RuntimeError, MemoryError) as error:  # of impossible values in headers
        if isinstance(error, UserError):
            raise
        raise UserError(f"{printable(archive)} is damaged ({_reason(error)}). Download it again.") from error
    except OSError as error:
        if error.filename is None and error.errno is None:  # gzip's own, of a stream that is none
            raise UserError(f"{printable(archive)} is damaged ({_reason(error)}). Download it again.") from error
        raise


def _reason(error: BaseException) -> str:
    return printable(str(error))[:120] or type(error).__name__


def _of_zip(packed: zipfile.ZipFile, infos: list[zipfile.ZipInfo], archive: Path) -> Iterator[Entry]:
    for info in infos:
        kind = (info.external_attr >> 16) & 0o170000
        if info.flag_bits & 0x1:
            raise UserError(f"{printable(archive)} is encrypted. It is not unpacked.")
        if kind not in (0, 0o100000, 0o040000):
            raise UserError(
                f"{printable(archive)} holds {_shown(info.filename)}, a link or device. It is not unpacked."
            )
        name = _checked(info.filename, archive)
        if not info.is_dir() and not _is_litter(name):
            yield Entry(name, info.file_size, lambda info=info: packed.open(info))  # type: ignore[misc]


def _of_tar(packed: tarfile.TarFile, archive: Path) -> Iterator[Entry]:
    for count, member in enumerate(packed):
        if count > 2 * MOST_FILES:
            raise UserError(f"{printable(archive)} holds more than {MOST_FILES:,} files. It is not unpacked.")
        if not member.isreg() and not member.isdir():
            raise UserError(f"{printable(archive)} holds {_shown(member.name)}, a link or device; not unpacked.")
        name = _checked(member.name, archive) if member.name.strip("./") else ""
        packed.members = []  # type: ignore[attr-defined]  # or it keeps all of them in memory
        if member.isdir() or not name or _is_litter(name):
            continue
        stream = packed.extractfile(member)
        if stream is not None:
            yield Entry(name, member.size, lambda stream=stream: stream)  # type: ignore[misc]


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or os.path.basename(name).startswith("._")


def _checked(name: str, archive: Path) -> str:
    while name.startswith("./"):
        name = name[2:]
    _require_inside(name.rstrip("/"), archive)
    return name


def _require_inside(name: str, archive: Path) -> None:
    parts = name.split("/")
    bad = not name or name.startswith("/") or "\\" in name or _DRIVE.match(name) or any(ord(c) < 32 for c in name)
    if bad or any(part in ("", ".", "..") or len(os.fsencode(part)) > 255 for part in parts) or len(name) > 1000:
        raise UserError(
            f"{printable(archive)} holds the path {_shown(name)}, which leads out of the folder or cannot be used. "
            "It is not unpacked."
        )


def _shown(name: str) -> str:
    return f'"{printable(name)[:100]}"'
