"""Translation of files and folders: decoding, translating and encoding overlap, in memory that does not grow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from unpaired.core.errors import UserError
from unpaired.core.files import check_out, full_suffix, real_path, write_atomic
from unpaired.core.settings import option
from unpaired.core.text import listing, plural, printable
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.check import BadFile
from unpaired.data.describe import remarked
from unpaired.data.directions import sides
from unpaired.data.encode import FORMATS
from unpaired.data.folders import in_frames, in_words, left_out
from unpaired.data.parallel import num_threads
from unpaired.data.reading import Half, half_of
from unpaired.models.containers import translate_container
from unpaired.models.doubt import Doubt, with_maps
from unpaired.models.fit import fit_notices
from unpaired.models.outputs import (
    AUTO,
    Alpha,
    check_metadata,
    checked_name,
    default_format,
    find_images,
    keeps_alpha,
    kind_of,
    output_domain,
    plan_outputs,
    rescaled_notice,
    stored_domain,
)
from unpaired.models.pipeline import Failure, Job, LargeJob, LoadedImage, OutOfRange, Run, load_image
from unpaired.models.sizing import Rescaled
from unpaired.models.slabs import single
from unpaired.models.smoothing import Smoothed, clips_of
from unpaired.models.tiling.windows import find_large
from unpaired.models.translator import Translator
from unpaired.networks import SearchError

Existing = Literal["fail", "skip", "overwrite"]
Progress = Callable[[int, int], None]
"""Called with (images done, images in all) from the thread that called `translate_files`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the files."""

    written: int
    """Files translated and written."""
    skipped: int
    """Files whose output was there already."""
    failed: list[BadFile]
    """Files that could not be read, translated or written, in the order of the input."""
    search_errors: list[tuple[Path, SearchError]]
    """What a search left over of each file, in the order of the input; empty for models that do not search."""
    notices: list[str]
    """What a person should know of the files, or of the engine while it translated them."""
    smoothed: list[tuple[Path, Smoothed]]
    """Outputs of several images whose changes were averaged over time."""
    rescaled: Rescaled | None = None
    """Images that are clearly larger or smaller than in training, and what was done about it."""
    clipped: int = 0
    """Images with values outside the range that the model was trained on."""


def translate_files(
    translator: Translator | str | Path,
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    format: str = AUTO,
    name: str = "{stem}",
    bit_depth: int | None = None,
    alpha: Alpha | None = None,
    existing: Existing = "fail",
    batch_size: int = 8,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    half: Half | None = None,
    deidentify: bool = False,
    keep_metadata: bool = False,
    out_of_range: OutOfRange = "clip",
    crf: int | None = None,
    smooth: float = 0.0,
    doubt: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Translate files and folders into `out`; the same as `unpaired translate`.

    `translator` may also be a run or a model folder: `unpaired.translate("runs/h2z", "photos", "zebras")`.

    A folder is searched recursively and its structure kept: `out/<path within the folder>.png`; a file becomes
    `out/<name>.png`. `name` says how files are called, of `{stem}`, `{ext}` and `{direction}`. `out` must not be an
    input folder or lie inside one. Images of any mixture of sizes; those that the network sees at the same size are
    translated together, at most `batch_size` and fewer where they are large. `workers` threads decode and as many
    encode; 0 takes one per CPU core, at most 8.

    `format` is `auto` or a suffix. `auto` writes a file like the input, with its geometry and metadata, where its
    reader can (`Reader.open_output`); else PNG where that holds the translation and is read back as it is, else TIFF.
    A file of many images (a volume, a stack, a clip) becomes one such file too or, where there is none, the folder
    `out/<name>` of single images. `bit_depth` is 8, 16 or 32 (floating point); by default that of the target domain's
    images; another one rescales values. Label maps are read and written as label maps, see `label_array`. `half` takes
    one half of side-by-side files.

    `deidentify` leaves out of files like their inputs what names a person; see `formats.dicom_output.deidentify` for
    what that is in DICOM, and what it is not.

    `keep_metadata` writes resolution and EXIF of pictures into their translations (PNG, JPEG, WebP; TIFF: resolution
    and texts), without orientation, which is applied, and without notes of cameras. Places where photos were taken
    are among them.

    Values outside the range that the model was trained on are clipped, with a notice, or with `out_of_range="refuse"`
    their files fail. Pixels without a value (NaN, nodata, masks) have none in the output where its format can say so.

    Clips are written in H.264 (VP9 in WebM) with the rate factor `crf`, 16 by default and 0 for no loss; times and
    sound are those of the input. `smooth` from 0 to 1 averages the change from frame to frame, see `Smoother`.

    `doubt` writes a map beside every output, see `models.doubt`: `zebra.doubt.png`, grey with `doubt.SCALE`, beside
    files of 8 bits, `zebra.doubt.tif` of float32 values beside others. The model needs both directions.

    An input's alpha is kept where the format can hold it (PNG, WebP, TIFF), beside the translation of the image over
    white; `alpha="drop"` writes opaque images, `"keep"` refuses formats without alpha.

    A file that cannot be read is reported and the rest is done. Each output is written whole or not at all, so after
    an interruption the same call with `existing="skip"` goes on. Raises `UserError` before anything is written where
    an input does not exist, two inputs have the same output, an output would replace an input, outputs exist already
    (`existing="fail"`), or the format cannot hold the translation; and when the disk is full.
    """
    if not isinstance(translator, Translator):
        translator = Translator.load(translator)
    inputs = [inputs] if isinstance(inputs, str | Path) else inputs
    format, out = format.lower().removeprefix("."), Path(out)
    written_as = single(stored_domain(translator.target, bit_depth))
    plain = default_format(written_as) if format == AUTO else format
    check_out(out, reads=[path for path in map(Path, inputs) if path.is_dir()], replaces=())
    for name_of, chosen, allowed in (("existing", existing, Existing), ("out_of_range", out_of_range, OutOfRange)):
        if chosen not in get_args(allowed):
            raise UserError(f"{option(name_of, chosen)}: allowed are {', '.join(get_args(allowed))}.")
    check_numbers(batch_size=(batch_size, 1, 65_536), workers=(workers, 0, 1024), max_pixels=(max_pixels, 1, 2**40))
    jobs = _plan([Path(path) for path in inputs], out, (format, plain), checked_name(name), translator)
    jobs = with_maps(jobs, written_as) if doubt else jobs
    if f".{plain}" in FORMATS or any(job.plain is None for job in jobs):
        output_domain(single(translator.target), plain, bit_depth)  # refuses what the format cannot hold
    clips = clips_of(translator, [job.source for job in jobs if job.images > 1], crf, smooth, format)
    with_alpha = keeps_alpha(alpha, translator, plain, written_as)
    check_metadata(keep_metadata, deidentify, translator, plain)
    missing, skipped = _split(jobs, existing)
    images, before = sum(job.images for job in jobs), sum(job.images for job in skipped)

    def report(done: int) -> None:
        if progress is not None:
            progress(done + before, images)

    reading: dict[str, Any] = {"max_pixels": max_pixels, "half": half, "out_of_range": out_of_range}
    load = partial(_load, translator=translator, doubt=doubt, with_alpha=with_alpha, **reading)
    engine_said = len(translator.notices)
    run = Run(translator, written_as, batch_size, num_threads(workers), load, _write, report, clips=clips)
    run.doubt = Doubt.of(translator) if doubt else None
    run.made_by, run.deidentify, run.keep_metadata = translator.made_by, deidentify, keep_metadata
    run.translate(job for job in missing if job.images == 1)
    for job in missing:
        if job.images > 1:
            translate_container(run, job, suffix=f".{plain}", **reading)
    others = _other_kinds(inputs, missing, run.changed, plain)
    notices = [*whole_files_notice(translator, half, run.twice_as_wide), *others]
    return _report(run, len(skipped), [*notices, *translator.notices[engine_said:]])


