"""Thermal frames made up for the worked example: 16-bit TIFF files of kelvin x 100, from two imaginary cameras.

    python benchmarks/thermal_frames.py frames

A scene is ground and sky with a few warm bodies, by NumPy alone; no camera was involved. Camera A is uncooled: its lens
blurs, its columns have offsets, it reads warm bodies too cold, and it marks its dead pixels as NaN would, by GDAL's
nodata value 0. Camera B is a good one. Training frames show different scenes, test frames of one name the same one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SIZE = 96
COUNTS = {"train": 48, "test": 12}
GDAL_NODATA = 42113


def scene(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return temperatures in kelvin, [H, W]."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    texture = Image.fromarray(rng.normal(0, 1, (12, 12)).astype(np.float32)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    horizon = rng.uniform(0.2, 0.45)
    kelvin = np.where(rows < horizon, 262 + 20 * rows, 283 + 4 * rows) + np.asarray(texture) * 1.2
    for _ in range(rng.integers(3, 7)):
        top, left = rng.uniform(horizon, 0.9), rng.uniform(0.1, 0.9)
        height, width = rng.uniform(0.05, 0.16), rng.uniform(0.03, 0.1)
        inside = ((rows - top) / height) ** 2 + ((columns - left) / width) ** 2 < 1
        kelvin = np.where(inside, rng.uniform(300, 335) + np.asarray(texture), kelvin)
    return kelvin


def uncooled(
    kelvin: NDArray[np.float64], columns: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return what camera A reads; 0 where a pixel is dead."""
    blurred = kelvin
    for axis in (0, 1, 0, 1):
        blurred = (np.roll(blurred, 1, axis) + 2 * blurred + np.roll(blurred, -1, axis)) / 4
    cold = 290 + (blurred - 290) * np.where(blurred > 290, 0.8, 1.0)
    read = cold + columns + rng.normal(0, 0.15, kelvin.shape)
    return np.where(rng.random(kelvin.shape) < 0.004, 0, read)


def cooled(kelvin: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what camera B reads."""
    return kelvin + rng.normal(0, 0.03, kelvin.shape)


def write(path: Path, kelvin: NDArray[np.float64]) -> None:
    """Write a frame: uint16, kelvin x 100, nodata 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.clip(np.rint(kelvin * 100), 0, 65535).astype(np.uint16)
    tifffile.imwrite(path, values, compression="zlib", extratags=[(GDAL_NODATA, "s", 0, "0", True)], metadata=None)


def main(folder: Path) -> None:
    """Write all frames."""
    rng = np.random.default_rng(0)
    columns = rng.normal(0, 0.6, SIZE)
    for part, count in COUNTS.items():
        for number in range(count):
            kelvin = scene(rng)
            write(folder / f"{part}A" / f"{number:03}.tif", uncooled(kelvin, columns, rng))
            write(folder / f"{part}B" / f"{number:03}.tif", cooled(kelvin if part == "test" else scene(rng), rng))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
