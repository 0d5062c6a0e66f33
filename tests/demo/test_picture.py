from __future__ import annotations

import io

import numpy as np
from PIL import Image

from unpaired.demo.__init__ import ROWS, Example, draw_examples


def test_the_picture_shows_every_direction_in_rows_of_three() -> None:
    shades = {"a2b": (10, 20, 30), "b2a": (40, 50, 60)}
    examples = {
        direction: [Example(*(np.full((64, 64, 3), value, np.uint8) for value in values))] * (ROWS + 2)
        for direction, values in shades.items()
    }
    with Image.open(io.BytesIO(draw_examples(examples))) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    for values in shades.values():
        for value in values:
            # All three channels are wanted: smoothed letters have such levels here and there.
            assert (pixels == value).all(axis=2).sum() >= ROWS * 128**2
            assert (pixels == value).all(axis=2).sum() < (ROWS + 1) * 128**2
    # A to B stands on the left of B to A, and input, translation and reconstruction from left to right.
    columns = [
        np.nonzero((pixels == value).all(axis=2).sum(axis=0) > 300)[0].mean() for value in (10, 20, 30, 40, 50, 60)
    ]
    assert columns == sorted(columns)
