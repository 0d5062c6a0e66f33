"""Images on their way through a translator: decoding, translating and encoding overlap, in memory that is bounded."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_file, full_suffix, means_full_disk
from unpaired.core.memory import means_out_of_memory
from unpaired.core.settings import option
from unpaired.core.text import plural, printable
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import count_frames, reader_of
from unpaired.data.encode import NOTHING
from unpaired.data.folders import in_frames
from unpaired.data.formats import Box, Output, container_suffixes, suffix_of
from unpaired.data.formats.meaning import Remark
from unpaired.data.metadata import metadata_of
from unpaired.data.reading import Half, ImageFile
from unpaired.data.streams.shards import StoredImage
from unpaired.data.values import Domain, Image, Signed
from unpaired.data.windows import trained_level
from unpaired.models.conversion import open_image
from unpaired.models.doubt import Doubt, encode_doubt
from unpaired.models.engines.base import NotFiniteError
from unpaired.models.fit import GOOD_FIT, Fit, refuse_outside, said_of
from unpaired.models.slabs import middle
from unpaired.models.smoothing import Clips
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator, images_per_batch
from unpaired.networks import SearchError

_WAITING_PIXELS = 1 << 24
_WAITING_BATCHES = 16
"""Decoded images wait for others of their size until they have so many pixels, or are so many batches, together."""


class Job(NamedTuple):
    """One file: its position in the input, where it is, where its translation goes."""

    number: int
    source: Path
    output: Path
    stored: StoredImage | None = None
    """The image where it lies in no folder of this machine; `source` is its name then."""
    images: int = 1
    """How many images the file holds: more than one are translated in their order, see `models.containers`."""
    plain: Path | None = None
    """Where the output is to be a file like the input: its place as an ordinary image, or a folder of them."""
    doubt: Path | None = None
    """Where its map of doubt is written, where one was asked for."""


class LoadedImage(NamedTuple):
    """An image as the network sees it."""

    job: Job
    image: Signed
    alpha: NDArray[Any] | None = None
    """[H, W] where it is to be kept."""
    fit: Fit = GOOD_FIT
    """How its values fit the model."""
    remarks: tuple[Remark, ...] = ()
    """What reading did that is reported."""


class LargeJob(NamedTuple):
    """A file that is read, translated and written by parts: by `translate`, in the thread that computes."""

    job: Job
    translate: Callable[[Run], None]


class Failure(NamedTuple):
    """A job that could not be done."""

    job: Job
    reason: str
    lasting: bool = True
    """Whether the same input fails again; not so where memory, a disk or a network was to blame."""


OutOfRange = Literal["clip", "refuse"]
"""What is done with images that have values outside the range that the model was trained on."""


def load_image(
    job: Job,
    translator: Translator,
    *,
    max_pixels: int,
    half: Half | None,
    with_alpha: bool,
    out_of_range: OutOfRange = "clip",
) -> LoadedImage | Failure:
    """Read a job's image, with its alpha if asked; or return why that is impossible."""
    try:
        file = job.source if job.stored is None else job.stored.load()
    except BadImage as error:
        return Failure(job, error.reason)
    except UserError as error:
        return Failure(job, str(error), lasting=False)
    try:
        source, several = translator.source, suffix_of(file) in container_suffixes()
        if several and (images := count_frames(file, channels=source.channels)) > 1:
            return Failure(job, f"it holds {images} images: translate such files in one process, without a cluster")
        image: ImageFile = file
        if isinstance(file, Path) and (source.axis or source.neighbours):
            image = in_frames([file], source.axis, source.neighbours, source.channels)[0]
        image = trained_level(image, translator.level)
        opened = open_image(image, source, max_pixels=max_pixels, half=half, with_alpha=with_alpha)
        refuse_outside(opened.fit, source, out_of_range)
        return LoadedImage(job, *opened, remarks=said_of(file).remarks)
    except BadImage as error:
        return Failure(job, error.reason)
    except UserError as error:
        return Failure(job, str(error))
    except MemoryError as error:
        return Failure(job, str(error) or "not enough memory to decode it", lasting=False)


