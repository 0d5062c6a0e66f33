"""Translation of files and folders: decoding, translating and encoding overlap, in memory that does not grow."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal, NamedTuple, final, get_args

from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.files import check_out, means_full_disk, real_path
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import MAX_PIXELS, BadImage
from unpaired.data.check import BadFile
from unpaired.data.decode import read_alpha
from unpaired.data.directions import sides
from unpaired.data.encode import FORMATS, require_format
from unpaired.data.folders import list_images
from unpaired.data.parallel import num_threads
from unpaired.data.reading import Half, half_of, halved
from unpaired.data.values import Domain, Signed
from unpaired.models.conversion import read_signed, with_type
from unpaired.models.engines.base import NotFiniteError
from unpaired.models.label_conversion import require_label_format
from unpaired.models.sizing import Rescaled
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator, images_per_batch
from unpaired.networks import SearchError

Existing = Literal["fail", "skip", "overwrite"]
Alpha = Literal["keep", "drop"]
NAME_FIELDS = ("stem", "ext", "direction")
"""What `name` may hold in braces: the input's name without its suffix, the suffix without its dot, `a2b` or `b2a`."""
_LISTED = 20
"""Names that a message lists."""
_LONGEST = 255
"""Bytes of a file name."""
Progress = Callable[[int, int], None]
"""Called with (files done, files in all) from the thread that called `translate_files`."""
BIT_DEPTHS: dict[int, str] = {8: "uint8", 16: "uint16", 32: "float32"}
_WAITING_PIXELS = 1 << 24
_WAITING_BATCHES = 16
"""Decoded images wait for others of their size until they have so many pixels, or are so many batches, together."""


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


class _Job(NamedTuple):
    """One file: its position in the input, where it is, where its translation goes."""

    number: int
    source: Path
    output: Path


class _Loaded(NamedTuple):
    job: _Job
    image: Signed
    alpha: NDArray[Any] | None
    """[H, W] where it is to be kept."""


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
    written_as = _output_domain(translator.target, format, bit_depth)
    check_out(out, reads=[path for path in map(Path, inputs) if path.is_dir()], replaces=())
    if existing not in get_args(Existing):
        raise UserError(f"{option('existing', existing)}: allowed are {', '.join(get_args(Existing))}.")
    _check_numbers(batch_size=(batch_size, 1, 65_536), workers=(workers, 0, 1024), max_pixels=(max_pixels, 1, 2**40))
    keeps_alpha = _keeps_alpha(alpha, translator, format, written_as)
    jobs = _plan([Path(path) for path in inputs], out, f".{format}", _checked_name(name), translator.direction)
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

    def load(job: _Job) -> _Loaded | str:
        try:
            image = read_signed(job.source, translator.source, max_pixels=max_pixels, half=half)
            with job.source.open("rb") as file:  # JPEG has no alpha, and is most files: it is not decoded once more
                look = keeps_alpha and file.read(3) != b"\xff\xd8\xff"
            found = read_alpha(job.source, max_pixels=max_pixels) if look else None
            return _Loaded(job, image, None if found is None else halved(job.source, found[:, :, None], half)[:, :, 0])
        except BadImage as error:
            return error.reason
        except (UserError, MemoryError) as error:
            return str(error) or "not enough memory to decode it"

    before = len(translator.notices)
    run = _Run(translator, written_as, batch_size, num_threads(workers), load, report)
    run.translate(job for job in jobs if job.number not in skipped)
    failed = sorted(run.failed, key=lambda failed: failed[0].number)
    searched = sorted(run.searched, key=lambda found: found[0].number)
    return Report(
        written=run.written,
        skipped=len(skipped),
        failed=[BadFile(job.source, reason) for job, reason in failed],
        search_errors=[(job.source, error) for job, error in searched],
        notices=[*_whole_files(translator, half, run.twice_as_wide), *translator.notices[before:]],
        rescaled=translator.sizing.rescaled(run.factors),
    )


def count_images(inputs: Sequence[Path]) -> int:
    """Return how many images `translate_files` would find; `UserError` where an input does not exist."""
    return sum(1 for given in inputs for _ in _found(Path(given)))


# ---------------------------------------------------------------------------------------------------------- planning


def _plan(inputs: Sequence[Path], out: Path, suffix: str, name: str, direction: str) -> list[_Job]:
    if not inputs:
        raise UserError("there is nothing to translate: give at least one image file or folder.")
    jobs: dict[Path, _Job] = {}
    clashes: dict[Path, list[Path]] = {}
    for given in inputs:
        for source, relative in _found(given):
            file = name.format(stem=relative.stem, ext=relative.suffix.removeprefix("."), direction=direction) + suffix
            if len(os.fsencode(file)) > _LONGEST:
                raise UserError(
                    f"{printable(source)}: its translation would have a name of more than {_LONGEST} bytes. Nothing "
                    f"was translated. Rename it, or choose a shorter {option('name')}."
                )
            output = out / relative.parent / file
            other = jobs.setdefault(output, _Job(len(jobs), source, output))
            if real_path(other.source) != real_path(source):
                clashes.setdefault(output, [other.source]).append(source)
    if clashes:
        lines = [f"{' and '.join(map(printable, them))} -> {printable(output)}" for output, them in clashes.items()]
        more = [f"and {len(lines) - _LISTED:,} more"] if len(lines) > _LISTED else []
        raise UserError(
            f"{plural(len(lines), 'output')} would be written from more than one input. Nothing was translated.\n  "
            + "\n  ".join([*lines[:_LISTED], *more])
            + f"\nTell them apart by {option('name', '{stem}_{ext}')}, or translate them into separate folders."
        )
    return list(jobs.values())


