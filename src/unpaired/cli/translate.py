"""`unpaired translate`: files in this process, collections on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from unpaired.cli.app import app
from unpaired.cli.options import (
    PATH,
    BatchSize,
    Checkpoint,
    Cluster,
    Device,
    Direction,
    Engine,
    Extension,
    Precision,
    Quiet,
    Whole,
    allow,
)
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.terminal import counting, note, say
from unpaired.core.text import printable

if TYPE_CHECKING:
    from unpaired.cluster.run import BatchReport
    from unpaired.core.terminal import Counter
    from unpaired.models.files import Report
    from unpaired.models.translator import Translator


@app.command
def translate(
    model: Path,
    inputs: Annotated[list[PATH], Parameter(name="INPUT", negative=())],
    /,
    *,
    out: PATH,
    direction: Direction = None,
    checkpoint: Checkpoint = None,
    format: str = "auto",
    name: str = "{stem}",
    bit_depth: Literal[8, 16, 32] | None = None,
    alpha: Literal["keep", "drop"] | None = None,
    half: Literal["left", "right"] | None = None,
    size: str | None = None,
    detail: bool | None = None,
    deidentify: bool = False,
    keep_metadata: bool = False,
    doubt: bool = False,
    out_of_range: Literal["clip", "refuse"] = "clip",
    crf: Whole | None = None,
    smooth: float = 0.0,
    steps: Whole | None = None,
    seed: Whole | None = None,
    memory: str | None = None,
    max_pixels: Whole | None = None,
    existing: Literal["fail", "skip", "overwrite"] = "fail",
    cluster: Cluster = None,
    sink: Literal["files", "tar", "parquet"] | None = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    extension: Extension = None,
    quiet: Quiet = False,
) -> int:
    """Translate images with a trained model; every output has the size of its input.

    unpaired translate runs/h2z photos/ portrait.jpg --out zebras

    unpaired translate runs/h2z "s3://bucket/photos/*.tar" --out s3://bucket/zebras --cluster auto

    Exit code 1 when some of the files could not be translated; the rest is done.

    Parameters
    ----------
    model
        A run, a checkpoint, a model folder, or a name: demo/NAME, model/NAME, hf:USER/NAME (see unpaired download).
    inputs
        Images and folders of images, any mixture of sizes; folders are searched recursively and keep their structure.
        With --cluster also patterns, URLs (s3://bucket/photos) and shards (.tar, .parquet, hf:user/name).
    out
        Folder for the translations; with --cluster also a URL.
    format
        auto, png, jpg, webp, tiff or npy. auto writes a file like the input, with its geometry and metadata, where that
        is possible; else png where it holds the translation unchanged, else tiff.
    name
        Name of each output without suffix; {stem} and {ext} are those of the input, {direction} is a2b or b2a.
    bit_depth
        Bits of each value; 32 is floating point; another depth than that of the training images rescales the values.
        [default: that of the training images]
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
    deidentify
        Leave names, dates and identifiers of persons out of DICOM files and volumes. This is no certified
        de-identification: see docs/fields/ct.md.
    keep_metadata
        Write resolution and EXIF of pictures (also the place where they were taken) into their translations.
    doubt
        Write a map beside every output (NAME.doubt.png, or .doubt.tif where files have more than 8 bits): how little of
        each place of the input comes back from the translation, so where content may be lost. Low values are no proof.
    out_of_range
        Values outside the range that the model was trained on: clip them (reported), or refuse their files.
    crf
        Quality of clips, 0 (no loss) to 51 (smallest). [default: 16]
    smooth
        Lower the flicker of clips: average the change from frame to frame along the motion of the input, from 0 (not at
        all) to below 1; 0.8 is a good start.
    steps
        Steps that a model of several takes (unsb). [default: all of its training]
    seed
        Of the noise of such a model: another seed gives another translation. [default: that of the model, 0]
    memory
        What the command may take, such as 4GB. An image that needs more is translated by tiles, with the same result,
        and a file that is larger is read by parts where its format can. [default: what is free]
    max_pixels
        Images of more pixels are refused, unless they can be read by parts. [default: 179 million]
    existing
        What to do when an output exists: fail before anything is done, skip it, or overwrite it.
    cluster
        Translate on a Ray cluster: local (also without a value) starts one in this machine, auto uses the one that runs
        here, ray://HOST:PORT another. The same command goes on where it was interrupted.
    sink
        With --cluster: write files, or shards, tar (WebDataset) or parquet. [default: as the input]
    """
    from unpaired.data.bad_image import MAX_PIXELS

    allow(extension)
    computing: dict[str, Any] = {"device": device, "engine": engine, "precision": precision}
    sizing: dict[str, Any] = {"size": size, "detail": detail, "memory": memory}
    chosen: dict[str, Any] = {"direction": direction, "checkpoint": checkpoint, "steps": steps, "seed": seed}
    files: dict[str, Any] = {
        "format": format,
        "name": name,
        "bit_depth": bit_depth,
        "alpha": alpha,
        "half": half,
        "out_of_range": out_of_range,
        "max_pixels": MAX_PIXELS if max_pixels is None else max_pixels,
        "existing": existing,
        "batch_size": batch_size,
    }
    own = {"deidentify": deidentify, "keep_metadata": keep_metadata, "crf": crf, "smooth": smooth, "doubt": doubt}
    if cluster is None:
        _refuse_collections(inputs, out, sink)
        return _translate_files(model, inputs, out, files | own, chosen | computing | sizing, quiet=quiet)
    _refuse_on_cluster(own)
    chosen |= {"address": cluster[0] if cluster else "local", "extensions": extension or []}
    settings = {**files, **computing, **sizing, "sink": sink}
    return _translate_collection(model, inputs, out, settings, quiet=quiet, **chosen)


def _translate_files(
    model: Path,
    given: list[PATH],
    out: PATH,
    settings: dict[str, Any],
    loading: dict[str, Any],
    *,
    quiet: bool,
) -> int:
    from unpaired.data.check import listed
    from unpaired.models.doubt import SCALE
    from unpaired.models.files import count_images, translate_files
    from unpaired.models.translator import Translator

    inputs = [Path(each) for each in given]
    translator = Translator.load(
        model,
        images=count_images(inputs),
        fine=True if settings["bit_depth"] in (16, 32) else None,
        **loading,
    )
    _introduce(translator, quiet=quiet)
    if not quiet:
        say(f"engine: {translator.describe_engine()}")
    with counting("Translating", quiet=quiet) as progress:
        _show_search(translator, progress)
        translator.tiler.progress = lambda tiles: progress.detail(str(tiles))
        report = translate_files(translator, inputs, out, progress=progress, **settings)
    failed = listed(report.failed) if report.failed else ""
    _print_report(report, len(report.failed), failed, out, quiet=quiet)
    if not quiet:
        if settings["doubt"]:
            say(f"maps: {SCALE}; beside files of more than 8 bits the values themselves.")
        _print_search_errors(report)
        _print_smoothed(report)
    return 1 if report.failed else 0


def _translate_collection(
    model: Path, sources: list[PATH], out: PATH, settings: dict[str, Any], *, quiet: bool, **where: Any
) -> int:
    from unpaired.cluster.run import translate_on_cluster
    from unpaired.cluster.worker import BatchSettings

    with counting("Translating", quiet=quiet) as progress:
        report = translate_on_cluster(
            model,
            sources,
            out,
            BatchSettings(**settings),
            started=lambda translator: _introduce(translator, quiet=quiet),
            progress=progress,
            **where,
        )
    if not quiet and report.engine:
        say(f"engine: {report.engine}")
    lines = [f"  {printable(name)}: {reason}" for name, reason in report.examples]
    _print_report(report, report.failed, "\n".join([*lines, f"All are listed in {report.failures}."]), out, quiet=quiet)
    return 1 if report.failed else 0


def _refuse_collections(inputs: list[PATH], out: PATH, sink: str | None) -> None:
    """Refuse what only a translation on a cluster takes."""
    if sink is not None:
        raise UserError(f"--sink {sink}: without --cluster files are written. Add --cluster, or leave it out.")
    for given in (*inputs, out):
        if "://" in given or given.startswith("hf:") or given.lower().endswith((".tar", ".parquet", ".arrow")):
            raise UserError(
                f"{printable(given)}: URLs and shards are translated by a Ray cluster, also one in this machine alone. "
                "Add --cluster."
            )


def _refuse_on_cluster(own: dict[str, Any]) -> None:
    """Refuse what only a translation in this process takes."""
    if own["crf"] is not None or own["smooth"]:
        raise UserError("--crf and --smooth are for clips, which are translated without --cluster.")
    if own["keep_metadata"]:
        raise UserError(f"{option('keep_metadata')}: only without --cluster is it written.")
    if own["doubt"]:
        raise UserError(f"{option('doubt')}: only without --cluster are maps of doubt written.")
    if own["deidentify"]:
        raise UserError(f"{option('deidentify')}: only without --cluster are files written like their inputs.")


def _introduce(translator: Translator, *, quiet: bool) -> None:
    for notice in translator.notices:
        note(f"warning: {notice}")
    if not quiet:
        say(f"model: {translator.title}")


def _print_report(report: Report | BatchReport, failures: int, listed: str, out: PATH, *, quiet: bool) -> None:
    if failures:
        note(f"could not translate:\n{listed}")
    for notice in report.notices:
        note(f"warning: {notice}")
    if report.rescaled is not None:
        note(f"note: {report.rescaled}.")
    if not quiet:
        skipped = f", {report.skipped} skipped (already there)" if report.skipped else ""
        failed = f", {failures} failed" if failures else ""
        say(f"{report.written} written to {out}{skipped}{failed}.")


def _show_search(translator: Translator, progress: Counter) -> None:
    """Let a latent search (CoGAN) show its step and what is left over, since one batch may take minutes."""
    if translator.search is not None:
        translator.search.progress = lambda step, steps, error: progress.detail(
            f"step {step:,} of {steps:,}, remaining error {error:.3f}"
        )


def _print_smoothed(report: Report) -> None:
    for output, found in report.smoothed:
        if found.before is not None and found.after is not None:
            say(
                f"{printable(output.name)}: flicker {found.before:.2f} -> {found.after:.2f} times that of the input; "
                f"smoothing changed values by {found.difference:.1f} levels of 255 on average."
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
