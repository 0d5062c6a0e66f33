"""`unpaired convert` and `unpaired info`: what a model is, and weights of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Checkpoint, Direction, Extension, Json, allow
from unpaired.core.errors import UserError
from unpaired.core.terminal import counting, say, show
from unpaired.core.text import json_text


@app.command
def convert(
    weights: Annotated[list[Path], Parameter(name="WEIGHTS", negative=())],
    /,
    *,
    out: Path,
    to_official: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    direction: Direction = None,
    checkpoint: Checkpoint = None,
) -> int:
    """Read generator weights of the authors' PyTorch code or of PyTorch-GAN, or write the authors' format.

    unpaired convert latest_net_G_A.pth --out models/h2z

    unpaired convert latest_net_G_A.pth latest_net_G_B.pth --out models/h2z

    unpaired convert runs/h2z --to-official --direction a2b --out latest_net_G_A.pth

    Parameters
    ----------
    weights
        A .pth or .safetensors file, or two for a model of both directions, the first a2b and the second b2a; in place
        of a file also a model that was converted. With --to-official a run, a checkpoint or a model.
    out
        Folder of the new model; with --to-official the new .pth file.
    to_official
        Write the authors' format.
    """
    from unpaired.models.convert.files import from_files, to_file

    if to_official and len(weights) != 1:
        raise UserError(f"--to-official writes one direction of one model; received {len(weights)} models.")
    if checkpoint is not None and not to_official:
        raise UserError("--checkpoint chooses one of a run to write with --to-official. Leave it out.")
    say(to_file(weights[0], out, direction, checkpoint) if to_official else from_files(weights, out, direction))
    return 0


@app.command
def info(
    what: Path,
    /,
    *,
    extension: Extension = None,
    as_json: Json = False,
) -> int:
    """Describe a model, a run, a segmenter, a folder of images or an image.

    Parameters
    ----------
    what
        A run, a checkpoint, a model, a segmenter, a data folder or an image.
    """
    from unpaired.cli.info import describe, render
    from unpaired.evaluation.segmentation.segmenter import describe_segmenter, is_segmenter, render_segmenter

    allow(extension)
    if is_segmenter(what):
        found = describe_segmenter(what)
        say(json_text(found) if as_json else render_segmenter(found))
        return 0
    with counting("Reading", quiet=as_json) as count:
        description = describe(what, progress=lambda label, done, total: count(done, total))
    if as_json:
        say(json_text(description))
    else:
        show(render(description))
    return 0
