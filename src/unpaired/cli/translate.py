"""`unpaired translate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import BatchSize, Checkpoint, Device, Direction, Engine, Extension, Precision, Quiet, allow
from unpaired.core.terminal import counting, note, say

if TYPE_CHECKING:
    from unpaired.core.terminal import Counter
    from unpaired.models.files import Report
    from unpaired.models.translator import Translator


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
    max_pixels: int | None = None,
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
        A run, a checkpoint or a model folder.
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
    for notice in list(translator.notices):
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
        f"remaining reconstruction error: {mean:.3f} on average in a range of 2; worst {path}: {worst.l1:.3f} "
        f"(PSNR {worst.psnr:.1f} dB)."
    )
