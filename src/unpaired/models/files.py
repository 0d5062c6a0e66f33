"""Translation of files and folders: decoding, translating and encoding overlap, in memory that does not grow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from unpaired.core.errors import UserError
from unpaired.core.files import check_out, real_path, write_atomic
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.check import BadFile
from unpaired.data.directions import sides
from unpaired.data.parallel import num_threads
from unpaired.data.reading import Half, half_of
from unpaired.models.outputs import Alpha, checked_name, find_images, keeps_alpha, output_domain, plan_outputs
from unpaired.models.pipeline import Failure, Job, LoadedImage, Run, load_image
from unpaired.models.sizing import Rescaled
from unpaired.models.translator import Translator
from unpaired.networks import SearchError

Existing = Literal["fail", "skip", "overwrite"]
Progress = Callable[[int, int], None]
"""Called with (files done, files in all) from the thread that called `translate_files`."""


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
    rescaled: Rescaled | None = None
    """Images that are clearly larger or smaller than in training, and what was done about it."""


def translate_files(
    translator: Translator | str | Path,
    inputs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    format: str = "png",
    name: str = "{stem}",
    bit_depth: int | None = None,
    alpha: Alpha | None = None,
    existing: Existing = "fail",
    batch_size: int = 8,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    half: Half | None = None,
    progress: Progress | None = None,
) -> Report:
    """Translate files and folders into `out`; the same as `unpaired translate`.

    `translator` may also be a run or a model folder: `unpaired.translate("runs/h2z", "photos", "zebras")`.

    A folder is searched recursively and its structure kept: `out/<path within the folder>.png`; a file becomes
    `out/<name>.png`. `name` says how files are called, of `{stem}`, `{ext}` and `{direction}`. `out` must not be an
    input folder or lie inside one. Images of any mixture of sizes; those that the network sees at the same size are
    translated together, at most `batch_size` and fewer where they are large. `workers` threads decode and as many
    encode; 0 takes one per CPU core, at most 8. `bit_depth` is 8, 16 or 32 (floating point); by default that of the
    target domain's images. Label maps are read and written as label maps, see `label_array`. `half` takes one half of
    side-by-side files.

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
    written_as = output_domain(translator.target, format, bit_depth)
    check_out(out, reads=[path for path in map(Path, inputs) if path.is_dir()], replaces=())
    if existing not in get_args(Existing):
        raise UserError(f"{option('existing', existing)}: allowed are {', '.join(get_args(Existing))}.")
    check_numbers(batch_size=(batch_size, 1, 65_536), workers=(workers, 0, 1024), max_pixels=(max_pixels, 1, 2**40))
    with_alpha = keeps_alpha(alpha, translator, format, written_as)
    jobs = _plan([Path(path) for path in inputs], out, f".{format}", checked_name(name), translator.direction)
    there = [job for job in jobs if job.output.exists()]
    _protect_inputs(jobs, there)
    if there and existing == "fail":
        others = f" and {len(there) - 1} more of the outputs exist" if len(there) > 1 else " exists"
        raise UserError(
            f"{printable(there[0].output)}{others} already. Nothing was translated. Choose "
            f"{option('existing', 'skip')} to leave what is there, {option('existing', 'overwrite')} to replace it, "
            f"or another {option('out')}."
        )
    skipped = {job.number for job in there} if existing == "skip" else set()

    def report(done: int) -> None:
        if progress is not None:
            progress(done + len(skipped), len(jobs))

    def load(job: Job) -> LoadedImage | Failure:
        return load_image(job, translator, max_pixels=max_pixels, half=half, with_alpha=with_alpha)

    def write(job: Job, content: bytes) -> None:
        write_atomic(job.output, content, durable=False)

    before = len(translator.notices)
    run = Run(translator, written_as, batch_size, num_threads(workers), load, write, report)
    run.translate(job for job in jobs if job.number not in skipped)
    failed = sorted(run.failed, key=lambda failure: failure.job.number)
    searched = sorted(run.searched, key=lambda found: found[0].number)
    return Report(
        written=run.written,
        skipped=len(skipped),
        failed=[BadFile(failure.job.source, failure.reason) for failure in failed],
        search_errors=[(job.source, error) for job, error in searched],
        notices=[*whole_files_notice(translator, half, run.twice_as_wide), *translator.notices[before:]],
        rescaled=translator.sizing.rescaled(run.factors),
    )


def count_images(inputs: Sequence[Path]) -> int:
    """Return how many images `translate_files` would find; `UserError` where an input does not exist."""
    return sum(1 for given in inputs for _ in find_images(Path(given)))


# ---------------------------------------------------------------------------------------------------------- planning


def _plan(inputs: Sequence[Path], out: Path, suffix: str, name: str, direction: str) -> list[Job]:
    if not inputs:
        raise UserError("there is nothing to translate: give at least one image file or folder.")
    found = (pair for given in inputs for pair in find_images(given))
    outputs = plan_outputs(found, suffix, name, direction, lambda one, two: real_path(one) == real_path(two))
    return [Job(number, source, out / output) for number, (output, source) in enumerate(outputs.items())]


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
    for job in there:
        if (status := _status(job.output)) and (status.st_dev, status.st_ino) in inputs:
            raise UserError(
                f"{printable(job.output)} is an input and would be replaced by a translation. Nothing was translated. "
                f"Choose another {option('out')}."
            )


def _status(path: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return path.stat()
    return None
