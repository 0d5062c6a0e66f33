"""`unpaired audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app, command_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from unpaired.report.results import Cell, Direction

FLAGS = ("checkpoint", "data", "direction", "images", "size", "seed", "out", "device")


@app.command
def audit(
    model: Path,
    /,
    *,
    checkpoint: str | None = None,
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
    """Measure whether translations hide their inputs in invisible detail.

    unpaired audit runs/maps --data maps

    Translations are disturbed (rounded, JPEG, blur, noise) before they are translated back. What this destroys of the
    reconstruction, beyond what a plain copy of the input loses, was hidden in detail.

    Parameters
    ----------
    model
        A run, a checkpoint or a model folder, of a method with both directions.
    checkpoint
        Which checkpoint of a run: best, last or a number of images. [the best, or else the newest]
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
        Folder for audit.json, audit.svg (the chart) and pictures. [audits/CHECKPOINT in the run]
    device
        auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps.
    as_json
        Print audit.json in place of the table.
    quiet
        Print nothing but tables, their summary, warnings and errors.
    """
    from unpaired.audit.audit import audit as carry_out
    from unpaired.audit.model import AuditOptions
    from unpaired.cli.train import read_size
    from unpaired.core.settings import named_by_flags
    from unpaired.core.terminal import counting

    read = read_size("--size", size)
    with (
        named_by_flags({name: f"--{name}" for name in FLAGS}),
        counting("Auditing", quiet=quiet or as_json) as bar,
    ):

        def show(stage: str, done: int, total: int) -> None:
            bar(done, total)
            bar.detail(stage)

        options = AuditOptions(
            model=model,
            checkpoint=checkpoint,
            data=data,
            direction=direction,
            images=images,
            size=None if read is None else (read, read) if isinstance(read, int) else (read[0], read[1]),
            seed=seed,
            out=out,
            device=device,
            command=command_line(),
        )
        written = carry_out(options, progress=show)
    document = written.document
    if not quiet:
        for notice in document.notices:
            print(f"note: {notice}", file=sys.stderr)
    for found in document.directions.values():
        for warning in found.warnings:
            print(f"warning: {found.heading}: {warning}.", file=sys.stderr)
    if as_json:
        sys.stdout.write(document.to_json())
        return 0
    _print(written.title, list(document.directions.values()))
    if not quiet:
        print(f"{written.folder}")
    return 0


def _print(title: str, directions: list[Direction]) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"Audit of the {title}", highlight=False)
    for found in directions:
        console.print(f"\n{found.verdict}", highlight=False)
        console.print(_table(found))
        console.print(found.summary, highlight=False)


def _table(found: Direction) -> RenderableType:
    """Return the disturbances of one direction, for a terminal."""
    from unpaired.report.results import Table
    from unpaired.report.tables import to_terminal

    content = found.tables[0]
    rows = []
    for title, change, error, error_of_it, psnr, copy, lost, lost_error in content.rows:
        cells = (_rounded(change, " dB"), _rounded(error, "", error_of_it), _rounded(psnr, " dB"), _rounded(copy))
        rows.append((title, *cells, _rounded(lost, " %", lost_error, 100)))
    columns = ("disturbance", "change", "error", "PSNR", "plain copy", "lost")
    return to_terminal(Table(title=content.title, columns=columns, rows=tuple(rows)))


def _rounded(value: Cell, unit: str = "", error: Cell = None, factor: float = 1.0) -> str:
    if not isinstance(value, int | float):
        return ""
    deviation = f" ± {factor * error:.1f}" if isinstance(error, int | float) else ""
    return f"{factor * value:.1f}".replace("-0.0", "0.0") + deviation + unit
