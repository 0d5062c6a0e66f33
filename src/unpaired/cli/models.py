"""`unpaired export`, `convert` and `info`: what is done with a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import (
    Checkpoint,
    Direction,
    Extension,
    Json,
    Quiet,
    Switch,
    Whole,
    allow,
)
from unpaired.core.errors import UserError
from unpaired.core.terminal import counting, say, show
from unpaired.core.text import json_text

if TYPE_CHECKING:
    from unpaired.models.export.model import ExportReport
    from unpaired.serve.browser import BrowserReport


@app.command
def export(
    model: Path,
    /,
    *,
    out: Path,
    format: Literal["onnx", "openvino", "torchscript", "torch-export", "web"] | None = None,
    runtime: Path | None = None,
    direction: Direction = None,
    checkpoint: Checkpoint = None,
    steps: Whole | None = None,
    seed: Whole | None = None,
    precision: Literal["fp32", "int8"] = "fp32",
    calibrate: Path | None = None,
    overwrite: Switch = False,
    extension: Extension = None,
    quiet: Quiet = False,
) -> int:
    """Write a model as one file for another runtime, which takes images of any size, or as a page for a browser.

    unpaired export runs/h2z --out h2z.onnx

    unpaired export runs/h2z --format web --out h2z-page --runtime node_modules/onnxruntime-web/dist

    The file is compared with PyTorch before it is written; exit code 2 and no file where they differ.

    Parameters
    ----------
    model
        A run, a checkpoint, a model folder, or a name: demo/NAME, model/NAME, hf:USER/NAME.
    out
        The file: .onnx, .xml (OpenVINO, with a .bin beside it), .pt (TorchScript) or .pt2 (torch.export); for web
        a folder.
    format
        onnx, openvino, torchscript or torch-export; by default what the suffix of --out says. web writes a folder
        with a page that translates in the browser, without a server; every direction, unless one is named.
    runtime
        For web: the folder dist of the npm package onnxruntime-web, which is copied into --out.
    steps
        Steps that a model of several takes (unsb). [default: all of its training]
    seed
        Of the noise of such a model, which is part of the file. [default: that of the model, 0]
    precision
        fp32, or int8 (ONNX and OpenVINO), which loses quality: the loss is measured and printed.
    calibrate
        For int8: a folder of images like those that will be translated.
    overwrite
        Replace the file where it exists.
    """
    allow(extension)
    chosen: dict[str, Any] = {"direction": direction, "checkpoint": checkpoint, "precision": precision}
    chosen |= {"steps": steps, "seed": seed, "calibrate": calibrate, "overwrite": overwrite}
    report: ExportReport | BrowserReport
    if format == "web":
        from unpaired.serve.browser import export_browser

        report = export_browser(model, out, runtime=runtime, **chosen)
    else:
        from unpaired.models.export.model import export_model

        if runtime is not None:
            raise UserError(f"--runtime is for --format web; received {f'--format {format}' if format else 'another'}.")
        report = export_model(model, out, format=format, **chosen)
    if not quiet:
        say(str(report))
    return 0


@app.command
def convert(
    weights: Annotated[list[Path], Parameter(name="WEIGHTS", negative=())],
    /,
    *,
    out: Path,
    to_official: Switch = False,
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
    from unpaired.models.named import model_path

    allow(extension)
    what = model_path(what)
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
