"""3 x 3 convolution behind reflection padding in a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3).

"Fast Algorithms for Convolutional Neural Networks", Lavin and Gray 2016: tiles of 6 x 6 inputs are transformed to 36
values (section 4.1), channels are mixed by one matrix product for each of them, and the result is transformed back to
4 x 4 outputs. The interpolation points 0, +-sqrt(1/2), +-sqrt(2) and infinity, in place of the paper's 0, +-1, +-2,
halve the rounding error in float32; it is about five times that of the direct convolution, below 1e-6 of the values.
Gradients are the transposed operations. Feature maps are channels_last: what moves tiles then moves runs of channels.

In bfloat16 transforms and products round to 8 bits: one layer's error is five times that of the direct convolution,
that of a whole ResNet-9 in bfloat16 less than twice.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TILE = 4
"""Outputs of a tile, in each direction."""
AT_ONCE = 256
"""Tiles that are computed at once where nothing is kept for a gradient, which bounds the memory of large images."""
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5))


@cache
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of a tile [36, 36], a kernel [36, 9] and a result [16, 36], both directions in one.

    By the construction of Toom and Cook: polynomials are evaluated at the points, multiplied there, and interpolated.
    """
    points = np.array(POINTS)
    result = np.vander(np.append(points, 0.0), TILE, increasing=True).T
    result[:, -1] = 0.0, 0.0, 0.0, 1.0  # the point at infinity: the highest coefficient
    others = [np.delete(points, place) for place in range(len(points))]
    kernel = [points[place] ** np.arange(3) / np.prod(points[place] - rest) for place, rest in enumerate(others)]
    tile = [np.append(np.poly(rest)[::-1], 0.0) for rest in others]
    one_way = np.array([*tile, np.poly(points)[::-1]]), np.array([*kernel, [0.0, 0.0, 1.0]]), result
    tiles, kernels, results = (torch.from_numpy(np.kron(each, each)).float() for each in one_way)
    return tiles, kernels, results