def _load(job: Job, translator: Translator, *, doubt: bool, **reading: Any) -> LoadedImage | LargeJob | Failure:
    large = find_large(job, translator, **reading)
    if large and doubt:
        return Failure(job, f"it is translated by parts, which have no map: leave {option('doubt')} out")
    return large or load_image(job, translator, **reading)


def _write(job: Job, content: bytes) -> None:
    write_atomic(job.output, content, durable=False)


def _report(run: Run, skipped: int, notices: Sequence[str]) -> Report:
    translator = run.translator
    failed = sorted(run.failed, key=lambda failure: failure.job.number)
    searched = sorted(run.searched, key=lambda found: found[0].number)
    values = [
        *rescaled_notice(single(translator.target), run.written_as),
        *fit_notices(run.fits, translator.source, by_pixels=translator.sizing.by_pixels),
    ]
    return Report(
        written=run.written,
        skipped=skipped,
        failed=[BadFile(failure.job.source, failure.reason) for failure in failed],
        search_errors=[(job.source, error) for job, error in searched],
        notices=[*values, *remarked(run.remarks), *notices, *run.clips.notices()],
        smoothed=run.clips.smoothed,
        rescaled=translator.sizing.rescaled(run.factors),
        clipped=sum(fit.outside > 0 for fit in run.fits),
    )


