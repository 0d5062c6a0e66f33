"""`unpaired audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unpaired.cli.app import app, command_line

FLAGS = ("checkpoint", "data", "direction", "images", "size", "seed", "out", "device")


@app.command
def audit(
    model: Path,
    /,
    *,
    checkpoint: str | None = None,
    data: Path | None = None,
    direction: str = "both",
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
        Which way: a2b, b2a, by the domains' names such as horse2zebra, or both.
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
    from rich.console import Console

    from unpaired.audit.audit import audit as carry_out
    from unpaired.audit.model import AuditOptions
    from unpaired.cli.train import read_size
    from unpaired.core.settings import named_by_flags
    from unpaired.core.terminal import counting
    from unpaired.report.terminal import render

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
    if as_json:
        sys.stdout.write(document.to_json())
        return 0
    Console().print(render(document, figures=False), highlight=False)
    if not quiet:
        print(written.folder)
    return 0