def _check_numbers(**numbers: tuple[int, int, int]) -> None:
    """Raise `UserError` for a number that is not from its lowest to its highest: name -> (number, lowest, highest)."""
    for name, (value, low, high) in numbers.items():
        if not low <= value <= high:
            raise UserError(f"{option(name, value)}: allowed is a whole number from {low} to {high:,}.")


def _checked_name(name: str) -> str:
    """Return a form of names; `UserError` unless it is made of text and `NAME_FIELDS` alone."""
    allowed = f"allowed are text without slashes and {', '.join(f'{{{field}}}' for field in NAME_FIELDS)}"
    try:
        parts = list(Formatter().parse(name))
    except ValueError as error:
        raise UserError(f"{option('name', name)}: {error}; {allowed}.") from error
    for text, of, form, conversion in parts:
        if "/" in text or "\\" in text or (of is not None and (of not in NAME_FIELDS or form or conversion)):
            raise UserError(f"{option('name', name)}: {allowed}.")
    if any(not letter.isprintable() for letter in name):
        raise UserError(f"{option('name', printable(name))}: it holds a control character; {allowed}.")
    if not name:
        raise UserError(f"{option('name', name)}: it is empty; {allowed}.")
    return name


def _keeps_alpha(alpha: Alpha | None, translator: Translator, format: str, written_as: Domain) -> bool:
    """Say whether the inputs' alpha is written; `UserError` where that was asked for and cannot be."""
    if alpha not in (None, *get_args(Alpha)):
        raise UserError(f"{option('alpha', alpha)}: allowed are {', '.join(get_args(Alpha))}.")
    if translator.source.alpha or translator.target.alpha:
        return False  # the model was trained on it and makes it itself
    reason = ""
    if FORMATS[f".{format}"].with_alpha is None:
        able = ", ".join(suffix for suffix, form in FORMATS.items() if form.with_alpha is not None)
        reason = f"{FORMATS[f'.{format}'].name} files hold no alpha here; formats that do: {able}"
    elif translator.source.labels or translator.target.labels:
        reason = "label maps have no alpha"
    elif written_as.channels not in (1, 3) or written_as.dtype == "int16" or translator.source.channels not in (1, 3):
        reason = "only grey and RGB images can have alpha"
    if reason and alpha == "keep":
        raise UserError(f"{option('alpha', alpha)}: {reason}. Leave it out, or choose another {option('format')}.")
    return alpha != "drop" and not reason


def _whole_files(translator: Translator, half: Half | None, count: int) -> list[str]:
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


