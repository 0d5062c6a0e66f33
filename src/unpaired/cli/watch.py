"""`unpaired watch`: runs in the browser while they train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Whole


@app.command
def watch(
    folder: Annotated[Path, Parameter(name="RUN")],
    /,
    *,
    host: str = "127.0.0.1",
    port: Whole = 8000,
) -> int:
    """Show a run, or all runs of a folder, in the browser until stopped; the page follows the training.

    unpaired watch runs --port 8080

    The runs' files are read alone: the training may run on another machine that shares the folder.

    Parameters
    ----------
    folder
        A run, or a folder with runs in it.
    host
        Address to listen on: 127.0.0.1 is this machine only, 0.0.0.0 all networks.
    port
        Port to listen on; 0 takes a free one.
    """
    from unpaired.serve.watch import serve_runs

    serve_runs(folder, host, port)
    return 0
