"""The pictures of docs/fields/ct.md and satellite.md: input, translation and what it should be, side by side.

python benchmarks/field_pictures.py ct ct/testA volumes ct/testB docs/images/ct.jpg
python benchmarks/field_pictures.py satellite fields/testA winter fields/testB docs/images/satellite.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.data.decode import decode
from unpaired.data.formats import Box, Frame

SLICE = 6
WINDOW = (-160, 240)
"""Hounsfield units shown black and white."""
PART = Box(1000, 800, 320, 320)
"""Of a scene."""
BRIGHT = 4000
"""Reflectance x 10,000 that is shown white."""


def slices(folder: Path) -> list[NDArray[np.uint8]]:
    """Return a slice of every volume, three times as large."""
    shown = []
    for path in sorted(folder.glob("*.nii.gz")):
        values = decode(Frame(path, SLICE))[:, :, 0].astype(float)
        levels = np.clip((values - WINDOW[0]) / (WINDOW[1] - WINDOW[0]) * 255, 0, 255).astype(np.uint8)
        shown.append(levels.repeat(3, 0).repeat(3, 1))
    return shown


def parts(folder: Path) -> list[NDArray[np.uint8]]:
    """Return a part of every scene: near infrared, red and green as red, green and blue."""
    read = (decode(Frame(path, 0, box=PART))[:, :, [3, 2, 1]] for path in sorted(folder.glob("*.tif")))
    return [np.clip(part / BRIGHT * 255, 0, 255).astype(np.uint8) for part in read]


def main(kind: str, *folders: str) -> None:
    """Draw one row for every file, one column for every folder."""
    shown: Callable[[Path], list[NDArray[np.uint8]]] = {"ct": slices, "satellite": parts}[kind]
    columns = [np.concatenate(shown(Path(folder))) for folder in folders[:3]]
    Image.fromarray(np.concatenate(columns, axis=1)).save(folders[3], quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
