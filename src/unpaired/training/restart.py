"""Restarts by schedulers: has the run begun, do all machines see it, and is the process before this one gone?"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from unpaired.core.errors import ReportedElsewhere, UserError
from unpaired.core.files import locked
from unpaired.core.text import printable
from unpaired.training.distributed import World
from unpaired.training.resume import CONFIG

PATIENCE_SECONDS = 120.0
"""A restarted run waits so long for a process that is still ending; NFS keeps the locks of a lost machine for 90."""


def has_begun(folder: Path) -> bool:
    """Whether a run lies in a folder; it is listed, since network file systems remember that a file was missing."""
    try:
        return CONFIG in os.listdir(folder)
    except OSError:
        return False


def require_same_view(world: World, begun: bool, folder: Path) -> None:
    """Raise `UserError` in all processes where some see a run in the folder and others none."""
    views = world.collect((begun, socket.gethostname()))
    if len({found for found, _ in views}) == 1:
        return
    with_run, without = (
        next(f"process {rank} on {host}" for rank, (found, host) in enumerate(views) if found is wanted)
        for wanted in (True, False)
    )
    message = (
        f"{printable(folder)} holds a run for {with_run} and none for {without}. All machines need the folder of the "
        "run on a file system that they share. Nothing was changed."
    )
    raise UserError(message) if world.is_first else ReportedElsewhere(message)


def take_lock(
    held: contextlib.ExitStack, folder: Path, say: Callable[[str], None], patience_seconds: float = 0.0
) -> None:
    """Hold a folder's lock while `held` lasts, after waiting for another process that holds it; else `UserError`."""
    try:
        held.enter_context(locked(folder))
    except UserError:
        if not patience_seconds:
            raise
        say(f"Another process is still writing to {folder}: waiting up to {patience_seconds:g} seconds for its end.")
        held.enter_context(locked(folder, patience_seconds=patience_seconds))
