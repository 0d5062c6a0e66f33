"""The picture of an audit: translations, their hidden detail made visible, and what comes back with and without it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.disturb import EVERYDAY_QUALITY, INVISIBLE_NOISE, blurred, fits_jpeg, jpeg_coded, noisy
from unpaired.audit.measure import Images, jpeg_detail, partner_of
from unpaired.data.held_out import evenly
from unpaired.data.labels import as_picture
from unpaired.data.values import Domain
from unpaired.models.translator import Translator
from unpaired.report.image_grid import grid

Picture = NDArray[np.uint8]

ROWS = 5
"""Examples shown of each direction."""
DETAIL_FACTOR = 8
"""Detail is shown this many times stronger, around grey."""
DETAIL_SIGMA = 1.0
"""Pixels of the blur whose difference to the translation is shown as its detail."""
CHANGE_FACTOR = 2
"""Changes of the reconstruction are shown this many times stronger, on black."""


def draw(
    forward: Translator, backward: Translator, images: Images, *, seed: int, title: str
) -> tuple[Picture, list[str]]:
    """Return one labelled grid, [H, W, 3] uint8, and what its columns show, in words."""
    rows = [_row(forward, backward, images, number, seed) for number in evenly(len(images), ROWS)]
    known = [name for name in _COLUMNS if name in rows[0]]
    return grid(rows, known, title), [f"{name}: {_COLUMNS[name]}" for name in known]


def looked_at(image: Tensor, domain: Domain) -> Picture:
    """Return an image [1, C, H, W] in [-1, 1] as a person looks at it, [H, W, C'] uint8."""
    levels = ((image[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    picture: Picture = levels.permute(1, 2, 0).numpy()
    return picture if domain.labels is None else as_picture(picture, domain.labels)


_CODED = f"JPEG {EVERYDAY_QUALITY} of it"
_NOISE = f"back, noise {INVISIBLE_NOISE:g}"
_JPEG = f"back, JPEG {EVERYDAY_QUALITY}"
_DETAIL = f"detail x {DETAIL_FACTOR}"
_LOST = f"lost x {CHANGE_FACTOR}"
_SWAPPED = "foreign detail"
_COLUMNS = {
    "input": "what was translated",
    "translation": "what became of it",
    _CODED: f"the translation as a JPEG file of quality {EVERYDAY_QUALITY}",
    _DETAIL: f"the translation less a blur of {DETAIL_SIGMA:g} px, {DETAIL_FACTOR} times stronger, around grey",
    "back": "the reconstruction from the translation",
    _NOISE: f"the reconstruction after invisible noise of {INVISIBLE_NOISE:g} levels",
    _JPEG: f"the reconstruction after a JPEG file of quality {EVERYDAY_QUALITY}",
    _LOST: f"difference of that reconstruction to the undisturbed one, {CHANGE_FACTOR} times stronger",
    _SWAPPED: f"the reconstruction when what JPEG {EVERYDAY_QUALITY} loses is taken from another image's translation",
    "that other": "the input of that other image: where it shows through, the detail carries the input",
}
"""The columns and what each shows."""


def _row(forward: Translator, backward: Translator, images: Images, number: int, seed: int) -> dict[str, Picture]:
    x = images.batch([number])
    y = forward.translate_tensor(x)
    back = backward.translate_tensor(y)
    disturbed = backward.translate_tensor(noisy(y, INVISIBLE_NOISE, [number], seed))
    source = forward.source
    detail = (y - blurred(y, DETAIL_SIGMA)) * DETAIL_FACTOR
    row = {
        "input": looked_at(x, source),
        "translation": looked_at(y, forward.target),
        _DETAIL: looked_at(detail, Domain(channels=y.shape[1])),
        "back": looked_at(back, source),
        _NOISE: looked_at(disturbed, source),
    }
    if fits_jpeg(forward.target):
        coded = jpeg_coded(y, EVERYDAY_QUALITY)
        disturbed = backward.translate_tensor(coded)
        row[_CODED] = looked_at(coded, forward.target)
        row[_JPEG] = looked_at(disturbed, source)
    row[_LOST] = looked_at((disturbed - back).abs() * CHANGE_FACTOR - 1, Domain(channels=x.shape[1]))
    if fits_jpeg(forward.target) and len(images) > 1:
        other_x = images.batch([partner_of(number, len(images))])
        other_y = forward.translate_tensor(other_x)
        mixed = (y - jpeg_detail(y) + jpeg_detail(other_y)).clamp(-1, 1)
        row[_SWAPPED] = looked_at(backward.translate_tensor(mixed), source)
        row["that other"] = looked_at(other_x, source)
    return row
