"""One process at a time for a folder that is trained into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from unpaired.core.errors import UserError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two processes must not train into one folder. It ends with the process.

    Raises `UserError` where another process holds it.
    """
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError(f"another process is training into {folder}. Wait for it, or stop it first.") from error
    try:
        yield
    finally:
        lock.release()
