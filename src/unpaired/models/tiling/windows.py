"""From a large file to another one by windows: neither is ever in memory as a whole."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError, option
from unpaired.core.files import atomic_file, locked
from unpaired.core.text import megabytes, printable
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import explained
from unpaired.data.encode import encode_image
from unpaired.data.formats import Box, Frame, Reader
from unpaired.data.reading import Half
from unpaired.data.values import Domain, Image, Signed
from unpaired.models.conversion import Opened, open_image
from unpaired.models.fit import Fit, refuse_outside
from unpaired.models.pipeline import Job, LargeJob, NoOutput, OutOfRange, Run, output_like
from unpaired.models.tiling.local import Size
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator

_COPIES = 4
"""A whole image is held so many times at once, as float32, while it is read, translated and written."""
_TILE = 512
"""Height and width of the tiles of TIFF files."""
_WINDOW = 1024
"""Height and width of the parts in which a translation waits to be written."""
_TIFF = (".tif", ".tiff")
_SIDES = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}
"""The largest height and width of some formats."""


@final
@dataclass(slots=True)
class LargeImage:
    """An image in a file that is read by windows."""

    file: Path
    size: Size
    level: int
    """The resolution that is read."""
    source: Domain
    out_of_range: OutOfRange
    is_incomplete: bool = False
    """Whether some pixels that were read have no value."""
    outside: float = 0.0
    seen: int = 0
    """Values outside the declared range, of the pixels seen."""
    pixels: float = 1.0
    """That of `Fit`."""

    def read(self, box: Box) -> Signed:
        """Return a part of it as the network sees it; raises `BadImage`, and `UserError` as `open_image`."""
        opened = self._opened(box)
        refuse_outside(opened.fit, self.source, self.out_of_range)
        self.pixels = opened.fit.pixels
        self.outside, self.seen = self.outside + opened.fit.outside * opened.values.size, self.seen + opened.values.size
        if not np.isnan(opened.values).any():
            return opened.values
        self.is_incomplete = True
        return np.nan_to_num(opened.values, nan=-1.0)

    def missing(self, box: Box) -> NDArray[np.bool_] | None:
        """Return where a part has no value, [h, w]; None where every pixel that was read so far has one."""
        return np.asarray(np.isnan(self._opened(box).values).any(axis=2)) if self.is_incomplete else None

    def _opened(self, box: Box) -> Opened:
        frame = Frame(self.file, 0, level=self.level, box=box)
        return open_image(frame, self.source, max_pixels=sys.maxsize)


def find_large(
    job: Job,
    translator: Translator,
    *,
    max_pixels: int,
    half: Half | None,
    with_alpha: bool,
    out_of_range: OutOfRange = "clip",
) -> LargeJob | None:
    """Return what translates a file whose image is too large to be read whole.

    Too large is what `max_pixels` forbids or the translator's memory does not hold. None for all others, where the
    file cannot be read by windows, and where it is damaged, which is reported when it is read.
    """
    source = translator.source
    if half is not None or source.axis or source.neighbours:
        return None
    with contextlib.suppress(BadImage), explained(job.source) as (path, reader):
        if type(reader).read_window is Reader.read_window:
            return None
        header, levels = reader.probe(path), reader.levels(path)
        level = translator.level if len(levels) > translator.level else 0
        height, width = levels[level]
        needed = height * width * (header.channels + translator.target.channels) * _COPIES * 2
        if height < 1 or width < 1 or (height * width <= max_pixels and needed <= translator.tiler.available):
            return None
        first = reader.read_window(path, Box(0, 0, 1, 1), 0, level)
        if first is None:
            return None
        if with_alpha and header.channels == first.shape[2] + 1:
            translator.notices.append(f"{printable(path)} is translated by parts, without its transparency.")
        image = LargeImage(path, (height, width), level, source, out_of_range)
        return LargeJob(job, partial(translate_large, image, job))
    return None


def translate_large(image: LargeImage, job: Job, run: Run) -> None:
    """Translate a large image into a job's output; where that was interrupted before, it resumes.

    What is done lies in a folder beside it until the file is whole. Raises `UserError` where this image cannot be
    translated by windows or written in this format, `BadImage` where it cannot be read.
    """
    translator, written_as = run.translator, run.written_as
    _require_possible(translator, image, job, written_as)
    if run.keep_metadata and job.plain is None:
        raise UserError(f"{option('keep_metadata', True)}: a file that is written by parts takes none. Leave it out.")
    folder = job.output.with_name(f".{job.output.name}.tiles")
    with locked(folder):
        _translate_into(folder, translator, image, written_as)
        parts = _Parts(folder, image.size, written_as)
        try:
            _write_like(run, job, parts, image.size)
        except NoOutput:
            with atomic_file(job.plain or job.output, durable=False) as temporary:
                _write(temporary, parts, image.size, written_as)
    run.fits.append(Fit(outside=image.outside / max(image.seen, 1), pixels=image.pixels))
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def _require_possible(translator: Translator, image: LargeImage, job: Job, written_as: Domain) -> None:
    height, width = image.size
    named = f"{printable(image.file)} has {height:,} x {width:,} pixels (height x width), too many to be read whole"
    translator.tiler.require()
    if translator.sizing.seen(height, width) != image.size:
        raise UserError(
            f"{named}, and by parts an image is translated at its own size only, while this model sees images at "
            f"{translator.sizing}. Choose {option('size', 'native')}, or make the image smaller."
        )
    if translator.source.labels is not None or translator.target.labels is not None or translator.source.alpha:
        raise UserError(f"{named}; label maps and images with alpha are not translated by parts. Cut it in pieces.")
    suffix = (job.plain or job.output).suffix.lower()
    most = _SIDES.get(suffix, max(image.size))
    whole = height * width * written_as.channels * np.dtype(written_as.dtype).itemsize * 3
    if max(image.size) > most or (suffix not in _TIFF and whole > translator.tiler.available):
        raise UserError(
            f"{named}, and a {suffix} file of that size cannot be written by parts. Choose {option('format', 'tiff')}."
        )


def _translate_into(folder: Path, translator: Translator, image: LargeImage, written_as: Domain) -> None:
    """Leave the translation in a folder, as parts in the type in which they are written."""
    status = image.file.stat()
    parts = _Parts(folder, image.size, written_as)

    def write(box: Box, values: Signed) -> None:
        parts.put(box, Translation(values, translator.target, image.missing(box)).stored_as(written_as))

    needed = image.size[0] * image.size[1] * parts.pixel_bytes
    if not parts.begun and needed > shutil.disk_usage(folder).free:
        raise UserError(f"{printable(folder)}: there is no room on the disk for {megabytes(needed)}. Free some space.")
    file = f"{image.file} {image.size} {image.level} {status.st_size} {status.st_mtime_ns}"
    key = f"{translator.direction} {translator.digest} {file} {written_as}"
    translator.tiler.translate(image.read, write, image.size, folder=folder, key=key)


@final
class _Parts:
    """The translation so far, in one file of raw numbers: rows of windows of one height, each [h, W, C]."""

    def __init__(self, folder: Path, size: Size, domain: Domain) -> None:
        self._path, self._size = folder / "translation.bin", size
        self._shape = (*size, domain.channels)
        self._dtype = np.dtype(domain.dtype)
        self.pixel_bytes = domain.channels * self._dtype.itemsize
        self.begun = self._path.is_file()

    def put(self, box: Box, part: Image) -> None:
        """Store a part."""
        mode: Any = "r+" if self._path.is_file() else "w+"
        array = np.memmap(self._path, self._dtype, mode, shape=self._shape)
        array[box.top : box.top + box.height, box.left : box.left + box.width] = part
        del array  # what is written leaves the memory of the process

    def read(self, box: Box) -> NDArray[Any]:
        """Return a part, a copy."""
        array = np.memmap(self._path, self._dtype, "r", shape=self._shape)
        return np.array(array[box.top : box.top + box.height, box.left : box.left + box.width])


def _write_like(run: Run, job: Job, parts: _Parts, size: Size) -> None:
    """Write the parts into a file like the input; raises `NoOutput` where there is none of that kind."""
    if job.plain is None:
        raise NoOutput
    with output_like(run, job, size) as output:
        for box in _boxes(size, _WINDOW):
            output.put(parts.read(box), box=box)


def _write(path: Path, parts: _Parts, size: Size, domain: Domain) -> None:
    """Write the parts into an ordinary image."""
    if path.suffix.lower() in _TIFF:
        _write_tiff(path, parts, size, domain)
    else:
        path.write_bytes(encode_image(parts.read(Box(0, 0, *size)), path.suffix))


def _write_tiff(path: Path, parts: _Parts, size: Size, domain: Domain) -> None:
    import tifffile

    def tiles() -> Iterator[NDArray[Any]]:
        for box in _boxes(size, _TILE):
            part = parts.read(box)
            missing = [(0, _TILE - box.height), (0, _TILE - box.width), (0, 0)]
            yield np.ascontiguousarray(np.pad(part, missing, mode="edge"))

    colour, channels = domain.channels == 3, domain.channels
    extra = channels - (3 if colour else 1)
    tifffile.imwrite(
        path,
        tiles(),
        shape=(*size, channels) if channels > 1 else size,
        dtype=np.dtype(domain.dtype),
        tile=(_TILE, _TILE),
        bigtiff=size[0] * size[1] * parts.pixel_bytes > 2**31,
        photometric="rgb" if colour else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unspecified"] * extra if extra else None,
        compression="zlib",
        metadata=None,
    )


def _boxes(size: Size, side: int) -> Iterator[Box]:
    for top in range(0, size[0], side):
        for left in range(0, size[1], side):
            yield Box(top, left, min(side, size[0] - top), min(side, size[1] - left))
