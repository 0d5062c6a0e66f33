"""`unpaired export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import Checkpoint, Direction, Extension, Quiet, allow
from unpaired.core.terminal import say


@app.command
def export(
    model: Path,
    /,
    *,
    out: Path,
    format: Literal["onnx", "openvino", "torchscript", "torch-export"] | None = None,
    direction: Direction = None,
    checkpoint: Checkpoint = None,
    precision: Literal["fp32", "int8"] = "fp32",
    calibrate: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    extension: Extension = None,
    quiet: Quiet = False,
) -> int:
    """Write a model as one file for another runtime; it takes images of any size.

    unpaired export runs/h2z --out h2z.onnx

    The file is compared with PyTorch before it is written; exit code 2 and no file where they differ.

    Parameters
    ----------
    model
        A run, a checkpoint or a model folder.
    out
        The file: .onnx, .xml (OpenVINO, with a .bin beside it), .pt (TorchScript) or .pt2 (torch.export).
    format
        onnx, openvino, torchscript or torch-export; by default what the suffix of --out says.
    precision
        fp32, or int8 (ONNX and OpenVINO), which loses quality: the loss is measured and printed.
    calibrate
        For int8: a folder of images like those that will be translated.
    overwrite
        Replace the file where it exists.
    """
    from unpaired.models.export.model import export_model

    allow(extension)
    report = export_model(
        model,
        out,
        format=format,
        direction=direction,
        checkpoint=checkpoint,
        precision=precision,
        calibrate=calibrate,
        overwrite=overwrite,
    )
    if not quiet:
        say(str(report))
    return 0
