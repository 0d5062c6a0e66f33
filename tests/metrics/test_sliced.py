"""The sliced Wasserstein distance against the steps of the published script, done plainly, and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance
from torch import Tensor

from unpaired.metrics.sliced import Patches, laplacian_pyramid, level_sizes, sliced_wasserstein

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256


def _images(seed: int, shape: tuple[int, ...]) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(torch.rand(*shape[:2], 5, 5, generator=random), size=shape[2:])
    return (coarse + 0.3 * torch.rand(shape, generator=random)).clamp(0, 1) * 2 - 1


def _patches(images: Tensor, sizes: list[int] | None = None, **settings: int) -> Patches:
    patches = Patches(**settings)
    for part in images.split(sizes or len(images)):
        patches.add(part)
    return patches


def _plain_pyramid(images: np.ndarray, levels: int) -> list[np.ndarray]:
    """Blur and take every second pixel; put zeros between and blur: with scipy, as the authors did."""
    bands = [images]
    for _ in range(levels - 1):
        bands.append(convolve(bands[-1], BINOMIAL, mode="mirror")[..., ::2, ::2])
        widened = np.zeros_like(bands[-2])
        widened[..., ::2, ::2] = bands[-1]
        bands[-2] = bands[-2] - convolve(widened, BINOMIAL * 4, mode="mirror")
    return bands


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (37, 64), (62, 45), (63, 33), (16, 40)])
def test_the_pyramid_is_that_of_a_plain_convolution(size: tuple[int, int]) -> None:
    images = _images(0, (2, 3, *size)).double()
    bands = laplacian_pyramid(images)
    expected = _plain_pyramid(images.numpy(), len(bands))
    assert [min(band.shape[-2:]) for band in bands] == list(level_sizes(*size))
    for band, wanted in zip(bands, expected, strict=True):
        np.testing.assert_allclose(band.numpy(), wanted, rtol=0, atol=1e-12)


def test_levels_end_at_sixteen_pixels() -> None:
    assert level_sizes(256, 256) == (256, 128, 64, 32, 16)
    assert level_sizes(512, 64) == (64, 32, 16)
    assert level_sizes(31, 99) == (31, 16)
    assert level_sizes(30, 30) == (30,)
    assert level_sizes(15, 99) == ()


def test_descriptors_are_patches_of_the_bands() -> None:
    images = _images(1, (3, 2, 32, 40))
    patches = _patches(images, per_image=5)
    for band, size in zip(laplacian_pyramid(images), patches.sizes, strict=True):
        rows = patches.descriptors(size)
        assert rows.shape == (15, 2 * 49)
        assert size == min(band.shape[-2:])
        for number, row in enumerate(rows.reshape(15, 2, 7, 7)):
            own = band[number // 5].unfold(1, 7, 1).unfold(2, 7, 1)  # [C, H - 6, W - 6, 7, 7]
            same = (own == torch.from_numpy(row)[:, None, None]).all(0).all(-1).all(-1)
            assert bool(same.any())


def test_positions_reach_every_place() -> None:
    images = torch.arange(16.0 * 16).reshape(1, 1, 16, 16) / 128 - 1
    rows = _patches(images, per_image=3000).descriptors(16)
    corners = set(np.round((rows[:, 0] + 1) * 128).astype(int))
    assert corners == {16 * y + x for y in range(10) for x in range(10)}


@pytest.mark.parametrize(("first", "second"), [(4, 4), (4, 7)])
def test_the_distance_against_scipy_projection_by_projection(first: int, second: int) -> None:
    a, b = _patches(_images(2, (first, 3, 32, 32)), per_image=9), _patches(_images(3, (second, 3, 32, 32)), per_image=9)
    found = sliced_wasserstein(a, b, projections=70, seed=5)
    random = np.random.default_rng(5)
    expected = []
    for size in (32, 16):
        sets = []
        for patches in (a, b):
            rows = patches.descriptors(size).astype(np.float64).reshape(-1, 3, 7, 7)
            rows = rows - rows.mean((0, 2, 3), keepdims=True)
            sets.append((rows / rows.std((0, 2, 3), keepdims=True)).reshape(len(rows), -1))
        directions = random.standard_normal((70, 147))
        directions /= np.sqrt((directions**2).sum(1, keepdims=True))
        distances = [wasserstein_distance(sets[0] @ d, sets[1] @ d) for d in directions]
        expected.append((size, 1000 * float(np.mean(distances))))
    assert [level.size for level in found.levels] == [32, 16]
    np.testing.assert_allclose([level.value for level in found.levels], [v for _, v in expected], rtol=1e-5)
    assert found.mean == pytest.approx(np.mean([level.value for level in found.levels]), rel=1e-12)


def test_a_set_has_no_distance_to_itself_and_other_images_have_one() -> None:
    images = _images(4, (6, 3, 32, 32))
    same = sliced_wasserstein(_patches(images), _patches(images.clone()))
    assert same.mean == 0
    noisy = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert sliced_wasserstein(_patches(images), _patches(noisy)).mean > 20


def test_each_set_is_normalised_by_itself_as_published() -> None:
    images = _images(5, (4, 3, 32, 32)) / 2
    found = sliced_wasserstein(_patches(images), _patches(images * 1.5 + 0.2))
    assert found.mean < 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 60), st.integers(0, 1000))
def test_batches_do_not_matter(count: int, size: int, limit: int, seed: int) -> None:
    images = _images(seed, (count, 1, 32, 32))
    at_once = _patches(images, per_image=8, seed=seed, limit=limit)
    split = _patches(images, size, per_image=8, seed=seed, limit=limit)  # type: ignore[arg-type]
    for level in at_once.sizes:
        rows = at_once.descriptors(level)
        np.testing.assert_allclose(split.descriptors(level), rows, rtol=0, atol=1e-7)
        assert len(rows) == min(limit, 8 * count)


def test_symmetry_and_determinism() -> None:
    a, b = _patches(_images(6, (5, 3, 32, 32))), _patches(_images(7, (3, 3, 32, 32)))
    assert sliced_wasserstein(a, b) == sliced_wasserstein(a, b)
    assert sliced_wasserstein(a, b).mean == pytest.approx(sliced_wasserstein(b, a).mean, rel=1e-6)
    assert sliced_wasserstein(a, b, seed=1) != sliced_wasserstein(a, b)


def test_constant_images_give_numbers() -> None:
    grey, other = torch.full((2, 3, 32, 32), 0.3), torch.full((2, 3, 32, 32), -0.7)
    assert sliced_wasserstein(_patches(grey), _patches(other)).mean == 0  # nothing but brightness differs
    found = sliced_wasserstein(_patches(grey), _patches(_images(8, (2, 3, 32, 32))))
    assert all(math.isfinite(level.value) and level.value > 0 for level in found.levels)


def test_patches_are_stored_and_come_back() -> None:
    a, b = _patches(_images(9, (3, 3, 48, 32))), _patches(_images(10, (3, 3, 48, 32)))
    back = Patches.from_arrays(a.to_arrays())
    assert (back.images, back.shape) == (3, (3, 48, 32))
    assert sliced_wasserstein(back, b) == sliced_wasserstein(a, b)
    with pytest.raises(ValueError, match="nothing can be added"):
        back.add(_images(9, (1, 3, 48, 32)))
    with pytest.raises(ValueError, match="no images"):
        Patches().to_arrays()


def test_what_cannot_be_compared_is_refused() -> None:
    patches = _patches(_images(0, (1, 3, 32, 32)))
    with pytest.raises(ValueError, match=r"\[3, 32, 32\] before, now \[1, 32, 32\]"):
        patches.add(_images(0, (1, 1, 32, 32)))
    with pytest.raises(ValueError, match=r"\[3, 32, 32\] real, \[3, 32, 48\] fake"):
        sliced_wasserstein(patches, _patches(_images(0, (1, 3, 32, 48))))
    with pytest.raises(ValueError, match="at least one image in each set"):
        sliced_wasserstein(patches, Patches())
    with pytest.raises(ValueError, match="at least 16x16 pixels; received 15x32"):
        Patches().add(torch.zeros(1, 3, 32, 15))
    with pytest.raises(ValueError, match="not finite"):
        patches.add(torch.full((1, 3, 32, 32), math.nan))
    with pytest.raises(ValueError, match=r"no level of 64 pixels; there are \[32, 16\]"):
        patches.descriptors(64)
    with pytest.raises(ValueError, match="projection"):
        sliced_wasserstein(patches, patches, projections=0)
    with pytest.raises(ValueError, match="per_image and limit"):
        Patches(limit=0)


def _set(seed: int, count: int, roughness: float) -> Patches:
    """Return patches of images that differ in how rough they are, as photos do."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 0.2, (count, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
    fine = random.normal(0, 1, (count, 3, 32, 32)) * random.gamma(2, roughness, (count, 1, 1, 1))
    return _patches(torch.from_numpy(np.clip(coarse + fine, -1, 1)).float())


def test_the_error_is_the_spread_over_independent_samples() -> None:
    found = [
        sliced_wasserstein(_set(2 * n, 40, 0.05), _set(2 * n + 1, 40, 0.2), projections=64, errors=True)
        for n in range(12)
    ]
    spread = float(np.std([one.mean for one in found], ddof=1))
    errors = [one.error for one in found if one.error is not None]
    assert len(errors) == 12
    assert spread / 2.5 < float(np.median(errors)) < spread * 2.5
    assert all(level.error is not None for level in found[0].levels)


def test_the_error_is_computed_on_request_for_three_images_or_more() -> None:
    a, b, few = _set(0, 4, 0.1), _set(1, 4, 0.2), _set(2, 2, 0.2)
    plain = sliced_wasserstein(a, b)
    assert (plain.error, plain.levels[0].error) == (None, None)
    assert sliced_wasserstein(a, b, errors=True).mean == plain.mean
    assert sliced_wasserstein(a, few, errors=True).error is None
    assert sliced_wasserstein(a, a, errors=True).error == 0
    stored = sliced_wasserstein(Patches.from_arrays(a.to_arrays()), b, errors=True)
    assert stored == sliced_wasserstein(a, b, errors=True)
