"""`unpaired serve`: models behind HTTP."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Annotated, Any

from cyclopts import Group, Parameter

from unpaired.cli.app import app
from unpaired.cli.options import COMPUTING, GROUPS, Extension, Section, allow, with_settings

SERVICE = Group("Service", sort_key=1)
LIMITS = Group("Limits", sort_key=2)
GROUPS.setdefault(str(LIMITS.name), LIMITS)
__all__ = ["COMPUTING", "serve"]
GRACE_SECONDS = 3.0
"""For a computation that goes on after everything else has stopped."""


def _sections() -> list[Section]:
    from unpaired.serve.settings import ServeSettings

    return [Section(kind=ServeSettings, group=SERVICE)]


@app.command
@with_settings(_sections, assign=False)
def serve(
    models: Annotated[list[str], Parameter(name="MODEL", negative=())],
    /,
    *,
    extension: Extension = None,
    given: Any = (),
) -> int:
    """Serve models over HTTP until stopped: POST an image to /translate, and its translation is the answer.

    unpaired serve runs/h2z --port 8080

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8080/translate > zebra.png

    Several models get names: unpaired serve zebras=runs/h2z winter=models/winter. Each request is one line of JSON on
    stderr; Ctrl-C or SIGTERM finishes what has been taken, SIGHUP looks for newer checkpoints at once.

    Parameters
    ----------
    models
        Runs, checkpoints, model folders or names of models (demo/fish), each also as NAME=MODEL.
    """
    from unpaired.core.given import options_of
    from unpaired.serve.settings import ServeSettings
    from unpaired.serve.start import serve as start

    allow(extension)
    start(models, options_of(ServeSettings, given))
    _leave_computations()
    return 0


def _leave_computations() -> None:
    """Wait a moment for threads, and end the process where one computes on: nobody waits for its result."""
    end = time.monotonic() + GRACE_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                logging.getLogger("unpaired.serve").warning("a computation has not ended; it is given up")
                os._exit(1)
