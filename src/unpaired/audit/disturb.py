"""Disturbances of a translation: what happens between two programs, or a change too small to be seen.

Images are [N, C, H, W] in [-1, 1] on the CPU. Strengths are in levels: 1/255 of the range of values, one step of an
8-bit file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from unpaired.core.text import plural
from unpaired.data.labels import classes_of, encoded
from unpaired.data.values import Domain, from_signed
from unpaired.networks.disturbance import blurred

LEVEL = 2.0 / 255.0
"""One level in units of [-1, 1]."""
BITS = (8, 6, 4)
QUALITIES = (95, 90, 75, 50, 25)
DEFAULT_QUALITY = 75
"""JPEG quality that Pillow and many other programs use by default."""
BLURS = (0.25, 0.5, 1.0, 2.0)
NOISES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
INVISIBLE_DB = 40.0
"""A change of this PSNR or more counts as invisible."""
INVISIBLE_NOISE = 2.0
"""Levels; 42 dB. `hidden_share` is measured at this strength."""

Family = Literal["none", "bits", "noise", "jpeg", "blur", "snap"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One disturbance at one strength."""

    family: Family
    strength: float
    """Levels of noise, pixels of blur, JPEG quality, or bits that remain; 0 for the others."""
    title: str


NONE = Disturbance("none", 0.0, "none")
SNAP = Disturbance("snap", 0.0, "snapped to the palette")
HEADLINE = Disturbance("noise", INVISIBLE_NOISE, f"noise of {INVISIBLE_NOISE:g} levels")
DEFAULT_JPEG = Disturbance("jpeg", DEFAULT_QUALITY, f"JPEG of quality {DEFAULT_QUALITY}")
ALL = (
    NONE,
    *(Disturbance("bits", bits, f"{bits} bits per value") for bits in BITS),
    *(Disturbance("noise", level, f"noise of {level:g} level{'' if level == 1 else 's'}") for level in NOISES),
    *(Disturbance("jpeg", quality, f"JPEG of quality {quality}") for quality in QUALITIES),
    *(Disturbance("blur", sigma, f"blur of {sigma:g} px") for sigma in BLURS),
    SNAP,
)
"""All disturbances, each family mild to strong."""


def disturbances_for(target: Domain) -> tuple[list[Disturbance], list[str]]:
    """Return the disturbances that apply to images of a domain, `NONE` first, and notices of those left out."""
    notices = []
    if not fits_jpeg(target):
        values = "" if target.range is None else f" from {target.range[0]:g} to {target.range[1]:g}"
        notices.append(
            "JPEG is left out: it holds values from 0 to 255 in 1 or 3 channels, and the translations have "
            f"{plural(target.channels, 'channel')} of {target.dtype}{values}"
        )
    return [each for each in ALL if applies_to(each, target)], notices


def fits_jpeg(domain: Domain) -> bool:
    """Whether images of a domain can be JPEG files: 8 bits, one or three channels."""
    return domain.dtype == "uint8" and domain.range is None and domain.channels in (1, 3)


def applies_to(disturbance: Disturbance, domain: Domain) -> bool:
    """Whether images of a domain can be disturbed so: not all can be JPEG files, only label maps have a palette."""
    if disturbance.family == "jpeg":
        return fits_jpeg(domain)
    return disturbance.family != "snap" or domain.labels is not None


def disturb(images: Tensor, disturbance: Disturbance, domain: Domain, numbers: Sequence[int], seed: int) -> Tensor:
    """Return disturbed images of a domain; `numbers` identify them and choose, with `seed`, their noise."""
    strength = disturbance.strength
    match disturbance.family:
        case "bits":
            return quantised(images, int(strength))
        case "noise":
            return noisy(images, strength, numbers, seed)
        case "jpeg":
            return jpeg_coded(images, int(strength))
        case "blur":
            return blurred(images, strength)
        case "snap":
            return snapped(images, domain)
        case "none":
            return images


def quantised(images: Tensor, bits: int) -> Tensor:
    """Round to 2^bits values, evenly from -1 to 1; an ordinary file has 8 bits."""
    steps = (1 << bits) - 1
    return (((images.clamp(-1, 1) + 1) * (steps / 2)).round() * (2 / steps) - 1).clamp(-1, 1)


def noisy(images: Tensor, levels: float, numbers: Sequence[int], seed: int) -> Tensor:
    """Add Gaussian noise of a standard deviation in levels and clamp to [-1, 1].

    The noise of an image follows from (seed, its number) alone, whatever the batch, and differs between strengths by a
    factor only, so that a curve over strengths is smooth.
    """
    noise = torch.stack([_unit_noise(images.shape[1:], number, seed) for number in numbers])
    return (images + noise * (levels * LEVEL)).clamp(-1, 1)


def jpeg_coded(images: Tensor, quality: int) -> Tensor:
    """Encode images of 1 or 3 channels as JPEG (Pillow, 4:4:4) and decode them."""
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = []
    for image in levels:
        content = io.BytesIO()
        picture = PillowImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))
        picture.save(content, "JPEG", quality=quality, subsampling=0)
        decoded.append(np.asarray(PillowImage.open(content)).reshape(image.shape))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(images.dtype) / 127.5 - 1


def snapped(images: Tensor, domain: Domain) -> Tensor:
    """Replace every pixel of label maps by the nearest class of their palette, encoded as networks see it."""
    labels = domain.labels
    assert labels is not None
    pixels = images.permute(0, 2, 3, 1).numpy()
    maps = [encoded(classes_of(from_signed(image, domain), labels), labels) for image in pixels]
    return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2).to(images.dtype) / 127.5 - 1


def _unit_noise(shape: Sequence[int], number: int, seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
