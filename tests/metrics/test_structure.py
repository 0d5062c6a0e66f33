"""Structure distances against definitions done plainly, and images whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import sobel
from torch import Tensor

from unpaired.metrics.structure import edge_distance, self_similarity


def _random(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _by_definition(x: np.ndarray, y: np.ndarray) -> float:
    def matrix(maps: np.ndarray) -> np.ndarray:
        positions = [maps[:, i, j] for i in range(maps.shape[1]) for j in range(maps.shape[2])]
        return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in positions] for a in positions])

    return float(((matrix(x) - matrix(y)) ** 2).mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(0, 10**6))
def test_self_similarity_against_its_definition(dim: int, height: int, width: int, seed: int) -> None:
    x, y = _random(seed, 2, dim, height, width).double(), _random(seed + 1, 2, dim, height, width).double()
    found = self_similarity(x, y)
    expected = [_by_definition(a.numpy(), b.numpy()) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(self_similarity(y, x), found)
    assert bool(((found >= 0) & (found <= 4)).all())


def test_self_similarity_by_hand() -> None:
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # two positions at right angles
    y = torch.tensor([[[[1.0, 5.0]], [[0.0, 0.0]]]])  # the same direction twice
    assert self_similarity(x, y).tolist() == [0.5]  # 0 against 1 in two places of four
    assert self_similarity(x, 3 * x).tolist() == [0]
    nothing = torch.zeros(1, 2, 1, 2)
    assert self_similarity(x, nothing).tolist() == [0.5]  # the diagonal of ones is missing


def test_structure_does_not_depend_on_what_features_mean() -> None:
    x = _random(0, 2, 4, 6, 6)
    rotation = torch.linalg.qr(_random(1, 4, 4))[0]
    turned = torch.einsum("de,nehw->ndhw", rotation, x)
    torch.testing.assert_close(self_similarity(x, turned), torch.zeros(2), rtol=0, atol=1e-10)
    assert bool((self_similarity(x, x.flip(3)) > 0.01).all())


def test_large_maps_are_pooled() -> None:
    x, y = _random(2, 1, 3, 64, 16), _random(3, 1, 3, 64, 16)
    pooled = [torch.nn.functional.avg_pool2d(maps, (2, 1)) for maps in (x, y)]
    torch.testing.assert_close(self_similarity(x, y), self_similarity(pooled[0], pooled[1]))


def test_edges_against_scipy_and_numpy() -> None:
    x, y = _random(4, 3, 3, 20, 17), _random(5, 3, 3, 20, 17)
    for a, b, found in zip(x.numpy(), y.numpy(), edge_distance(x, y), strict=True):
        edges = []
        for image in (a, b):
            grey = np.tensordot([0.299, 0.587, 0.114], image.astype(np.float64), 1)
            edges.append(np.hypot(sobel(grey, 0), sobel(grey, 1))[1:-1, 1:-1].ravel())
        assert float(found) == pytest.approx(1 - np.corrcoef(*edges)[0, 1], abs=1e-5)


def test_edges_do_not_depend_on_brightness_contrast_or_sign() -> None:
    x = _random(6, 2, 1, 16, 16)
    for same in (x, -x, 0.3 * x + 0.5):
        torch.testing.assert_close(edge_distance(x, same), torch.zeros(2), rtol=0, atol=1e-5)
    assert bool((edge_distance(x, x.flip(3)) > 0.5).all())


def test_channels_may_differ() -> None:
    x = _random(7, 2, 1, 16, 16)
    for channels in (2, 3, 4):
        torch.testing.assert_close(edge_distance(x, x.expand(-1, channels, -1, -1)), torch.zeros(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_edges_have_numbers(channels: int) -> None:
    grey = torch.full((1, channels, 12, 12), 0.1)
    ramp = torch.linspace(-1, 1, 12).expand(1, channels, 12, 12)  # the same slope everywhere
    other = _random(8, 1, channels, 12, 12)
    assert edge_distance(grey, -grey).tolist() == [0]
    assert edge_distance(grey, ramp).tolist() == [0]
    assert edge_distance(grey, other).tolist() == [1]
    assert edge_distance(other, ramp).tolist() == [1]


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 12), st.integers(4, 12), st.integers(0, 10**6))
def test_edges_are_symmetric_within_their_range_and_apart_from_batches(height: int, width: int, seed: int) -> None:
    x, y = _random(seed, 3, 3, height, width), _random(seed + 1, 3, 3, height, width)
    found = edge_distance(x, y)
    assert bool(((found >= 0) & (found <= 2)).all())
    torch.testing.assert_close(edge_distance(y, x), found, rtol=0, atol=1e-5)
    torch.testing.assert_close(edge_distance(x[1:2], y[1:2]), found[1:2], rtol=0, atol=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"features of different shapes .*\[1, 3, 8, 8\] and \[1, 3, 8, 9\]"):
        self_similarity(x, torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="two positions"):
        self_similarity(x[..., :1, :1], x[..., :1, :1])
    with pytest.raises(ValueError, match="first features hold values that are not finite"):
        self_similarity(x * torch.nan, x)
    with pytest.raises(ValueError, match=r"different sizes .*\[1, 3, 8, 8\] and \[2, 3, 8, 8\]"):
        edge_distance(x, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="at least 4x4 pixels; received 8x3"):
        edge_distance(x[..., :3, :], x[..., :3, :])
    with pytest.raises(ValueError, match="second images hold values that are not finite"):
        edge_distance(x, x / 0)
