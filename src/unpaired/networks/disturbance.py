"""What an image suffers on its way through the world, made differentiable: noise and JPEG.

CycleGAN can hide in a translation what it needs to undo it, in detail that nobody sees (Chu, Zhmoginov, Sandler 2017,
arXiv:1712.02950). Detail that does not survive between the two generators cannot be relied on.
"""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.networks.base import without_autocast

BLOCK = 8
"""Side of JPEG's blocks."""
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
"""Steps of quantisation at quality 50: ITU-T T.81, annex K."""
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
"""Of red, green and blue; blue and red differences lie around 128 (JFIF)."""
FROM_YCBCR = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


@final
class Disturbance(nn.Module):
    """Adds noise to an image, then compresses it; differentiable, [N, C, H, W] in [-1, 1] to the same.

    `noise` is the standard deviation in levels of 0..255, `jpeg` the quality from 1 to 100; 0 and None leave them out.
    It has no parameters and no state.
    """

    def __init__(self, channels: int, *, noise: float = 0.0, jpeg: int | None = None) -> None:
        super().__init__()
        self.noise = noise
        self.jpeg = None if jpeg is None else Jpeg(channels, jpeg)

    def forward(self, image: Tensor) -> Tensor:
        if self.noise:
            # Not clamped: F sees [-1, 1] and a little beyond, and keeps its gradient at the ends.
            image = image + torch.randn_like(image) * (self.noise / 127.5)
        return image if self.jpeg is None else self.jpeg(image)


@final
class Jpeg(nn.Module):
    """Baseline JPEG, coded and decoded, 1 or 3 channels, 4:2:0 as most programs write it; differentiable.

    Rounding and clamping pass the gradient straight through (Bengio et al. 2013). Arithmetic is in
    float32, where programs use whole numbers, so results differ from theirs by a level here and there.
    """

    def __init__(self, channels: int, quality: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UserError(
                f"JPEG holds images of 1 or 3 channels; these have {channels}. Disturb them by noise in place of it."
            )
        self.channels, self.quality = channels, quality
        self.register_buffer("transform", _cosines(), persistent=False)
        for name, table in (("luminance", LUMINANCE), ("chrominance", CHROMINANCE)):
            self.register_buffer(name, quantisation(table, quality), persistent=False)
        self.register_buffer("to_ycbcr", torch.tensor(TO_YCBCR), persistent=False)
        self.register_buffer("from_ycbcr", torch.tensor(FROM_YCBCR), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return what a decoder gives back; of any size, the borders are repeated to full blocks."""
        with without_autocast(image):  # steps of 1/255 are lost in half precision
            levels = _to_levels((image.float() + 1) * 127.5)
            buffers = dict(self.named_buffers())
            grey = self.channels == 1
            decoded = self._code(levels, buffers["luminance"]) if grey else self._colour(levels, buffers)
            result: Tensor = _to_levels(decoded) / 127.5 - 1
        return result.to(image.dtype)

    def _colour(self, levels: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        height, width = levels.shape[-2:]
        planes = _rounded(torch.einsum("kc,nchw->nkhw", buffers["to_ycbcr"], levels))
        luma = self._code(planes[:, :1], buffers["luminance"])
        colour = _rounded(nnf.avg_pool2d(_padded(planes[:, 1:], 2), 2))
        # Differences lie around 128 in the file and around 0 here, where `_code` would subtract 128.
        colour = self._code(colour + 128, buffers["chrominance"]) - 128
        colour = _doubled(_doubled(colour, 2), 3)[..., :height, :width]
        return torch.einsum("kc,nchw->nkhw", buffers["from_ycbcr"], torch.cat([luma, colour], 1))

    def _code(self, plane: Tensor, steps: Tensor) -> Tensor:
        height, width = plane.shape[-2:]
        whole = _padded(plane - 128, BLOCK)
        rows, columns = whole.shape[-2] // BLOCK, whole.shape[-1] // BLOCK
        blocks = whole.reshape(*whole.shape[:2], rows, BLOCK, columns, BLOCK).transpose(3, 4)
        transform = dict(self.named_buffers())["transform"]
        # libjpeg transforms to eighths; without that, ties between two steps fall here one way and there the other.
        frequencies = _rounded(transform @ blocks @ transform.T * 8) / 8
        blocks = transform.T @ (_rounded(frequencies / steps) * steps) @ transform
        back = blocks.transpose(3, 4).reshape(whole.shape)
        return _to_levels(back[..., :height, :width] + 128)


def quantisation(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Return the steps of a table at a quality from 1 to 100, by the rule of the Independent JPEG Group's library."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = [[min(max((step * percent + 50) // 100, 1), 255) for step in row] for row in table]
    return torch.tensor(scaled, dtype=torch.float32)


def _cosines() -> Tensor:
    def entry(k: int, n: int) -> float:
        return math.sqrt((1 if k == 0 else 2) / BLOCK) * math.cos(math.pi * (2 * n + 1) * k / (2 * BLOCK))

    return torch.tensor([[entry(k, n) for n in range(BLOCK)] for k in range(BLOCK)])


def _rounded(values: Tensor) -> Tensor:
    """Round, halves away from zero as libjpeg does; the gradient is that of the values as they were."""
    rounded = values.sign() * (values.abs() + 0.5).floor()
    return values + (rounded - values).detach()


def _doubled(plane: Tensor, dim: int) -> Tensor:
    """Interpolate to twice the length as libjpeg does: 3/4 of the nearest sample and 1/4 of the next; ends repeated.

    The same as bilinear interpolation, whose gradient on CUDA is not deterministic.
    """
    length = plane.shape[dim]
    before = torch.cat([plane.narrow(dim, 0, 1), plane.narrow(dim, 0, length - 1)], dim)
    after = torch.cat([plane.narrow(dim, 1, length - 1), plane.narrow(dim, length - 1, 1)], dim)
    pairs = torch.stack([(3 * plane + before) / 4, (3 * plane + after) / 4], dim + 1)
    return pairs.flatten(dim, dim + 1)


def _to_levels(values: Tensor) -> Tensor:
    """Round and clamp to 0..255, as a file does; the gradient is that of the values as they were."""
    return values + (values.round().clamp(0, 255) - values).detach()


def _padded(plane: Tensor, multiple: int) -> Tensor:
    height, width = plane.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return nnf.pad(plane, (0, right, 0, below), mode="replicate") if below or right else plane


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian of `sigma` pixels, integrated over each pixel and cut at 4 sigma; borders repeat."""
    radius = max(1, math.ceil(4 * sigma))
    # Sampled at whole pixels, a Gaussian of a quarter of a pixel would be no blur at all.
    edges = (torch.arange(2 * radius + 2, dtype=torch.float64) - radius - 0.5) / (sigma * math.sqrt(2))
    weights = torch.erf(edges).diff()
    kernel = (weights / weights.sum()).to(images.dtype)
    channels = images.shape[1]
    padded = nnf.pad(images, (radius, radius, radius, radius), mode="replicate")
    padded = nnf.conv2d(padded, kernel.expand(channels, 1, 1, -1), groups=channels)
    return nnf.conv2d(padded, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)
