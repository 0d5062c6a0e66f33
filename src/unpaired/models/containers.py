"""Translation of files that hold many images: volumes, stacks and clips, image after image in constant memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.core.files import atomic_folder
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.bad_image import BadImage
from unpaired.data.folders import in_frames
from unpaired.data.formats import Frame
from unpaired.data.reading import Half
from unpaired.data.windows import trained_level
from unpaired.models.conversion import Opened, open_image
from unpaired.models.fit import refuse_outside, said_of
from unpaired.models.pipeline import Failure, Job, LoadedImage, NoOutput, OutOfRange, Run, output_like
from unpaired.models.slabs import Put, blended
from unpaired.models.smoothing import Smoother
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator, images_per_batch


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def translate_container(
    run: Run, job: Job, *, max_pixels: int, half: Half | None, out_of_range: OutOfRange, suffix: str
) -> None:
    """Translate all images of a file into one file like it or, where there is none, into a folder of single images.

    Their names are their positions, and `suffix` (`.png`). An image that fails makes the file fail.
    """
    done_before = run.done
    loader = _Loader(job, run.translator, max_pixels, half, out_of_range)
    try:
        try:
            _translate(run, job, loader, suffix)
        except NoOutput:
            assert job.plain is not None
            run.changed.append(job)
            _translate(run, job._replace(output=job.plain, plain=None), loader, suffix)
        run.written += 1
        run.remarks.update(dict.fromkeys(said_of(job.source).remarks, job.images))
    except (_Failed, OSError, ValueError) as error:  # what cannot be written is a UserError, which is a ValueError
        failure = error.failure if isinstance(error, _Failed) else run.not_written(job, error)
        run.fail(failure, images=job.images - (run.done - done_before))


def _translate(run: Run, job: Job, loader: _Loader, suffix: str) -> None:
    source = run.translator.source
    found = in_frames([job.source], source.axis, source.neighbours, source.channels)
    level = run.translator.level
    frames = [one for image in found if isinstance(one := trained_level(image, level), Frame)]
    first = loader.load(frames[:1])[0]
    height, width = first.image.shape[:2]
    smoother = run.clips.smoother()
    together = images_per_batch(*run.translator.padded_size(height, width), run.batch_size)
    with contextlib.ExitStack() as stack:
        put = stack.enter_context(_single_images(run, job, suffix) if job.plain is None else _one_file(run, job, first))
        put = blended(put, run.translator.target, len(frames))
        # One thread each: the images of a file are decoded and written in their order.
        readers, writers = (stack.enter_context(ThreadPoolExecutor(1, name)) for name in ("decode", "encode"))
        starts = range(0, len(frames), together)
        ahead = readers.submit(loader.load, frames[:together])
        writing: Future[None] | None = None
        for start in starts:
            batch = ahead.result()
            if start + together < len(frames):
                ahead = readers.submit(loader.load, frames[start + together : start + 2 * together])
            made = _translated(run, batch, start)
            if writing is not None:
                writing.result()
            writing = writers.submit(_put_all, put, smoother, batch, made, start)
            run.advance(len(batch))
        if writing is not None:
            writing.result()
    run.clips.add(job.output, smoother)


class _Loader:
    def __init__(
        self, job: Job, translator: Translator, max_pixels: int, half: Half | None, out_of_range: OutOfRange
    ) -> None:
        self._job, self._source, self._max_pixels, self._half = job, translator.source, max_pixels, half
        self._out_of_range = out_of_range

    def load(self, frames: Sequence[Frame]) -> list[LoadedImage]:
        """Return images as the network sees them."""
        return [LoadedImage(self._job, *self._one(frame)) for frame in frames]

    def _one(self, frame: Frame) -> Opened:
        try:
            opened = open_image(frame, self._source, max_pixels=self._max_pixels, half=self._half)
            refuse_outside(opened.fit, self._source, self._out_of_range)
            return opened
        except (BadImage, UserError) as error:
            reason = error.reason if isinstance(error, BadImage) else str(error)
            raise _Failed(Failure(self._job, f"image {frame.index}: {reason}")) from error
        except MemoryError as error:
            raise _Failed(Failure(self._job, str(error) or "not enough memory to decode it", lasting=False)) from error


def _translated(run: Run, batch: list[LoadedImage], start: int) -> list[Translation]:
    """Translate images together or, where that is too much, one by one."""
    for loaded in batch:
        run.count(loaded)
    made = run.attempt(batch)
    if not isinstance(made, Failure):
        return made
    translations = list[Translation]()
    for number, loaded in enumerate(batch):
        one = run.attempt([loaded])
        if isinstance(one, Failure):
            raise _Failed(one._replace(reason=f"image {start + number}: {one.reason}"))
        translations += one
    return translations


def _put_all(
    put: Put, smoother: Smoother | None, batch: Sequence[LoadedImage], made: Sequence[Translation], start: int
) -> None:
    for number, (loaded, translation) in enumerate(zip(batch, made, strict=True)):
        if smoother is not None:
            translation = replace(translation, values=smoother(loaded.image, translation.values))
        put(translation, start + number)


@contextlib.contextmanager
def _one_file(run: Run, job: Job, first: LoadedImage) -> Iterator[Put]:
    height, width = first.image.shape[:2]
    with output_like(run, job, (height, width)) as output:
        yield lambda translation, index: output.put(translation.stored_as(run.written_as), index)


@contextlib.contextmanager
def _single_images(run: Run, job: Job, suffix: str) -> Iterator[Put]:
    digits = len(str(job.images - 1))
    _require_ours(job.output, suffix)
    with atomic_folder(job.output) as folder:
        yield lambda translation, index: translation.write(folder / f"{index:0{digits}}{suffix}", run.written_as)


def _require_ours(folder: Path, suffix: str) -> None:
    """Raise `UserError` for a folder in the way that holds anything else than such single images."""
    name = re.compile(rf"[0-9]+{re.escape(suffix)}", re.ASCII)
    if folder.exists() and not (folder.is_dir() and all(name.fullmatch(path.name) for path in folder.iterdir())):
        raise UserError(
            f"{printable(folder)} exists and holds other things than the translations of such a file, so it is not "
            f"replaced. Choose another {option('out')}, or move it."
        )
