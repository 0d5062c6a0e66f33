"""Ranges of values that are found in the files: what they say themselves, and percentiles of all their values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import printable
from unpaired.data.bad_image import BadImage
from unpaired.data.check import ImageInfo
from unpaired.data.config import PERCENTILES, DataConfig
from unpaired.data.directions import Side
from unpaired.data.parallel import for_each
from unpaired.data.reading import Reading
from unpaired.data.windows import parts_of

CT = (-1024.0, 3071.0)
"""Hounsfield units as 12 bits hold them: CT numbers are stored as 0 to 4095 with an intercept of -1024."""
_BITS = 22
"""Of a float32 that tell bins apart: sign, exponent and 13 bits of the mantissa, 0.006 % of a value."""


def with_ranges(
    config: DataConfig,
    files: Mapping[Side, Sequence[ImageInfo]],
    readings: Mapping[Side, Reading],
    progress: Callable[[str, int, int], None] | None,
) -> DataConfig:
    """Return the settings with ranges of values as numbers: what they leave open is found in the training images."""

    def find(side: Side) -> tuple[float, float] | None:
        stage = f"values of {config.title(side)}"
        report = None if progress is None else lambda done, total: progress(stage, done, total)
        return found_range(side, files[side], readings[side], config, report)

    return replace(config, range_a=find("a"), range_b=find("b"))


def found_range(
    side: Side,
    infos: Sequence[ImageInfo],
    reading: Reading,
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[float, float] | None:
    """Return the range of a domain as numbers, of the setting and the training images; None where nothing is set.

    Raises `UserError` where files say none or different ones, and where percentiles are one value.
    """
    given = config.given_range(side)
    if given is None or not isinstance(given, str):
        return given
    called = option(f"data.range_{side}", given)
    if given == "ct":
        return CT
    if given == "file":
        said = {info.meaning.range for info in infos}
        only = said.pop() if len(said) == 1 else None
        if only is None:
            examples = f"they say {', '.join(f'{low:g} to {high:g}' for low, high in sorted(filter(None, said))[:3])}"
            raise UserError(
                f"{called}: {examples if any(said) else 'the files say no range of values'}. Give two numbers, such as "
                f"{option(f'data.range_{side}', [0, 4095])}, or percentiles (p0.5..p99.5)."
            )
        return only
    match = PERCENTILES.fullmatch(given)
    assert match is not None
    histogram = Histogram({info.dtype for info in infos})

    def work(index: int) -> None:
        info = infos[index]
        for part in parts_of(info.path, (info.height, info.width), by_windows=info.by_windows):
            try:
                image, valid = reading.read_valid(part, max_pixels=config.max_pixels)
            except BadImage as error:
                raise UserError(
                    f"{printable(info.path)} was sound when it was checked and is not now: {error.reason}."
                ) from error
            histogram.add(image if valid is None else image[valid])

    for_each(len(infos), work, workers=config.workers, progress=progress)
    low, high = histogram.percentile(float(match[1])), histogram.percentile(float(match[2]))
    if not low < high:
        raise UserError(f"{called}: both percentiles are {low:g}. Choose others, or give two numbers.")
    return low, high


class Histogram:
    """Counts values of these types: exactly those of 16 bits, else by 0.006 %; several threads add to it."""

    def __init__(self, dtypes: Collection[str]) -> None:
        self._exact = any(set(dtypes) <= {"uint8", deep} for deep in ("uint16", "int16"))
        self._first = -32768 if "int16" in dtypes else 0
        self._counts = np.zeros(2**16 if self._exact else 2**_BITS, np.int64)
        self._lock = threading.Lock()

    def add(self, values: NDArray[np.generic]) -> None:
        """Count finite values of any shape."""
        counts = np.bincount(self._bins(values.ravel()), minlength=len(self._counts))
        with self._lock:
            self._counts += counts

    def _bins(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        if self._exact:
            return values.astype(np.int64) - self._first
        bits = values.astype(np.float32).view(np.uint32).astype(np.int64)
        # In the order of the values: negative ones are stored by their size.
        ordered = np.where(bits >> 31, 0xFFFFFFFF - bits, bits + 0x80000000)
        shifted: NDArray[np.int64] = ordered >> (32 - _BITS)
        return shifted

    def percentile(self, share: float) -> float:
        """Return the smallest value that at least so many per cent of all values do not exceed."""
        summed = np.cumsum(self._counts)
        place = int(np.searchsorted(summed, max(1, np.ceil(summed[-1] * share / 100))))
        if self._exact:
            return float(place + self._first)
        middle = (place << (32 - _BITS)) + (1 << (31 - _BITS))
        bits = middle - 0x80000000 if middle >= 0x80000000 else 0xFFFFFFFF - middle
        return float(np.array(bits, np.uint32).view(np.float32))
