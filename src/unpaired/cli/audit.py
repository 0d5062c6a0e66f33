"""`unpaired audit`."""

from __future__ import annotations

import sys
from pathlib import Path

from unpaired.cli.app import app, command_line
from unpaired.cli.options import Checkpoint, Device, Extension, Json, Quiet, allow, read_size


@app.command
def audit(
    model: Path,
    /,
    *,
    checkpoint: Checkpoint = None,
    data: Path | None = None,
    direction: str = "both",
    images: int = 50,
    size: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: Device = "auto",
    extension: Extension = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure whether translations hide their inputs in invisible detail.

    unpaired audit runs/maps --data maps

    Translations are disturbed (rounded, JPEG, blur, noise) before they are translated back. What this destroys of the
    reconstruction, beyond what a plain copy of the input loses, was hidden in detail.

    Parameters
    ----------
    model
        A run, a checkpoint or a model folder, of a method with both directions.
    data
        Folder with test images of both domains, as for `unpaired train`. [default: that of the run]
    direction
        Which way: a2b, b2a, by the domains' names such as horse2zebra, or both.
    images
        At most so many images of each domain, spread evenly.
    size
        Size of the images: 256, or HEIGHTxWIDTH. [default: that of training]
    seed
        Of the noise, and of the resampling for standard errors.
    out
        Folder for audit.json, audit.svg (the chart) and pictures. [default: audits/CHECKPOINT in the run]
    """
    from rich.console import Console

    from unpaired.audit.audit import audit as carry_out
    from unpaired.audit.model import AuditOptions
    from unpaired.core.terminal import counting
    from unpaired.report.terminal import render

    allow(extension)
    with counting("Auditing", quiet=quiet or as_json) as bar:

        def show(stage: str, done: int, total: int) -> None:
            bar(done, total)
            bar.detail(stage)

        options = AuditOptions(
            model=model,
            checkpoint=checkpoint,
            data=data,
            direction=direction,
            images=images,
            size=read_size("--size", size),
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
