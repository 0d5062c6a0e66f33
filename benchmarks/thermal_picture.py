"""The picture of docs/fields/thermal.md: input, translation and truth, 265 to 335 K, black to white.

python benchmarks/thermal_picture.py frames translated docs/images/thermal.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from unpaired.data.reading import PICTURES
from unpaired.report.image_grid import grid

COLD, HOT = 26500, 33500


def picture(path: Path) -> np.ndarray:
    """Return a frame as grey levels, twice as large; dead pixels are red."""
    values, valid = PICTURES.read_valid(path)
    levels = np.clip((values.astype(float) - COLD) / (HOT - COLD) * 255, 0, 255).astype(np.uint8)
    shown = np.repeat(levels, 3, axis=2)
    if valid is not None:
        shown[~valid] = (255, 0, 0)
    return np.asarray(Image.fromarray(shown).resize((192, 192), Image.Resampling.NEAREST))


def main(frames: Path, translated: Path, out: Path) -> None:
    """Draw three test frames."""
    names = ["001.tif", "004.tif", "007.tif"]
    folders = {"camera A": frames / "testA", "A to B": translated, "camera B": frames / "testB"}
    rows = [{title: picture(folder / name) for title, folder in folders.items()} for name in names]
    Image.fromarray(grid(rows, list(folders), "Thermal frames, made up; red: no value")).save(out, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
