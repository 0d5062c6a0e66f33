"""How far an engine's results lie from those of float32 PyTorch: measured on fixed pictures, never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unpaired.models.padding import crop_back, pad_to
from unpaired.networks import Generator

Run = Callable[[Tensor], Tensor]
"""From [N, C, H, W] to [N, C', H, W], float32 in [-1, 1], of any size."""
SIZES = ((128, 128), (96, 131), (64, 40))
"""(height, width) of the pictures on which engines are compared: square, odd, and small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """Differences from float32 PyTorch (eager, on the CPU), in units of the range [-1, 1], which is 2 wide."""

    largest: float
    """Largest absolute difference of any value."""
    typical: float
    """Mean absolute difference."""
    psnr: float
    """Peak signal-to-noise ratio in dB of the image that fares worst; infinite where nothing differs."""

    def __str__(self) -> str:
        if self.largest == 0:
            return "equals float32"
        return (
            f"differs from float32 by at most {self.largest:.2g}, typically {self.typical:.2g} in a range of 2 "
            f"(PSNR {self.psnr:.1f} dB)"
        )

    def to_json(self) -> dict[str, float | None]:
        """Return plain JSON data; an infinite PSNR becomes null."""
        return {**asdict(self), "psnr": None if math.isinf(self.psnr) else self.psnr}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Exactness:
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        psnr = math.inf if data["psnr"] is None else float(data["psnr"])
        return cls(largest=float(data["largest"]), typical=float(data["typical"]), psnr=psnr)


EXACT = Exactness(largest=0.0, typical=0.0, psnr=math.inf)
"""Of the reference itself."""


def fixed_pictures(channels: int, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Tensor]:
    """Return fixed pictures [1, channels, H, W] in [-1, 1], and one of noise.

    A picture has what photos have and noise has not: smooth shading, edges, flat parts and a little texture.
    """
    rng = np.random.default_rng(20260101)
    pictures = [_picture(rng, channels, height, width) for height, width in sizes]
    noise = rng.uniform(-1, 1, (1, channels, *sizes[-1]))
    return [torch.from_numpy(picture.astype(np.float32)) for picture in (*pictures, noise)]


def _picture(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    down, right = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = np.empty((1, channels, height, width))
    for channel in range(channels):
        across, along, phase = rng.uniform(-4, 4, 3)
        shading = 0.6 * np.sin(across * down + along * right + phase)
        picture[0, channel] = shading + rng.normal(0, 0.03, (height, width))
    disc = (down - 0.4) ** 2 + (right - 0.6) ** 2 < 0.06
    picture[0, :, disc] = rng.uniform(-1, 1, channels)
    box = (down > 0.65) & (down < 0.9) & (right > 0.1) & (right < 0.45)
    picture[0, :, box] *= -0.7
    return np.clip(picture, -1, 1)


def reference(network: Generator) -> Run:
    """Return what everything is compared with: the network as it is, which lies on the CPU in float32, run eagerly."""

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            padded, size = pad_to(images, network.size_multiple, network.minimum_size)
            return crop_back(network(padded), size)

    return run


def compare(run: Run, expected: Run, images: Sequence[Tensor]) -> Exactness:
    """Translate the images both ways and return how far the results lie apart; what is not finite counts as 2."""
    largest = total = 0.0
    count, psnr = 0, math.inf
    for image in images:
        difference = (run(image).double() - expected(image).double()).abs().nan_to_num(2.0, posinf=2.0)
        largest = max(largest, float(difference.max()))
        total += float(difference.sum())
        count += difference.numel()
        mean_square = float(difference.square().mean())
        psnr = min(psnr, 10 * math.log10(4 / mean_square) if mean_square else math.inf)
    return Exactness(largest=largest, typical=total / count, psnr=psnr)
