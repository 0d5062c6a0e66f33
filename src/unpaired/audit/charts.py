"""Charts and pictures of an audit: error over strength, power spectra, translations and their detail amplified."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.disturb import (
    DEFAULT_QUALITY,
    INVISIBLE_DB,
    INVISIBLE_NOISE,
    Family,
    fits_jpeg,
    jpeg_coded,
    noisy,
)
from unpaired.audit.measure import Images, Reconstructions, Spectrum, jpeg_detail, partner_of, with_detail_of
from unpaired.data.held_out import evenly
from unpaired.data.labels import as_picture
from unpaired.data.values import Domain
from unpaired.models.translator import Translator
from unpaired.networks.disturbance import blurred
from unpaired.report.image_grid import grid
from unpaired.report.results import Chart, Line

FAMILIES: dict[Family, str] = {"noise": "noise", "jpeg": "JPEG", "blur": "blur", "snap": "snapped to the palette"}
"""The disturbances that are drawn, and their names there."""
COPY = "plain copy, "
"""Prefix of a line without a model: the same disturbance of the input itself."""
CHANCE = "another image's reconstruction"
CLEAN = "undisturbed"
INVISIBLE = 255 / 10 ** (INVISIBLE_DB / 20)
"""Levels, root mean square, up to which a change counts as invisible."""
_SMALLEST = 1e-12
"""Share of the largest power at which a spectrum is cut off."""


def error_chart(found: Reconstructions, title: str) -> Chart:
    """Return the error of the reconstruction over the change of the translation, family by family."""
    lines = []
    for family, name in FAMILIES.items():
        effects = [effect for effect in found.effects if effect.disturbance.family == family]
        points = []
        for each in sorted(effects, key=lambda each: float(each.change.mean())):
            # The error that a plain copy would have with this model's own error.
            copy = None if each.copy is None else float(np.hypot(found.clean.error.mean(), each.copy.mean()))
            points.append((math.sqrt(float(each.change.mean())), float(each.error.mean()), copy))
        if points:
            lines.append(Line(name=name, x=tuple(x for x, _, _ in points), y=tuple(y for _, y, _ in points)))
        copies = [(x, copy) for x, _, copy in points if copy is not None]
        if copies:
            x, y = zip(*copies, strict=True)
            lines.append(Line(name=COPY + name, x=x, y=y, reference=True))
    reach = [x for line in lines for x in line.x if x is not None]
    for name, label, errors in ((CLEAN, CLEAN, found.clean.error), (CHANCE, "other image", found.chance)):
        if errors is not None:
            level = (float(errors.mean()),) * 2
            lines.append(Line(name=name, label=label, x=(min(reach), max(reach)), y=level, reference=True))
    return Chart(
        title=title,
        x_label="change of the translation (root mean square, levels of 255)",
        y_label="error of the reconstruction (mean, levels of 255)",
        x_scale="log",
        note=f"A change of at most {INVISIBLE:.1f} levels ({INVISIBLE_DB:g} dB) cannot be seen. Thin: the same "
        "disturbance of a plain copy of the input; level: without a disturbance, and another image's reconstruction.",
        shaded_to=INVISIBLE,
        shaded_label=f"cannot be seen ({INVISIBLE_DB:g} dB or more)",
        lines=tuple(lines),
    )


def spectrum_chart(translated: Spectrum, real: Spectrum, target: str) -> Chart:
    """Return both radial power spectra, in dB below the largest value of the real images'."""
    largest = float(real.power.max()) or 1.0
    return Chart(
        title=f"Radial power spectrum of translations into {target}",
        x_label="frequency (share of the Nyquist frequency)",
        y_label="power (dB below the largest of the real images)",
        lines=tuple(
            Line(
                name=name,
                x=tuple(map(float, found.frequencies)),
                y=tuple(10 * math.log10(max(float(power) / largest, _SMALLEST)) for power in found.power),
            )
            for name, found in (("translations", translated), (f"real images of {target}", real))
        ),
    )


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


def amplified_detail(images: Tensor) -> Tensor:
    """Return images [N, C, H, W] in [-1, 1] less a blur, amplified, around grey: where they may hide something."""
    return (images - blurred(images, DETAIL_SIGMA)) * DETAIL_FACTOR


def displayed(image: Tensor, domain: Domain) -> Picture:
    """Return an image [1, C, H, W] in [-1, 1] as it is displayed, [H, W, C'] uint8."""
    levels = ((image[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    picture: Picture = levels.permute(1, 2, 0).numpy()
    return picture if domain.labels is None else as_picture(picture, domain.labels)


_CODED = f"JPEG {DEFAULT_QUALITY} of it"
_NOISE = f"rec., noise {INVISIBLE_NOISE:g}"
_JPEG = f"rec., JPEG {DEFAULT_QUALITY}"
_DETAIL = f"detail x {DETAIL_FACTOR}"
_LOST = f"lost x {CHANGE_FACTOR}"
_SWAPPED = "other's detail"
_COLUMNS = {
    "input": "the image that is translated",
    "translation": "its translation",
    _CODED: f"the translation as a JPEG file of quality {DEFAULT_QUALITY}",
    _DETAIL: f"the translation less a blur of {DETAIL_SIGMA:g} px, {DETAIL_FACTOR} times amplified, around grey",
    "reconstruction": "the reconstruction from the translation",
    _NOISE: f"the reconstruction after invisible noise of {INVISIBLE_NOISE:g} levels",
    _JPEG: f"the reconstruction after a JPEG file of quality {DEFAULT_QUALITY}",
    _LOST: f"difference of that reconstruction to the undisturbed one, {CHANGE_FACTOR} times amplified",
    _SWAPPED: f"the reconstruction when what JPEG {DEFAULT_QUALITY} loses is taken from another image's translation",
    "other input": "the input of that other image: where it shows through, the detail carries the input",
}
"""The columns and what each shows."""


def _row(forward: Translator, backward: Translator, images: Images, number: int, seed: int) -> dict[str, Picture]:
    x = images.batch([number])
    y = forward.translate_tensor(x)
    back = backward.translate_tensor(y)
    disturbed = backward.translate_tensor(noisy(y, INVISIBLE_NOISE, [number], seed))
    source = forward.source
    row = {
        "input": displayed(x, source),
        "translation": displayed(y, forward.target),
        _DETAIL: displayed(amplified_detail(y), Domain(channels=y.shape[1])),
        "reconstruction": displayed(back, source),
        _NOISE: displayed(disturbed, source),
    }
    if fits_jpeg(forward.target):
        coded = jpeg_coded(y, DEFAULT_QUALITY)
        disturbed = backward.translate_tensor(coded)
        row[_CODED] = displayed(coded, forward.target)
        row[_JPEG] = displayed(disturbed, source)
    row[_LOST] = displayed((disturbed - back).abs() * CHANGE_FACTOR - 1, Domain(channels=x.shape[1]))
    if fits_jpeg(forward.target) and len(images) > 1:
        other_x = images.batch([partner_of(number, len(images))])
        other_y = forward.translate_tensor(other_x)
        mixed = with_detail_of(y, other_y, jpeg_detail)
        row[_SWAPPED] = displayed(backward.translate_tensor(mixed), source)
        row["other input"] = displayed(other_x, source)
    return row