@final
@dataclass
class Run:
    """One pass over images; the counts so far."""

    translator: Translator
    written_as: Domain
    batch_size: int
    workers: int
    load: Callable[[Job], LoadedImage | LargeJob | Failure]
    """Returns an image as the network sees it, or why there is none; called from several threads."""
    write: Callable[[Job, bytes], None]
    """Brings the content of an output to its place; called from several threads."""
    report: Callable[[int], None]
    """Called with how many images are done, failed or not."""
    written: int = 0
    """Outputs."""
    done: int = 0
    """Images, of failed files too."""
    twice_as_wide: int = 0
    failed: list[Failure] = field(default_factory=list)
    searched: list[tuple[Job, SearchError]] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    """How the values of images fit the model."""
    factors: list[float] = field(default_factory=list)
    """How many times as large images are as those of the training."""
    clips: Clips = field(default_factory=Clips)
    """How clips are written, and what became of them."""
    changed: list[Job] = field(default_factory=list)
    """Jobs whose outputs were to be files like their inputs, and are ordinary images."""
    writing: deque[tuple[Job, Future[None]]] = field(default_factory=deque)
    made_by: str = ""
    """What files like their inputs say of what made their values."""
    deidentify: bool = False
    """Whether such files leave out what names a person."""
    keep_metadata: bool = False
    """Whether ordinary pictures get the resolution and EXIF of their inputs."""
    doubt: Doubt | None = None
    """What makes maps of doubt, where they were asked for."""
    remarks: Counter[Remark] = field(default_factory=Counter)
    """What reading did that is reported, by how many files."""

    def translate(self, jobs: Iterable[Job]) -> None:
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

    def _load_ahead(self, jobs: Iterable[Job], pool: ThreadPoolExecutor) -> Iterator[LoadedImage]:
        """Yield the images in order while the next ones are being decoded; leave out what cannot be."""
        ahead: deque[Future[LoadedImage | LargeJob | Failure]] = deque()
        for job in itertools.chain(jobs, (None,)):
            if job is not None:
                ahead.append(pool.submit(self.load, job))
            while len(ahead) > (0 if job is None else self.workers):
                loaded = ahead.popleft().result()
                if isinstance(loaded, Failure):
                    self.fail(loaded)
                    continue
                if isinstance(loaded, LargeJob):
                    self._translate_large(loaded)
                    continue
                self.count(loaded)
                yield loaded

    def _translate_large(self, large: LargeJob) -> None:
        try:
            large.translate(self)
        except BadImage as error:
            self.fail(Failure(large.job, error.reason))
        except (OSError, ValueError) as error:
            self.fail(self.not_written(large.job, error))
        except (RuntimeError, MemoryError) as error:
            if not means_out_of_memory(error):
                raise
            self.fail(Failure(large.job, f"not enough memory: {error}", lasting=False))
        else:
            self.written += 1
            self.advance(1)

    def fail(self, failure: Failure, images: int = 1) -> None:
        """Remember a job that failed before so many of its images were done."""
        self.failed.append(failure)
        self.advance(images)

    def advance(self, images: int) -> None:
        """Report so many more images as done."""
        self.done += images
        self.report(self.done)

    def count(self, loaded: LoadedImage) -> None:
        """Remember what the notices say of an image's size."""
        height, width = loaded.image.shape[:2]
        self.twice_as_wide += width == 2 * height
        self.fits.append(loaded.fit)
        self.remarks.update(loaded.remarks)
        if (factor := self.translator.sizing.factor(height, width)) is not None:
            self.factors.append(factor)

    def _batches(self, images: Iterable[LoadedImage]) -> Iterator[list[LoadedImage]]:
        """Yield images of the same padded size together; the window in which they are sought is bounded."""
        waiting: dict[tuple[int, int], list[LoadedImage]] = {}
        pixels = count = 0
        for image in images:
            size = self.translator.padded_size(*image.image.shape[:2])
            waiting.setdefault(size, []).append(image)
            pixels += image.image.shape[0] * image.image.shape[1]
            count += 1
            full = len(waiting[size]) >= images_per_batch(*size, self.batch_size)
            if full or pixels > _WAITING_PIXELS or count > _WAITING_BATCHES * self.batch_size:
                # The largest group goes: where no group is full, that empties the window with the fewest batches.
                size = size if full else max(waiting, key=lambda key: len(waiting[key]) * key[0] * key[1])
                batch = waiting.pop(size)
                pixels -= sum(each.image.shape[0] * each.image.shape[1] for each in batch)
                count -= len(batch)
                yield batch
        yield from waiting.values()

    def _translate_batch(self, batch: list[LoadedImage]) -> list[tuple[LoadedImage, Translation]]:
        made = self.attempt(batch)
        if not isinstance(made, Failure):
            return list(zip(batch, made, strict=True))
        if len(batch) > 1:
            return [pair for image in batch for pair in self._translate_batch([image])]
        self.fail(made)
        return []

    def attempt(self, batch: list[LoadedImage]) -> list[Translation] | Failure:
        """Translate images together, or return why that is impossible: fewer at once may be possible."""
        try:
            translated = self.translator.translate_values([loaded.image for loaded in batch], self.batch_size)
            if self.translator.search is not None:
                jobs = [loaded.job for loaded in batch]
                self.searched += zip(jobs, self.translator.search.last_errors, strict=True)
            if self.doubt is not None:
                maps = self.doubt.maps([loaded.image for loaded in batch], translated)
                translated = [replace(one, doubt=found) for one, found in zip(translated, maps, strict=True)]
            return translated
        except NotFiniteError as error:
            return Failure(batch[0].job, str(error))
        except (RuntimeError, MemoryError) as error:
            if not means_out_of_memory(error):
                raise
            height, width = batch[0].image.shape[:2]
            device = self.translator.device
            reason = f"not enough memory on {device} to translate {height} x {width} pixels (height x width)"
            return Failure(batch[0].job, reason, lasting=False)

    def _write(self, loaded: LoadedImage, translation: Translation) -> None:
        job = loaded.job
        if job.doubt is not None and translation.doubt is not None:  # first: no output is without its map
            self.write(job._replace(output=job.doubt), encode_doubt(translation.doubt, job.doubt.suffix))
        translation = middle(translation)
        if job.plain is not None:
            image = translation.stored_as(self.written_as)
            try:
                with output_like(self, job, (image.shape[0], image.shape[1])) as output:
                    output.put(image)
                return
            except NoOutput:
                self.changed.append(job)
                job = job._replace(output=job.plain)
        metadata = metadata_of(job.source) if self.keep_metadata else NOTHING
        self.write(job, translation.encode(job.output.suffix, self.written_as, loaded.alpha, metadata))

    def _finish_writing(self, at_most: int) -> None:
        while len(self.writing) > at_most:
            job, future = self.writing.popleft()
            try:
                future.result()
            except (OSError, ValueError) as error:  # UserError is a ValueError; so is what an encoder refuses
                self.fail(self.not_written(job, error))
            else:
                self.written += 1
                self.advance(1)

    def not_written(self, job: Job, error: Exception) -> Failure:
        """Return what is said of an output that cannot be written; `UserError` where the disk is full."""
        if means_full_disk(error):
            raise UserError(
                f"the disk is full: could not write {printable(job.output)}. What was written before is whole "
                f"({plural(self.written, 'translation')}). Free some space and continue with "
                f"{option('existing', 'skip')}."
            ) from error
        reason = str(error) if isinstance(error, UserError) else f"cannot be written: {error}"
        return Failure(job, reason, lasting=False)