@lru_cache(maxsize=16)
def _places(batch: int, height: int, width: int) -> Tensor:
    """Return which row of [N * H * W, C] each value of the tiles [N, tiles down, tiles across, 6, 6] is."""

    def line(size: int) -> Tensor:
        place = (TILE * torch.arange(-(-size // TILE))[:, None] + torch.arange(6) - 1).abs()
        return torch.where(place < size, place, 2 * size - 2 - place).clamp(min=0)  # the last tile may reach beyond

    image = height * width * torch.arange(batch)[:, None, None, None, None]
    return (image + width * line(height)[:, None, :, None] + line(width)[:, None, :]).contiguous()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, kernels: Tensor, grad_enabled: bool
    ) -> Tensor:
        batch, channels, height, width = features.shape
        down, across = -(-height // TILE), -(-width // TILE)
        rows, places = features.permute(0, 2, 3, 1).reshape(-1, channels), _places(batch, height, width)
        size = batch, len(weight), height, width
        out = torch.empty(size, dtype=features.dtype, memory_format=torch.channels_last)
        for_gradient = grad_enabled and any(ctx.needs_input_grad)  # which weights do without it too
        lines = down if for_gradient else max(1, AT_ONCE // (batch * across))
        tiles, _, results = _transforms()
        for first in range(0, down, lines):
            values = _of_each(tiles, _gathered(rows, places[:, first : first + lines]))
            products = torch.bmm(values.transpose(0, 1), kernels.transpose(1, 2))
            found = _of_each(results, products.transpose(0, 1))
            if bias is not None:
                found += bias.to(found.dtype)
            placed = found.view(batch, -1, across, TILE, TILE, len(weight)).permute(0, 1, 3, 2, 4, 5)
            part = out.permute(0, 2, 3, 1)[:, TILE * first : TILE * (first + lines)]
            whole = placed.reshape(batch, -1, TILE * across, len(weight))
            part.copy_(whole[:, : part.shape[1], :width])
        if for_gradient:
            ctx.save_for_backward(values, kernels)
            ctx.size = batch, down, across, height, width
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        values, kernels = ctx.saved_tensors
        batch, down, across, height, width = ctx.size
        tiles, to_kernels, results = _transforms()
        given = gradient.permute(0, 2, 3, 1)
        if height % TILE or width % TILE:
            given = nnf.pad(given, (0, 0, 0, TILE * across - width, 0, TILE * down - height))
        given = given.reshape(batch, down, TILE, across, TILE, -1).transpose(2, 3).reshape(len(values), TILE * TILE, -1)
        products = _of_each(results.T, given).transpose(0, 1)
        weight = bias = features = None
        if ctx.needs_input_grad[1]:
            of_kernels = torch.bmm(products.transpose(1, 2), values.transpose(0, 1))
            weight = _of_each(to_kernels.T, of_kernels.transpose(0, 1)).float()
            weight = weight.transpose(1, 2).reshape(*kernels.shape[1:], 3, 3)
        if ctx.needs_input_grad[2]:
            bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        if ctx.needs_input_grad[0]:
            parts = _of_each(tiles.T, torch.bmm(products, kernels).transpose(0, 1))
            folded = _folded(parts.view(batch, down, across, 6, 6, -1))
            features = _unpadded(folded, height, width).permute(0, 3, 1, 2)
        return features, weight, bias, None, None


def _gathered(rows: Tensor, places: Tensor) -> Tensor:
    """Return the tiles [T, 36, C] that are made of these rows, in the memory order that suits `_of_each`."""
    places = places.reshape(-1, 36)
    if rows.dtype == torch.float32:
        return rows.index_select(0, places.reshape(-1)).view(*places.shape, -1)
    return rows.index_select(0, places.T.reshape(-1)).view(36, len(places), -1).transpose(0, 1)


def _of_each(transform: Tensor, tiles: Tensor) -> Tensor:
    """Apply a transform [M, K] to each of the tiles [T, K, C], in any memory order: [T, M, C].

    In float32 tile by tile, which works in a core's cache and takes half of the time of one large product. For bfloat16
    PyTorch would copy whatever is not contiguous, and one product is as fast.
    """
    if tiles.dtype == torch.float32:
        return torch.bmm(transform.expand(len(tiles), *transform.shape), tiles)
    side_by_side = tiles.transpose(0, 1).reshape(tiles.shape[1], -1)
    return (transform.to(tiles.dtype) @ side_by_side).view(-1, len(tiles), tiles.shape[2]).transpose(0, 1)


def _folded(tiles: Tensor) -> Tensor:
    """Add up tiles [N, tiles down, tiles across, 6, 6, C] that overlap by 2: [N, H', W', C] with borders."""
    batch, down, across, _, _, channels = tiles.shape
    tiles = tiles.transpose(2, 3)
    folded = tiles.new_zeros(batch, down + 1, TILE, across + 1, TILE, channels)
    folded[:, :-1, :, :-1] = tiles[:, :, :TILE, :, :TILE]
    folded[:, 1:, :2, :-1] += tiles[:, :, TILE:, :, :TILE]
    folded[:, :-1, :, 1:, :2] += tiles[:, :, :TILE, :, TILE:]
    folded[:, 1:, :2, 1:, :2] += tiles[:, :, TILE:, :, TILE:]
    return folded.view(batch, TILE * (down + 1), TILE * (across + 1), channels)


def _unpadded(padded: Tensor, height: int, width: int) -> Tensor:
    """Add the gradients of reflected borders to those of what they reflect: [N, H, W, C]."""
    padded[:, 2] += padded[:, 0]
    padded[:, height - 1] += padded[:, height + 1]
    padded[:, :, 2] += padded[:, :, 0]
    padded[:, :, width - 1] += padded[:, :, width + 1]
    return padded[:, 1 : height + 1, 1 : width + 1]


class Kernels:
    """The transformed weights of one convolution [K, C, 3, 3]: [36, K, C], made anew when PyTorch counts a change.

    It counts none by fused optimisers, after which new `Kernels` have to be taken.
    """

    def __init__(self) -> None:
        self._made: tuple[object, Tensor] | None = None

    def of(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return those of `weight` (float32); four times its values, shared by all calls of a training step."""
        state = weight.data_ptr(), weight.is_inference() or weight._version, dtype
        if self._made is None or self._made[0] != state or weight.is_inference():
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                made = (_transforms()[1] @ weight.view(-1, 9).T).view(36, *weight.shape[:2])
                self._made = state, made.to(dtype)
        return self._made[1]


def convolve_reflected(features: Tensor, convolution: nn.Conv2d, kernels: Kernels) -> Tensor:
    """Return `convolution` of [N, C, H, W], padded by 1 by reflection: [N, K, H, W] in channels_last.

    float32 or bfloat16 on the CPU, weights in float32; H and W at least 2; the convolution is 3 x 3 of stride 1, in one
    group, without padding.
    """
    weight, bias = convolution.weight, convolution.bias
    inputs = features, weight, bias, kernels.of(weight, features.dtype), torch.is_grad_enabled()
    return cast(Tensor, _Convolution.apply(*inputs))  # type: ignore[no-untyped-call]
