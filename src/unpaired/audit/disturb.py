"""Disturbances of an image: what happens to a translation between two programs, or less than anybody can see.

All take and return [N, C, H, W] in [-1, 1] on the CPU. Strengths are in levels: 1/255 of the range of values, which is
one step of an 8-bit file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as nnf
from PIL import Image as PillowImage
from torch import Tensor

from unpaired.data.labels import classes_of, fed
from unpaired.data.values import Domain, from_signed

LEVEL = 2.0 / 255.0
"""One level in units of [-1, 1]."""

BITS = (8, 6, 4)
QUALITIES = (95, 90, 75, 50, 25)
EVERYDAY_QUALITY = 75
"""The JPEG quality that many programs write when nobody chooses one, Pillow among them."""
BLURS = (0.25, 0.5, 1.0, 2.0)
NOISES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
INVISIBLE_NOISE = 2.0
"""Levels of noise that nobody sees: 42 dB. The headline figure is measured at this strength."""
INVISIBLE_DB = 40.0
"""A change of this PSNR or more counts as invisible."""

Family = Literal["none", "bits", "noise", "jpeg", "blur", "snap"]
Change = Callable[[Tensor, Sequence[int]], Tensor]
"""From images [N, C, H, W] and their numbers to the disturbed images; the numbers choose the noise."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way to disturb an image, at one strength."""

    family: Family
    strength: float
    """Levels for noise, pixels for blur, quality for JPEG, bits that remain for bits; 0 for the others."""
    title: str


NONE = Disturbance("none", 0.0, "none")
SNAP = Disturbance("snap", 0.0, "snapped to the palette")
HEADLINE = Disturbance("noise", INVISIBLE_NOISE, f"noise of {INVISIBLE_NOISE:g} levels")


def disturbances_for(target: Domain) -> tuple[list[Disturbance], list[str]]:
    """Return the disturbances that translations into a domain can undergo, the mildest of a kind first, and notices.

    JPEG holds 8 bits and one or three channels; elsewhere it is left out, and a notice says so. Label maps are snapped
    to their palette too, which leaves nothing but the classes.
    """
    found = [NONE]
    found += [Disturbance("bits", bits, f"{bits} bits per value") for bits in BITS]
    found += [Disturbance("noise", level, f"noise of {level:g} level{'' if level == 1 else 's'}") for level in NOISES]
    notices = []
    if fits_jpeg(target):
        found += [Disturbance("jpeg", quality, f"JPEG of quality {quality}") for quality in QUALITIES]
    else:
        notices.append(
            "JPEG is left out: it holds values from 0 to 255 in 1 or 3 channels, and the translations have "
            f"{target.channels} channel{'s' if target.channels > 1 else ''} of {target.dtype}"
            f"{'' if target.range is None else f' from {target.range[0]:g} to {target.range[1]:g}'}"
        )
    found += [Disturbance("blur", sigma, f"blur of {sigma:g} px") for sigma in BLURS]
    if target.labels is not None:
        found.append(SNAP)
    return found, notices


def fits_jpeg(domain: Domain) -> bool:
    """Say whether images of a domain can be JPEG files: 8 bits, one or three channels."""
    return domain.dtype == "uint8" and domain.range is None and domain.channels in (1, 3)


def change_of(disturbance: Disturbance, domain: Domain, seed: int) -> Change | None:
    """Return the function that disturbs images of a domain; None where such images cannot be disturbed so."""
    strength = disturbance.strength
    match disturbance.family:
        case "none":
            return lambda images, numbers: images
        case "bits":
            return lambda images, numbers: quantised(images, int(strength))
        case "noise":
            return lambda images, numbers: noisy(images, strength, numbers, seed)
        case "blur":
            return lambda images, numbers: blurred(images, strength)
        case "jpeg":
            return (lambda images, numbers: jpeg_coded(images, int(strength))) if fits_jpeg(domain) else None
        case "snap":
            return (lambda images, numbers: snapped(images, domain)) if domain.labels is not None else None


def quantised(images: Tensor, bits: int) -> Tensor:
    """Round to 2^bits values, evenly from -1 to 1; 8 is what an ordinary file does."""
    steps = (1 << bits) - 1
    return (((images.clamp(-1, 1) + 1) * (steps / 2)).round() * (2 / steps) - 1).clamp(-1, 1)


def noisy(images: Tensor, levels: float, numbers: Sequence[int], seed: int) -> Tensor:
    """Add Gaussian noise of a standard deviation in levels, cut to [-1, 1] as any file would.

    The noise of an image follows from (seed, number of the image) alone, whatever the batch, and is the same at every
    strength but for the factor, so that a curve over strengths is smooth.
    """
    added = torch.stack([_unit_noise(images.shape[1:], number, seed) for number in numbers])
    return (images + added * (levels * LEVEL)).clamp(-1, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian of `sigma` pixels, integrated over each pixel and cut at 4 sigma; borders repeat."""
    radius = max(1, math.ceil(4 * sigma))
    # Sampled at whole pixels, a Gaussian of a quarter of a pixel would be no blur at all.
    edges = (torch.arange(2 * radius + 2, dtype=torch.float64) - radius - 0.5) / (sigma * math.sqrt(2))
    weights = torch.erf(edges).diff()
    kernel = (weights / weights.sum()).to(images.dtype)
    channels = images.shape[1]
    across = nnf.pad(images, (radius, radius, radius, radius), mode="replicate")
    across = nnf.conv2d(across, kernel.expand(channels, 1, 1, -1), groups=channels)
    return nnf.conv2d(across, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)


def jpeg_coded(images: Tensor, quality: int) -> Tensor:
    """Write real JPEG files (Pillow, colour not subsampled) of images with 1 or 3 channels, and read them."""
    levels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    read = []
    for image in levels:
        content = io.BytesIO()
        picture = PillowImage.fromarray(image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image))
        picture.save(content, "JPEG", quality=quality, subsampling=0)
        read.append(np.asarray(PillowImage.open(content)).reshape(image.shape))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).to(images.dtype) / 127.5 - 1


def snapped(images: Tensor, domain: Domain) -> Tensor:
    """Put the nearest class of the palette in place of every pixel of label maps, in the form that networks see."""
    labels = domain.labels
    assert labels is not None
    pixels = images.permute(0, 2, 3, 1).numpy()
    maps = [fed(classes_of(from_signed(image, domain), labels), labels) for image in pixels]
    return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2).to(images.dtype) / 127.5 - 1


def _unit_noise(shape: Sequence[int], number: int, seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
