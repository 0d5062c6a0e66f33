"""Files that are there whole or not at all, folders that one process writes at a time, and the user's cache."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock

from unpaired.core.errors import UserError
from unpaired.core.text import printable

LOCK = ".lock"
"""Name of the lock file in a folder that one process writes at a time."""


def write_atomic(path: Path, content: bytes | str, *, then: str = "try again") -> None:
    """Write a file atomically: a reader finds the old or the new content, whole, even after a crash.

    Text is written as UTF-8. Parent folders are made. Raises `UserError` when the disk is full or the place cannot be
    written; `then` is what a person does once that is repaired.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with atomic_file(path, then=then) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_file(path: Path, *, then: str = "try again") -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the block writes there takes its place when the block ends well.

    The temporary file keeps the suffix, since some writers choose the format by it. Errors as in `write_atomic`.
    """
    temporary = path.with_name(f".{path.stem}.writing-{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, then) from error


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place when the block ends well.

    The block brings its files to the disk with `sync`. An existing folder is replaced. Raises `UserError` when the disk
    is full or the place cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        replaced = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
        if folder.exists():
            folder.rename(replaced)
        try:
            temporary.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
        sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if means_full_disk(error):
            raise UserError(
                f"the disk is full: could not write {folder}. What was written before is intact. "
                "Free some space, or choose another place with --out."
            ) from error
        if isinstance(error, OSError):
            raise UserError(f"cannot write {folder}: {error.strerror or error}.") from error
        raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def means_full_disk(error: BaseException) -> bool:
    """Return whether an error says that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)  # safetensors reports the operating system's words in an exception of its own
    return "No space left on device" in text or "Disk quota exceeded" in text or "os error 28" in text


def cannot_write(path: Path, error: OSError, then: str) -> UserError:
    """Return the error for a file that cannot be written."""
    return UserError(
        f"cannot write {printable(path)}: {error.strerror or error}. What was written before is intact; "
        f"free some space or make the place writable, then {then}."
    )


def require_writable(folder: Path) -> None:
    """Raise `UserError` unless files can be written into a folder, or into the one it would be made in."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into {printable(folder)}: {error.strerror or error} ({printable(there)}). Choose another "
            "folder, or make this one writable."
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock while the block runs; the folder is made if need be. The lock ends with the process.

    Take the lock before looking into the folder or writing to it. Raises `UserError` where another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "try again") from error
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(
            f"another process is writing to {printable(folder)}. Wait for it to end, or stop it first."
        ) from error
    try:
        yield
    finally:
        lock.release()


def user_cache_folder() -> Path:
    """Return the user's cache folder, made if need be: `UNPAIRED_CACHE` where set, else the platform's usual place.

    Everything in it can be deleted at any time; it is made again. Raises `UserError` where it cannot be written.
    """
    import platformdirs

    chosen = os.environ.get("UNPAIRED_CACHE")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("unpaired", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
    except OSError as error:
        raise UserError(
            f'cannot use the cache folder "{printable(folder)}": {error.strerror}. '
            "Set the environment variable UNPAIRED_CACHE to a folder that can be written."
        ) from error
    return folder