def _found(given: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the image files that one input names, each with its path relative to that input."""
    if not given.exists():
        raise UserError(f"there is no file or folder at {given}. Give image files or folders of images.")
    if not given.is_dir():
        yield given, Path(given.name)
        return
    for path in list_images(given):
        yield path, path.relative_to(given)


def _protect_inputs(jobs: Sequence[_Job], there: Sequence[_Job]) -> None:
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


def _output_domain(target: Domain, format: str, bit_depth: int | None) -> Domain:
    """Return what is written: the target domain in the wanted bit depth; `UserError` where the format cannot hold it.

    A declared range of the target domain is kept in its own type and in floating point; integers of another depth are
    filled from end to end.
    """
    if bit_depth is not None and bit_depth not in BIT_DEPTHS:
        raise UserError(f"{option('bit_depth', bit_depth)}: allowed are 8, 16 and 32 (floating point).")
    if target.labels is not None:
        require_label_format(target.labels, format, bit_depth)
        require_format(f".{format}", "uint8", 1 if target.labels.kind == "index" else 3)
        return target
    dtype = target.dtype if bit_depth is None else BIT_DEPTHS[bit_depth]
    try:
        require_format(f".{format}", dtype, target.channels)
    except UserError as error:
        remedy = f" Or choose another depth with {option('bit_depth')}." if f".{format}" in FORMATS else ""
        raise UserError(f"{error}{remedy}") from error
    return with_type(target, dtype, declared=dtype in (target.dtype, "float32"))


# --------------------------------------------------------------------------------------------------------- the work


@final
@dataclass
class _Run:
    """One pass over the files; the counts so far."""

    translator: Translator
    written_as: Domain
    batch_size: int
    workers: int
    load: Callable[[_Job], _Loaded | str]
    """Returns an image as the network sees it, or why there is none."""
    report: Callable[[int], None]
    written: int = 0
    twice_as_wide: int = 0
    failed: list[tuple[_Job, str]] = field(default_factory=list)
    searched: list[tuple[_Job, SearchError]] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    """How many times as large images are as those of the training."""
    writing: deque[tuple[_Job, Future[None]]] = field(default_factory=deque)

    def translate(self, jobs: Iterable[_Job]) -> None:
        """Translate every job; what goes wrong with one file is remembered in `failed`."""
        readers = ThreadPoolExecutor(self.workers, "decode")
        writers = ThreadPoolExecutor(self.workers, "encode")
        try:
            for batch in self._batches(self._load_ahead(jobs, readers)):
                for image, translation in self._translate_batch(batch):
                    self._finish_writing(self.workers)
                    self.writing.append((image.job, writers.submit(self._write, image, translation)))
            self._finish_writing(0)
        finally:
            for pool in (readers, writers):
                pool.shutdown(wait=True, cancel_futures=True)

    def _load_ahead(self, jobs: Iterable[_Job], pool: ThreadPoolExecutor) -> Iterator[_Loaded]:
        """Yield the images in order while the next ones are being decoded; leave out what cannot be."""
        ahead: deque[tuple[_Job, Future[_Loaded | str]]] = deque()
        for job in (*jobs, None):
            if job is not None:
                ahead.append((job, pool.submit(self.load, job)))
            while len(ahead) > (0 if job is None else self.workers):
                waiting, future = ahead.popleft()
                loaded = future.result()
                if isinstance(loaded, str):
                    self._fail(waiting, loaded)
                    continue
                height, width = loaded.image.shape[:2]
                self.twice_as_wide += width == 2 * height
                yield loaded

    def _fail(self, job: _Job, reason: str) -> None:
        self.failed.append((job, reason))
        self.report(self.written + len(self.failed))

    def _batches(self, images: Iterable[_Loaded]) -> Iterator[list[_Loaded]]:
        """Yield images of the same padded size together; the window in which they are sought is bounded."""
        waiting: dict[tuple[int, int], list[_Loaded]] = {}
        pixels = count = 0
        for image in images:
            size = self.translator.padded_size(*image.image.shape[:2])
            waiting.setdefault(size, []).append(image)
            pixels += image.image.shape[0] * image.image.shape[1]
            count += 1
            if (factor := self.translator.sizing.factor(*image.image.shape[:2])) is not None:
                self.factors.append(factor)
            full = len(waiting[size]) >= images_per_batch(*size, self.batch_size)
            if full or pixels > _WAITING_PIXELS or count > _WAITING_BATCHES * self.batch_size:
                # The largest group goes: where no group is full, that empties the window with the fewest batches.
                size = size if full else max(waiting, key=lambda key: len(waiting[key]) * key[0] * key[1])
                batch = waiting.pop(size)
                pixels -= sum(each.image.shape[0] * each.image.shape[1] for each in batch)
                count -= len(batch)
                yield batch
        yield from waiting.values()

    def _translate_batch(self, batch: list[_Loaded]) -> list[tuple[_Loaded, Translation]]:
        try:
            translated = self.translator.translate_values([loaded.image for loaded in batch], self.batch_size)
            if self.translator.search is not None:
                jobs = [loaded.job for loaded in batch]
                self.searched += zip(jobs, self.translator.search.last_errors, strict=True)
            return list(zip(batch, translated, strict=True))
        except NotFiniteError as error:
            reason = str(error)
        except (RuntimeError, MemoryError) as error:
            if not _means_out_of_memory(error):
                raise
            height, width = batch[0].image.shape[:2]
            device = self.translator.device
            reason = f"not enough memory on {device} to translate {height} x {width} pixels (height x width)"
        if len(batch) > 1:
            return [pair for image in batch for pair in self._translate_batch([image])]
        self._fail(batch[0].job, reason)
        return []

    def _write(self, loaded: _Loaded, translation: Translation) -> None:
        output = loaded.job.output
        output.parent.mkdir(parents=True, exist_ok=True)
        translation.write(output, self.written_as, loaded.alpha)

    def _finish_writing(self, at_most: int) -> None:
        while len(self.writing) > at_most:
            job, future = self.writing.popleft()
            try:
                future.result()
            except (OSError, ValueError) as error:  # UserError is a ValueError; so is what an encoder refuses
                if means_full_disk(error):
                    raise UserError(
                        f"the disk is full: could not write {printable(job.output)}. What was written before is whole "
                        f"({plural(self.written, 'translation')}). Free some space and continue with "
                        f"{option('existing', 'skip')}."
                    ) from error
                self._fail(job, str(error) if isinstance(error, UserError) else f"cannot be written: {error}")
            else:
                self.written += 1
                self.report(self.written + len(self.failed))


def _means_out_of_memory(error: Exception) -> bool:
    import torch

    by_words = any(words in str(error) for words in ("can't allocate memory", "bad_alloc", "bad allocation"))
    return by_words or isinstance(error, torch.OutOfMemoryError | MemoryError)
