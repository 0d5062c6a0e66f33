"""Motion between frames, and what flickers along it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from unpaired.metrics.flicker import Flicker, motion


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a picture with detail of many sizes, in [-0.8, 0.8]."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    picture = sum(size * ndimage.gaussian_filter(noise, size) for size in (1.5, 3, 6, 12))
    return 0.8 * picture / np.abs(picture).max()


def view(picture: np.ndarray, down: float, right: float, size: int = 128) -> Tensor:
    """Return a window [1, 3, size, size] that begins at a position between pixels."""
    y, x = np.mgrid[:size, :size]
    values = ndimage.map_coordinates(picture, [y + down, x + right], order=1).astype(np.float32)
    return torch.from_numpy(np.stack([values, 0.9 * values, 0.8 * values])[None])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (-2, 3.5), (0.5, -1.25), (6, 9)])
def test_motion_of_a_moved_window(down: float, right: float) -> None:
    picture = textured(200, 200)
    moved = motion(view(picture, 30, 30), view(picture, 30 + down, 30 + right))
    seen = moved.seen > 0.5
    assert seen.float().mean() > 0.6
    for found, true in zip(moved.flow[0], (right, down), strict=True):
        assert abs(float(found[seen[0, 0]].median()) - true) < 0.15


def test_nothing_is_seen_across_a_cut() -> None:
    moved = motion(view(textured(200, 200), 30, 30), view(textured(200, 200, 1), 30, 30))
    assert moved.seen.mean() < 0.15


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (300, 20)])
def test_any_size(size: tuple[int, int]) -> None:
    moved = motion(torch.zeros(1, 1, *size), torch.zeros(1, 1, *size))
    assert moved.flow.shape == (1, 2, *size)
    assert moved.flow.abs().max() == 0


def test_flicker_counts_what_moves_with_the_input_for_nothing() -> None:
    picture, found = textured(200, 200), {"same": Flicker(), "darker": Flicker(), "flickering": Flicker()}
    noise = torch.Generator().manual_seed(0)
    frames = [view(picture, 20, 20 + 1.5 * t) for t in range(5)]
    frames = [frame + 0.02 * torch.randn(frame.shape, generator=noise) for frame in frames]
    for t in range(1, 5):
        x = (frames[t - 1], frames[t])
        moved = motion(*x)
        found["same"].add(moved, x, x)
        found["darker"].add(moved, x, (0.5 * x[0] - 0.3, 0.5 * x[1] - 0.3))
        found["flickering"].add(moved, x, (x[0] + 0.05 * (-1) ** t, x[1] - 0.05 * (-1) ** t))
    assert found["same"].ratio == pytest.approx(1)
    assert found["darker"].ratio == pytest.approx(0.5)
    levels = found["flickering"].levels
    assert levels is not None
    assert levels[1] - levels[0] > 0.06 * 127.5
    assert Flicker().ratio is None
    assert Flicker().levels is None
