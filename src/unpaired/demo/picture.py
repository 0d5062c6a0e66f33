"""The demo's picture: input, translation and reconstruction, both directions side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from unpaired.demo.domains import Picture
from unpaired.report.image_grid import grid, heading

ROWS = 5
"""Examples shown of each direction."""
NAMES = ("plain", "striped")
"""What the domains A and B hold."""


class Example(NamedTuple):
    """A held-out image, its translation, and that translated back."""

    input: Picture
    translation: Picture
    reconstruction: Picture


def draw_examples(examples: Mapping[str, Sequence[Example]]) -> bytes:
    """Return a PNG file that shows the first examples of every direction."""
    grids = []
    for direction, found in examples.items():
        rows = [shown._asdict() for shown in found[:ROWS]]
        grids.append(grid(rows, Example._fields, heading(direction, NAMES)))
    content = io.BytesIO()
    Image.fromarray(np.concatenate(grids, axis=1)).save(content, "PNG")
    return content.getvalue()
