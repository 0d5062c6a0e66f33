"""Translation of files and folders: decoding, translating and encoding overlap, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final, get_args

from unpaired.core.errors import UserError
from unpaired.core.files import means_full_disk
from unpaired.data.bad_image import MAX_PIXELS
from unpaired.data.decode import BadImage, decode
from unpaired.data.encode import FORMATS, require_format
from unpaired.data.folders import list_images
from unpaired.data.parallel import num_threads
from unpaired.data.reading import Half, halved
from unpaired.data.values import Domain, Signed
from unpaired.models.conversion import signed_from_array, with_type
from unpaired.models.label_conversion import require_label_format, signed_from_label_file
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator, images_per_batch
from unpaired.networks import SearchError

Existing = Literal["fail", "skip", "overwrite"]
Progress = Callable[[int, int], None]
"""Called with (files done, files in all) from the thread that called `translate_files`."""
BIT_DEPTHS: dict[int, str] = {8: "uint8", 16: "uint16", 32: "float32"}
_WAITING_PIXELS = 1 << 24
_WAITING_BATCHES = 16
"""Decoded images wait for others of their size until they have so many pixels, or are so many batches, together."""


class Failure(NamedTuple):
    """A file that could not be translated, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the files."""

    written: int
    """Files translated and written."""
    skipped: int
    """Files whose output was there already."""
    failed: list[Failure]
    """Files that could not be read, translated or written, in the order of the input."""
    search_errors: list[tuple[Path, SearchError]]
    """What a latent search (CoGAN) left over of each file, in the order of the input; empty for all other models."""


class _Job(NamedTuple):
    """One file: its position in the input, where it is, where its translation goes."""

    number: int
    source: Path
    output: Path


class _Loaded(NamedTuple):
    job: _Job
    signed: Signed


class _Failed(NamedTuple):
    job: _Job
    reason: str


def translate_files(
    translator: Translator,
    inputs: Sequence[Path],
    out: Path,
    *,
    format: str = "png",
    bit_depth: int | None = None,
    existing: Existing = "fail",
    batch_size: int = 8,
    workers: int = 0,
    max_pixels: int = MAX_PIXELS,
    half: Half | None = None,
    progress: Progress | None = None,
) -> Report:
    """Translate files and folders into `out`.

    A folder is searched recursively and its structure kept: `out/<path within the folder>.png`; a file becomes
    `out/<name>.png`. Files of an output folder that lies inside an input folder are not taken for inputs. Images of
    any mixture of sizes; those that the network sees at the same size are translated together, at most `batch_size`
    at once and fewer where they are large. `workers` threads decode and as many encode; 0 takes one per processor
    core, at most 8. `bit_depth` is 8, 16 or 32 (floating point); by default that of the target domain's images. Label
    maps are read and written as label maps, see `label_array`. `half` takes one half of side-by-side files.

    A file that cannot be read is reported and the rest is done. Each output is written whole or not at all, so after
    an interruption the same call with `existing="skip"` goes on. Raises `UserError` before anything is written where
    an input does not exist, two inputs have the same output, an output would replace an input, outputs exist already
    (`existing="fail"`), or the format cannot hold the translation; and when the disk is full.
    """
    format, out = format.lower().removeprefix("."), Path(out)
    written_as = _output_domain(translator.target, format, bit_depth)
    _check_options(out, existing, batch_size, workers)
    jobs = _plan([Path(path) for path in inputs], out, f".{format}")
    there = _existing_outputs(jobs)
    _protect_inputs(jobs, there)
    if there and existing == "fail":
        others = f" and {len(there) - 1} more of the outputs exist" if len(there) > 1 else " exists"
        raise UserError(
            f"{there[0].output}{others} already. Nothing was translated. Choose --existing skip to leave what is "
            "there, --existing overwrite to replace it, or another --out."
        )
    skipped = {job.number for job in there} if existing == "skip" else set()

    def report(done: int) -> None:
        if progress is not None:
            progress(done + len(skipped), len(jobs))

    run = _Run(translator, written_as, batch_size, num_threads(workers), max_pixels, half, report)
    run.translate(job for job in jobs if job.number not in skipped)
    failed = [Failure(job.source, reason) for job, reason in sorted(run.failed, key=lambda failed: failed.job.number)]
    searched = [(job.source, error) for job, error in sorted(run.searched, key=lambda found: found[0].number)]
    return Report(written=run.written, skipped=len(skipped), failed=failed, search_errors=searched)


def count_images(inputs: Sequence[Path], out: Path) -> int:
    """Return how many images `translate_files` would find; `UserError` where an input does not exist."""
    return sum(1 for given in inputs for _ in _found(Path(given), Path(out)))


# ---------------------------------------------------------------------------------------------------------- planning


def _check_options(out: Path, existing: str, batch_size: int, workers: int) -> None:
    if existing not in get_args(Existing):
        raise UserError(f'existing is one of {", ".join(get_args(Existing))}; received "{existing}".')
    if batch_size < 1 or workers < 0:
        raise UserError(f"batch_size is at least 1 and workers at least 0; received {batch_size} and {workers}.")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out is the folder for the translations. Choose another --out.")


def _plan(inputs: Sequence[Path], out: Path, suffix: str) -> list[_Job]:
    """Return what goes where; `UserError` where an input is missing or two have the same output."""
    if not inputs:
        raise UserError("there is nothing to translate: give at least one image file or folder.")
    jobs: dict[Path, _Job] = {}
    for given in inputs:
        for source, relative in _found(given, out):
            output = out / relative.parent / f"{relative.stem}{suffix}"
            other = jobs.get(output)
            if other is None:
                jobs[output] = _Job(len(jobs), source, output)
            elif other.source.resolve() != source.resolve():
                raise UserError(
                    f"{other.source} and {source} would both be written to {output}. Nothing was translated. Rename "
                    "one of them, or translate them into separate folders."
                )
    return list(jobs.values())


def _found(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the image files that one input names, each with its path relative to that input."""
    if not given.exists():
        raise UserError(f"there is no file or folder at {given}. Give image files or folders of images.")
    if not given.is_dir():
        yield given, Path(given.name)
        return
    inside = _path_inside(out, given)
    for path in list_images(given):
        relative = path.relative_to(given)
        if inside is None or not relative.is_relative_to(inside):
            yield path, relative


