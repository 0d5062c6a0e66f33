"""`unpaired audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app, command_line

if TYPE_CHECKING:
    from rich.table import Table

    from unpaired.audit.start import Audit, DirectionAudit


@app.command
def audit(
    model: Path,
    /,
    *,
    data: Path | None = None,
    direction: Literal["a2b", "b2a", "both"] = "both",
    images: int = 50,
    size: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure whether a translator hides its input in its output, in detail that nobody sees.

    unpaired audit runs/maps --data maps

    Translations are disturbed before they are brought back: rounded, coded as
    JPEG, blurred, with noise.

    What then is lost, beyond what an honest copy of the input would lose, was hidden in detail.

    Parameters
    ----------
    model
        A run (its newest checkpoint), a checkpoint or a model folder, of a method with both directions.
    data
        Folder with test images of both domains, as for `unpaired train`. [that of the run]
    direction
        a2b, b2a or both.
    images
        At most so many images of each domain, spread evenly.
    size
        Size of the images: 256, or HEIGHTxWIDTH. [that of training]
    seed
        Of the noise, and of the resampling for standard errors.
    out
        Folder for audit.json, audit.svg (the figure) and pictures. [audits/CHECKPOINT in the run]
    device
        auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.
    as_json
        Print audit.json in place of the table.
    quiet
        Print nothing but the tables and what they mean, warnings and errors.
    """
    from unpaired.audit.inputs import Request
    from unpaired.audit.start import audit as carry_out
    from unpaired.audit.start import to_bytes
    from unpaired.cli.train import read_size
    from unpaired.core.terminal import counting

    read = read_size("--size", size)
    request = Request(
        model=model,
        data=data,
        direction=direction,
        images=images,
        size=None if read is None else (read, read) if isinstance(read, int) else (read[0], read[1]),
        seed=seed,
        out=out,
        device=device,
        command=command_line(),
    )
    with counting("Auditing", quiet=quiet or as_json) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar(done, total)
            bar.detail(stage)

        result = carry_out(request, progress=show)
    if not quiet:
        for notice in result.notices:
            print(f"note: {notice}", file=sys.stderr)
    for found in result.directions:
        for warning in found.warnings:
            print(f"warning: {found.heading}: {warning}.", file=sys.stderr)
    if as_json:
        sys.stdout.write(to_bytes(result.document).decode())
        return 0
    _print(result)
    if not quiet:
        print(f"{result.folder}")
    return 0


def _print(result: Audit) -> None:
    from rich.console import Console

    console = Console()
    for found in result.directions:
        console.print(_table(found))
        console.print(found.summary, highlight=False)
        console.print()


def _table(found: DirectionAudit) -> Table:
    """Return the disturbances of one direction, for a terminal."""
    from rich.table import Table

    table = Table(title=found.table.title, title_justify="left")
    for number, column in enumerate(("disturbance", "change", "error", "PSNR", "honest\ncopy", "lost")):
        table.add_column(column, justify="left" if number == 0 else "right")
    for title, change, error, error_of_it, psnr, copy, lost, lost_error in found.table.rows:
        table.add_row(
            str(title),
            _number(change, " dB"),
            f"{_number(error)} ± {_number(error_of_it)}" if error_of_it is not None else _number(error),
            _number(psnr, " dB"),
            _number(copy),
            "" if lost is None else _share(lost, lost_error),
        )
    return table


def _number(value: str | float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.1f}{unit}"


def _share(value: str | float, error: str | float | None) -> str:
    text = f"{100 * float(value):.1f}"
    told = "0.0" if text == "-0.0" else text
    return f"{told} %" if error is None else f"{told} ± {100 * float(error):.1f} %"
