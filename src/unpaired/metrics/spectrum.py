"""What images hold at which frequency: the radial power spectrum, and the share of energy that is fine detail.

Frequencies are cycles per pixel divided by 1/2, so that 1 is Nyquist's, the finest that a row of pixels can show; along
diagonals they go up to the square root of 2. The mean of each channel is taken away and a Hann window laid over the
image first, so that neither the brightness nor a jump between opposite borders is taken for detail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unpaired.metrics.inputs import checked_images

FLAT = 1e-12
"""Power per pixel below this is rounding error: the image is constant."""


def radial_spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return frequencies [K] up to 1 (Nyquist) and the power at each, [K], of images [N, C, H, W].

    The power is the mean over images, channels and all frequencies of a ring of the width 1 / K, where K is half the
    shorter side. It is scaled so that white noise has its variance at every frequency but the lowest, which misses what
    the window spread there of the mean. Both are double precision and on the CPU.
    Raises `ValueError` for images below 2x2 pixels or values that are not finite.
    """
    images = checked_images(images)
    rings = min(images.shape[-2:]) // 2
    if rings < 1:
        raise ValueError(f"a spectrum needs images of at least 2x2 pixels; received {list(images.shape)}")
    power = _power(images).mean((0, 1))
    ring = (_radius(power.shape) * rings).round().long()
    within = (ring >= 1) & (ring <= rings)
    count = torch.bincount(ring[within], minlength=rings + 1)[1:]
    total = torch.bincount(ring[within], weights=power[within], minlength=rings + 1)[1:]
    return torch.arange(1, rings + 1, dtype=torch.float64) / rings, total / count


def high_frequency_share(images: Tensor, cutoff: float = 0.5) -> Tensor:
    """Return the share of the energy above `cutoff` x Nyquist of each image [N, C, H, W]: [N], in [0, 1].

    The energy is the power summed over channels and all frequencies but the mean, the diagonal ones above Nyquist
    included. A constant image has the share 0. Double precision, on the CPU.
    Raises `ValueError` for a cutoff outside of [0, sqrt(2)] or values that are not finite.
    """
    if not 0 <= cutoff <= 2**0.5:
        raise ValueError(f"cutoff is a share of Nyquist's frequency, 0 .. sqrt(2); received {cutoff}")
    power = _power(checked_images(images))
    radius = _radius(power.shape[-2:])
    energy = power.sum(1)
    whole = energy.sum((1, 2))
    high = energy[:, radius > cutoff].sum(1)
    flat = whole / (energy[0].numel() * power.shape[1]) < FLAT
    return torch.where(flat, torch.zeros_like(whole), high / whole.clamp(min=FLAT))


def _power(images: Tensor) -> Tensor:
    """Return the squared magnitude of every frequency, [N, C, H, W], divided by the energy of the window."""
    # The ends of a Hann window are zero and left out, so that every pixel counts a little.
    tall, wide = (
        torch.hann_window(size + 2, periodic=False, dtype=images.dtype, device=images.device)[1:-1]
        for size in images.shape[-2:]
    )
    window = tall[:, None] * wide
    mean = (images * window).sum((2, 3), keepdim=True) / window.sum()
    power: Tensor = torch.fft.fft2((images - mean) * window).abs().square() / window.square().sum()
    return power.double().cpu()


def _radius(shape: torch.Size) -> Tensor:
    """Return the frequency of every place of a transform [H, W], where 1 is Nyquist's."""
    down, across = (2 * torch.fft.fftfreq(size, dtype=torch.float64) for size in shape)
    return torch.hypot(down[:, None], across)