def _path_inside(out: Path, folder: Path) -> Path | None:
    """Return the path of `out` relative to `folder` where it lies strictly inside."""
    resolved, parent = out.resolve(), folder.resolve()
    return resolved.relative_to(parent) if parent in resolved.parents else None


def _existing_outputs(jobs: Sequence[_Job]) -> list[_Job]:
    return [job for job in jobs if job.output.exists()]


def _protect_inputs(jobs: Sequence[_Job], there: Sequence[_Job]) -> None:
    """Refuse to replace an input, through whatever link it is reached."""
    if not there:
        return
    identities = {_identity(job.source) for job in jobs}
    for job in there:
        if _identity(job.output) in identities:
            raise UserError(
                f"{job.output} is an input and would be replaced by a translation. Nothing was translated. "
                "Choose another --out."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _output_domain(target: Domain, format: str, bit_depth: int | None) -> Domain:
    """Return what is written: the target domain in the wanted bit depth; `UserError` where the format cannot hold it.

    A declared range of the target domain is kept in its own type and in floating point; integers of another depth are
    filled from end to end.
    """
    if bit_depth is not None and bit_depth not in BIT_DEPTHS:
        raise UserError(f"bit depth is 8, 16 or 32 (floating point); received {bit_depth}.")
    if target.labels is not None:
        require_label_format(target.labels, format, bit_depth)
        require_format(f".{format}", "uint8", 1 if target.labels.kind == "index" else 3)
        return target
    dtype = target.dtype if bit_depth is None else BIT_DEPTHS[bit_depth]
    try:
        require_format(f".{format}", dtype, target.channels)
    except UserError as error:
        remedy = " Or choose another depth with --bit-depth." if f".{format}" in FORMATS else ""
        raise UserError(f"{error}{remedy}") from error
    return with_type(target, dtype, declared=dtype in (target.dtype, "float32"))


# --------------------------------------------------------------------------------------------------------- the work


@final
class _Run:
    """One pass over the files; the counts so far."""

    def __init__(
        self,
        translator: Translator,
        written_as: Domain,
        batch_size: int,
        workers: int,
        max_pixels: int,
        half: Half | None,
        report: Callable[[int], None],
    ) -> None:
        self.translator, self.written_as = translator, written_as
        self.batch_size, self.workers, self.max_pixels, self.half = batch_size, workers, max_pixels, half
        self.report = report
        self.written = 0
        self.failed: list[_Failed] = []
        self.searched: list[tuple[_Job, SearchError]] = []
        self._writing: deque[tuple[_Job, Future[None]]] = deque()

    def translate(self, jobs: Iterable[_Job]) -> None:
        """Translate every job; what goes wrong with one file is remembered in `failed`."""
        readers = ThreadPoolExecutor(self.workers, "decode")
        writers = ThreadPoolExecutor(self.workers, "encode")
        try:
            for batch in self._batches(self._load_ahead(jobs, readers)):
                for job, translation in self._translate_batch(batch):
                    self._finish_writing(self.workers)
                    self._writing.append((job, writers.submit(self._write, job, translation)))
            self._finish_writing(0)
        finally:
            for pool in (readers, writers):
                pool.shutdown(wait=True, cancel_futures=True)

    def _load_ahead(self, jobs: Iterable[_Job], pool: ThreadPoolExecutor) -> Iterator[_Loaded]:
        """Yield the images in order while the next ones are being decoded; leave out what cannot be."""
        ahead: deque[Future[_Loaded | _Failed]] = deque()
        for job in jobs:
            ahead.append(pool.submit(_load, job, self.translator.source, self.max_pixels, self.half))
            if len(ahead) > self.workers:
                yield from self._unless_failed(ahead.popleft().result())
        while ahead:
            yield from self._unless_failed(ahead.popleft().result())

    def _unless_failed(self, result: _Loaded | _Failed) -> Iterator[_Loaded]:
        if isinstance(result, _Failed):
            self._fail(result)
        else:
            yield result

    def _fail(self, failed: _Failed) -> None:
        self.failed.append(failed)
        self.report(self.written + len(self.failed))

    def _batches(self, images: Iterable[_Loaded]) -> Iterator[list[_Loaded]]:
        """Yield images of the same padded size together; the window in which they are sought is bounded."""
        waiting: dict[tuple[int, int], list[_Loaded]] = {}
        pixels = count = 0
        for image in images:
            size = self.translator.padded_size(image.signed.shape[0], image.signed.shape[1])
            waiting.setdefault(size, []).append(image)
            pixels += size[0] * size[1]
            count += 1
            full = len(waiting[size]) >= images_per_batch(*size, self.batch_size)
            if full or pixels > _WAITING_PIXELS or count > _WAITING_BATCHES * self.batch_size:
                # The largest group goes: where no group is full, that empties the window with the fewest batches.
                size = size if full else max(waiting, key=lambda key: len(waiting[key]) * key[0] * key[1])
                batch = waiting.pop(size)
                pixels -= len(batch) * size[0] * size[1]
                count -= len(batch)
                yield batch
        yield from waiting.values()

    def _translate_batch(self, batch: list[_Loaded]) -> list[tuple[_Job, Translation]]:
        try:
            translated = self.translator.translate_values([image.signed for image in batch], self.batch_size)
            if self.translator.search is not None:
                jobs = (image.job for image in batch)
                self.searched += zip(jobs, self.translator.search.last_errors, strict=True)
            return list(zip((image.job for image in batch), translated, strict=True))
        except (RuntimeError, MemoryError) as error:
            if not _means_out_of_memory(error):
                raise
        if len(batch) > 1:
            return [pair for image in batch for pair in self._translate_batch([image])]
        height, width = batch[0].signed.shape[:2]
        device = self.translator.device
        reason = f"not enough memory on {device} to translate {height} x {width} pixels (height x width)"
        self._fail(_Failed(batch[0].job, reason))
        return []

    def _write(self, job: _Job, translation: Translation) -> None:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        translation.write(job.output, self.written_as)

    def _finish_writing(self, at_most: int) -> None:
        """Wait until at most this many outputs are being written."""
        while len(self._writing) > at_most:
            job, future = self._writing.popleft()
            try:
                future.result()
            except (OSError, ValueError) as error:  # UserError is a ValueError; so is what an encoder refuses
                if means_full_disk(error):
                    raise UserError(
                        f"the disk is full: could not write {job.output}. {self.written} translations were written "
                        "and are whole. Free some space and go on with --existing skip."
                    ) from error
                self._fail(_Failed(job, str(error) if isinstance(error, UserError) else f"cannot be written: {error}"))
            else:
                self.written += 1
                self.report(self.written + len(self.failed))


def _load(job: _Job, source: Domain, max_pixels: int, half: Half | None) -> _Loaded | _Failed:
    try:
        if source.labels is not None:
            return _Loaded(job, signed_from_label_file(job.source, source.labels, max_pixels, half))
        image = halved(job.source, decode(job.source, max_pixels=max_pixels), half)
        return _Loaded(job, signed_from_array(image, source))
    except BadImage as error:
        return _Failed(job, error.reason)
    except (UserError, MemoryError) as error:
        return _Failed(job, str(error) or "not enough memory to decode it")


def _means_out_of_memory(error: Exception) -> bool:
    import torch

    told = any(words in str(error) for words in ("can't allocate memory", "bad_alloc", "bad allocation"))
    return told or isinstance(error, torch.OutOfMemoryError | MemoryError)
