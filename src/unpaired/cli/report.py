"""`unpaired report`: what came of one or several runs, on one page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Quiet
from unpaired.core.terminal import note, say


@app.command
def report(
    runs: Annotated[list[Path], Parameter(name="RUN", negative=())],
    /,
    *,
    out: Path,
    data: Annotated[Path | None, Parameter(name="--json")] = None,
    checkpoint: str | None = None,
    title: str | None = None,
    quiet: Quiet = False,
) -> int:
    """Write one self-contained HTML page on one run, or on several side by side.

    unpaired report runs/h2z --out report.html

    unpaired report runs/with runs/without --out report.html --json report.json

    It shows settings, curves, samples over time, all figures of `unpaired
    evaluate` with their protocols, best and worst translations, the findings of
    `unpaired audit`, speed, warnings and versions. It needs no other file.

    Parameters
    ----------
    runs
        The folders of runs, in the order in which they are to be shown.
    out
        The page. An earlier report is replaced, any other file is not.
    data
        File for the same as data.
    checkpoint
        Show only what was measured of this checkpoint of every run: best, last or a number of images. [default: all]
    title
        Heading of the page. [default: the names of the runs]
    """
    from unpaired.report.run_report import write_report

    written = write_report(runs, out, data=data, title=title, checkpoint=checkpoint)
    for line in (line for run in written.runs for line in run.damage):
        note(f"warning: {line}")
    if not quiet:
        left_out = f", {written.pictures_left_out} pictures left out" if written.pictures_left_out else ""
        say(f"Report: {written.page} ({written.page.stat().st_size / 1e6:.1f} MB{left_out})")
        if written.data is not None:
            say(f"Data: {written.data}")
    return 0
