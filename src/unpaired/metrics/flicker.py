"""Flicker of a translated clip: how far frames differ from the frames before them, moved as the input moves.

The measure is the warping error of Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), with the
optical flow of Lucas and Kanade (1981) on a pyramid, in place of a network's.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

WORKING_SIZE = 256
"""Motion is found at this shorter side, and enlarged."""
_WINDOW, _STEPS, _COARSEST = 9, 3, 16
"""Pixels over which motion is taken for constant, steps a level, and the shorter side at which the pyramid ends."""
_NOISE = 1e-4
"""Squared gradients below this tell no motion; values lie in [-1, 1]."""


class Motion(NamedTuple):
    """Where the pixels of a frame were in the one before."""

    flow: Tensor
    """[1, 2, H, W]: pixels to the right and down from a position in this frame to the one in the frame before."""
    seen: Tensor
    """[1, 1, H, W] in [0, 1]: 1 where the frame before shows the same, 0 where it was hidden or outside."""


def motion(before: Tensor, frame: Tensor) -> Motion:
    """Return the motion between two frames [1, C, H, W] in [-1, 1].

    A pixel is seen where the way back leads to it again (within half a pixel and 5 % of the way) and where the moved
    frame before looks alike; so it is nowhere seen across a cut.
    """
    height, width = frame.shape[-2:]
    grey = [image.float().mean(1, keepdim=True) for image in (before, frame)]
    if (factor := WORKING_SIZE / min(height, width)) < 1:
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        grey = [F.interpolate(image, size, mode="area") for image in grey]
    flow, back = _flow(grey[1], grey[0]), _flow(grey[0], grey[1])
    error = (flow + warped(back, flow)).norm(dim=1, keepdim=True)
    alike = _blurred((grey[1] - warped(grey[0], flow)).abs(), 5)
    within = warped(torch.ones_like(grey[0]), flow, outside="zeros") > 0.999
    seen = within & (error < 0.5 + 0.05 * flow.norm(dim=1, keepdim=True)) & (alike < 0.1)
    scale = torch.tensor([width / flow.shape[-1], height / flow.shape[-2]]).view(1, 2, 1, 1)
    flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False) * scale.to(flow)
    return Motion(flow, F.interpolate(seen.float(), (height, width), mode="bilinear", align_corners=False))


def warped(image: Tensor, flow: Tensor, *, outside: str = "border") -> Tensor:
    """Return an image [1, C, H, W] taken from where the flow points, bilinear."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x, y]).to(flow)[None] + flow
    size = torch.tensor([width, height]).view(1, 2, 1, 1).to(flow)
    grid = ((2 * places + 1) / size - 1).permute(0, 2, 3, 1)
    return F.grid_sample(image.to(flow), grid, mode="bilinear", padding_mode=outside, align_corners=False)


@final
class Flicker:
    """Gathers the flicker of clips, frame by frame."""

    def __init__(self) -> None:
        self.frames = 0
        """Pairs of neighbouring frames so far."""
        self._input = self._translation = self._pixels = 0.0

    def add(self, moved: Motion, inputs: tuple[Tensor, Tensor], translations: tuple[Tensor, Tensor]) -> None:
        """Take in a pair of neighbouring frames, each (before, frame) [1, C, H, W] in [-1, 1]."""
        seen = float(moved.seen.sum())
        if seen == 0:
            return
        self._input += _difference(moved, *inputs)
        self._translation += _difference(moved, *translations)
        self._pixels += seen
        self.frames += 1

    @property
    def ratio(self) -> float | None:
        """The warping error of the translations over that of their inputs; 1 is no more than the input's own."""
        return self._translation / self._input if self._input else None

    @property
    def levels(self) -> tuple[float, float] | None:
        """The mean absolute warping errors of inputs and translations in levels of 255."""
        if not self._pixels:
            return None
        return 127.5 * self._input / self._pixels, 127.5 * self._translation / self._pixels


def _difference(moved: Motion, before: Tensor, frame: Tensor) -> float:
    error = (frame.float() - warped(before, moved.flow)).abs().mean(1, keepdim=True)
    return float((error * moved.seen).sum())


def _flow(frame: Tensor, other: Tensor) -> Tensor:
    """Return the flow [1, 2, H, W] that takes pixels of a grey frame to those of another, by least squares."""
    pyramid = [(frame, other)]
    while min(pyramid[-1][0].shape[-2:]) >= 2 * _COARSEST:
        finest = pyramid[-1]
        pyramid.append((F.avg_pool2d(finest[0], 2), F.avg_pool2d(finest[1], 2)))
    flow = torch.zeros(1, 2, *pyramid[-1][0].shape[-2:], device=frame.device)
    for level, seen in reversed(pyramid):
        if flow.shape[-2:] != level.shape[-2:]:
            flow = 2 * F.interpolate(flow, level.shape[-2:], mode="bilinear", align_corners=False)
        padded = F.pad(level, (1, 1, 1, 1), mode="replicate")
        gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        xx, xy, yy = (_blurred(product) for product in (gx * gx, gx * gy, gy * gy))
        xx, yy = xx + _NOISE, yy + _NOISE
        determinant = xx * yy - xy * xy
        for _ in range(_STEPS):
            rest = level - warped(seen, flow)
            x, y = _blurred(gx * rest), _blurred(gy * rest)
            step = torch.cat([yy * x - xy * y, xx * y - xy * x], 1) / determinant
            flow = _blurred(flow + step.clamp(-1, 1), 5)
    return flow


def _blurred(image: Tensor, size: int = _WINDOW) -> Tensor:
    return F.avg_pool2d(image, size, 1, size // 2, count_include_pad=False)
