"""`unpaired translate`, `export`, `convert` and `info`: what is done with a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import (
    BatchSize,
    Checkpoint,
    Device,
    Direction,
    Engine,
    Extension,
    Json,
    Precision,
    Quiet,
    Switch,
    Whole,
    allow,
)
from unpaired.core.errors import UserError
from unpaired.core.terminal import counting, note, say, show
from unpaired.core.text import json_text, printable

if TYPE_CHECKING:
    from unpaired.core.terminal import Counter
    from unpaired.models.export.model import ExportReport
    from unpaired.models.files import Report
    from unpaired.models.translator import Translator
    from unpaired.serve.browser import BrowserReport


@app.command
def translate(
    model: Path,
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    out: Path,
    direction: Direction = None,
    checkpoint: Checkpoint = None,
    format: str = "png",
    name: str = "{stem}",
    bit_depth: Literal[8, 16, 32] | None = None,
    alpha: Literal["keep", "drop"] | None = None,
    half: Literal["left", "right"] | None = None,
    size: str | None = None,
    detail: bool | None = None,
    max_pixels: Whole | None = None,
    existing: Literal["fail", "skip", "overwrite"] = "fail",
    batch_size: BatchSize = 8,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    extension: Extension = None,
    quiet: Quiet = False,
) -> int:
    """Translate images with a trained model; every output has the size of its input.

    unpaired translate runs/h2z photos/ portrait.jpg --out zebras

    Exit code 1 when some of the files could not be translated; the rest is done.

    Parameters
    ----------
    model
        A run, a checkpoint, a model folder, or a name: demo/NAME, model/NAME, hf:USER/NAME (see unpaired download).
    inputs
        Images and folders of images, any mixture of sizes; folders are searched recursively and keep their structure.
    out
        Folder for the translations.
    format
        png, jpg, webp, tiff or npy.
    name
        Name of each output without suffix; {stem} and {ext} are those of the input, {direction} is a2b or b2a.
    bit_depth
        Bits of each value; 32 is floating point. [default: that of the training images]
    alpha
        keep an input's alpha beside its translation, or drop it. [default: keep where the format can hold it]
    half
        Translate this half of side-by-side files. [default: the whole image]
    size
        At which size the network sees an image: trained (as in training), native, or the pixels of the shorter side.
        The translation has the input's size again. [default: trained where the model knows it, else native]
    detail
        Keep the input's detail where the network saw it smaller: the change is enlarged and added to the input.
        [default: for pictures of the same channels]
    max_pixels
        Images of more pixels are refused. [default: 179 million]
    existing
        What to do when an output exists: fail before anything is done, skip it, or overwrite it.
    """
    from unpaired.data.bad_image import MAX_PIXELS
    from unpaired.models.files import count_images, translate_files
    from unpaired.models.translator import Translator

    allow(extension)
    translator = Translator.load(
        model,
        direction,
        checkpoint=checkpoint,
        device=device,
        engine=engine,
        precision=precision,
        images=count_images(inputs),
        fine=True if bit_depth in (16, 32) else None,
        size=size,
        detail=detail,
    )
    for notice in translator.notices:
        note(f"warning: {notice}")
    if not quiet:
        say(f"model: {translator.title}\nengine: {translator.describe_engine()}")
    with counting("Translating", quiet=quiet) as progress:
        _show_search(translator, progress)
        report = translate_files(
            translator,
            inputs,
            out,
            format=format,
            name=name,
            alpha=alpha,
            max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
            bit_depth=bit_depth,
            half=half,
            existing=existing,
            batch_size=batch_size,
            progress=progress,
        )
    _print_report(report, out, quiet=quiet)
    return 1 if report.failed else 0


def _print_report(report: Report, out: Path, *, quiet: bool) -> None:
    from unpaired.data.check import listed

    if report.failed:
        note(f"could not translate:\n{listed(report.failed)}")
    for notice in report.notices:
        note(f"warning: {notice}")
    if report.rescaled is not None:
        note(f"note: {report.rescaled}.")
    if not quiet:
        skipped = f", {report.skipped} skipped (already there)" if report.skipped else ""
        failed = f", {len(report.failed)} failed" if report.failed else ""
        say(f"{report.written} written to {out}{skipped}{failed}.")
        _print_search_errors(report)


def _show_search(translator: Translator, progress: Counter) -> None:
    """Let a latent search (CoGAN) show its step and what is left over, since one batch may take minutes."""
    if translator.search is not None:
        translator.search.progress = lambda step, steps, error: progress.detail(
            f"step {step:,} of {steps:,}, remaining error {error:.3f}"
        )


def _print_search_errors(report: Report) -> None:
    errors = report.search_errors
    if not errors:
        return
    mean = sum(error.l1 for _, error in errors) / len(errors)
    path, worst = max(errors, key=lambda found: found[1].l1)
    say(
        f"remaining reconstruction error: {mean:.3f} on average in a range of 2; worst {printable(path)}: "
        f"{worst.l1:.3f} (PSNR {worst.psnr:.1f} dB)."
    )


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
        A run, a checkpoint or a model folder.
    out
        The file: .onnx, .xml (OpenVINO, with a .bin beside it), .pt (TorchScript) or .pt2 (torch.export); for web
        a folder.
    format
        onnx, openvino, torchscript or torch-export; by default what the suffix of --out says. web writes a folder
        with a page that translates in the browser, without a server; every direction, unless one is named.
    runtime
        For web: the folder dist of the npm package onnxruntime-web, which is copied into --out.
    precision
        fp32, or int8 (ONNX and OpenVINO), which loses quality: the loss is measured and printed.
    calibrate
        For int8: a folder of images like those that will be translated.
    overwrite
        Replace the file where it exists.
    """
    allow(extension)
    report: ExportReport | BrowserReport
    if format == "web":
        from unpaired.serve.browser import export_browser

        report = export_browser(
            model,
            out,
            runtime=runtime,
            direction=direction,
            checkpoint=checkpoint,
            precision=precision,
            calibrate=calibrate,
            overwrite=overwrite,
        )
    else:
        from unpaired.models.export.model import export_model

        if runtime is not None:
            raise UserError(f"--runtime is for --format web; received {f'--format {format}' if format else 'another'}.")
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