def _split(jobs: Sequence[Job], existing: Existing) -> tuple[list[Job], list[Job]]:
    """Return the jobs to do and those to skip; `UserError` where outputs exist and may not, or one is an input."""
    there = [job for job in jobs if any(path.exists() for path in _places(job))]
    _protect_inputs(jobs, there)
    if there and existing == "fail":
        others = f" and {len(there) - 1} more of the outputs exist" if len(there) > 1 else " exists"
        raise UserError(
            f"{printable(there[0].output)}{others} already. Nothing was translated. Choose "
            f"{option('existing', 'skip')} to leave what is there, {option('existing', 'overwrite')} to replace it, "
            f"or another {option('out')}."
        )
    # An output without the map that is asked for is made again.
    skipped = [job for job in there if existing == "skip" and (job.doubt is None or job.doubt.exists())]
    left_out = {job.number for job in skipped}
    return [job for job in jobs if job.number not in left_out], skipped


def count_images(inputs: Sequence[Path]) -> int:
    """Return how many images `translate_files` would find; `UserError` where an input does not exist."""
    return sum(len(in_frames([path])) for given in inputs for path, _ in find_images(Path(given)))


# ---------------------------------------------------------------------------------------------------------- planning


def _plan(inputs: Sequence[Path], out: Path, formats: tuple[str, str], name: str, translator: Translator) -> list[Job]:
    """Return the jobs; `formats` are the one that is asked for and the one of ordinary images, see `kind_of`."""
    if not inputs:
        raise UserError("there is nothing to translate: give at least one image file or folder.")
    found = [pair for given in inputs for pair in find_images(given)]
    kinds = {path: kind_of(path, *formats, translator.source) for path, _ in found}
    direction = translator.direction
    suffixes = {path: kind.suffix for path, kind in kinds.items()}
    outputs = plan_outputs(
        found, suffixes.__getitem__, name, direction, lambda one, two: real_path(one) == real_path(two)
    )
    jobs = []
    for number, (output, source) in enumerate(outputs.items()):
        kind, plain = kinds[source], None
        if kind.is_like:
            ending = "" if kind.images > 1 else f".{formats[1]}"
            other = output.with_name(output.name.removesuffix(kind.suffix) + ending)
            plain = out / (other if other not in outputs else output.with_name(f"{output.name}{ending or ' images'}"))
        jobs.append(Job(number, source, out / output, images=kind.images, plain=plain))
    return jobs


def _other_kinds(inputs: Sequence[str | Path], jobs: Sequence[Job], changed: Sequence[Job], plain: str) -> list[str]:
    """Return what a person should know of files that are not read, hold many images, or are not like their inputs."""
    notices = [text for path in map(Path, inputs) if path.is_dir() for text in in_words(left_out(path))]
    folders = [job for job in jobs if job.images > 1 and job.plain is None]
    if folders:
        notices.append(
            f"{plural(len(folders), 'file')} of several images {'is' if len(folders) == 1 else 'are'} written as "
            f"{'a folder' if len(folders) == 1 else 'folders'} of single images ({plain}), such as "
            f"{printable(folders[0].output)}"
        )
    if changed:
        kinds = listing(sorted({full_suffix(job.output) for job in changed}))
        notices.append(
            f"{plural(len(changed), 'translation')} cannot be held by files like the input ({kinds}) and "
            f"{'is' if len(changed) == 1 else 'are'} written as {plain}"
        )
    return notices


def check_numbers(**numbers: tuple[int, int, int]) -> None:
    """Raise `UserError` for a number that is not from its lowest to its highest: name -> (number, lowest, highest)."""
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise UserError(f"{option(name, value)}: allowed is a whole number from {low} to {high:,}.")


def whole_files_notice(translator: Translator, half: Half | None, count: int) -> list[str]:
    """Return a notice where a model that was trained on halves of files translated what looks like whole ones."""
    order = translator.card.side_by_side
    if order is None or half is not None or not count:
        return []
    own = half_of(sides(translator.direction)[0], order)
    are = "is" if count == 1 else "are"
    return [
        f"{plural(count, 'image')} {are} twice as wide as high and {are} translated whole, but the model was trained "
        f"on halves of side-by-side files. To translate their {own} halves: {option('half', own)}."
    ]


def _protect_inputs(jobs: Sequence[Job], there: Sequence[Job]) -> None:
    inputs = {(status.st_dev, status.st_ino) for job in jobs if there and (status := _status(job.source))}
    for output in (path for job in there for path in _places(job)):
        if (status := _status(output)) and (status.st_dev, status.st_ino) in inputs:
            raise UserError(
                f"{printable(output)} is an input and would be replaced by a translation. Nothing was translated. "
                f"Choose another {option('out')}."
            )


def _places(job: Job) -> list[Path]:
    return [path for path in (job.output, job.plain, job.doubt) if path is not None]


def _status(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return path.stat()
    return None