class NoOutput(Exception):  # no error: another way is taken
    """The reader of a file cannot write one like it that holds these translations."""


@contextlib.contextmanager
def output_like(run: Run, job: Job, size: tuple[int, int]) -> Iterator[Output]:
    """Yield a new file like the input of a job, of `job.images` images of (height, width); whole or not at all.

    The values that are put are those of files of `run.written_as`. Raises `NoOutput` where the reader cannot write it,
    and `UserError` for what its library says.
    """
    with atomic_file(job.output, durable=False) as temporary:
        with _explained(job.output):
            output = reader_of(job.source).open_output(job.source, temporary, run.written_as, size, job.images)
        if output is None:
            raise NoOutput
        if run.deidentify and not output.can_deidentify:
            raise UserError(
                f"{option('deidentify')}: {full_suffix(job.output)} files are written with all that their inputs say. "
                f"Choose a {option('format')} that holds values alone, such as tiff."
            )
        output.made_by, output.deidentify = run.made_by, run.deidentify
        output.quality = run.clips.quality
        guarded = _Guarded(output, job.output)
        yield guarded
        guarded.close()
        run.clips.notes += [(job.output, note) for note in output.notes]


@final
class _Guarded(Output):
    """Another output; whatever its library raises becomes a `UserError`."""

    def __init__(self, output: Output, path: Path) -> None:
        self._output, self._path = output, path

    def put(self, image: Image, index: int = 0, box: Box | None = None) -> None:
        with _explained(self._path):
            self._output.put(image, index, box)

    def close(self) -> None:
        with _explained(self._path):
            self._output.close()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:  # the libraries of the formats raise anything
        words = printable(str(error).partition("\n")[0])[:200] or type(error).__name__
        raise UserError(f"cannot be written as {full_suffix(path)}: {words}") from error
