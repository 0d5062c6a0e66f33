"""L1, PSNR, SSIM and MS-SSIM against hand-computed values, scikit-image and torchmetrics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from unpaired.metrics.paired import MS_SSIM_SMALLEST, l1, ms_ssim, psnr, ssim

Measure = Callable[[Tensor, Tensor], Tensor]


def _pair(seed: int, shape: tuple[int, ...], noise: float = 0.2) -> tuple[Tensor, Tensor]:
    """Return smooth images and the same with noise."""
    random = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.interpolate(torch.rand(*shape[:2], 6, 6, generator=random), size=shape[2:], mode="bilinear")
    x = 2 * x - 1
    return x, (x + noise * torch.randn(shape, generator=random)).clamp(-1, 1)


def above_black(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0] + 1, pair[1] + 1


def test_l1_and_psnr_by_hand() -> None:
    x = torch.zeros(2, 1, 2, 2)
    y = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]], [[[0.2, -0.2], [0.2, -0.2]]]])
    torch.testing.assert_close(l1(x, y), torch.tensor([0.25, 0.2]))
    expected = [10 * math.log10(4 / 0.25), 10 * math.log10(4 / 0.04)]
    torch.testing.assert_close(psnr(x, y), torch.tensor(expected), rtol=0, atol=1e-5)


def test_identical_images() -> None:
    x, _ = _pair(0, (2, 3, 176, 180))
    assert l1(x, x).tolist() == [0, 0]
    assert psnr(x, x).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(x, x), torch.ones(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2), rtol=0, atol=1e-6)


def test_ssim_of_constant_images_by_hand() -> None:
    x, y = torch.full((1, 1, 11, 11), 0.5), torch.full((1, 1, 11, 11), -0.25)
    c1 = 0.02**2
    expected = (2 * 1.5 * 0.75 + c1) / (1.5**2 + 0.75**2 + c1)  # no variance: only the luminance above black differs
    torch.testing.assert_close(ssim(x, y), torch.tensor([expected]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(11, 11), (33, 64)])
def test_ssim_against_scikit_image(channels: int, size: tuple[int, int]) -> None:
    x, y = _pair(1, (3, channels, *size))
    expected = [
        structural_similarity(
            a.numpy().astype(np.float64) + 1,
            b.numpy().astype(np.float64) + 1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=2,
            channel_axis=0,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y).numpy(), expected, rtol=0, atol=2e-6)
    np.testing.assert_allclose(ssim(x.double(), y.double()).numpy(), expected, rtol=0, atol=1e-9)


def test_ssim_of_files_is_that_of_their_levels() -> None:
    x, y = ((one + 1) * 127.5 for one in _pair(6, (1, 3, 40, 50)))
    levels = [one[0].round().byte().numpy() for one in (x, y)]
    expected = structural_similarity(
        *levels, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=0
    )
    signed = [torch.from_numpy(one)[None] / 127.5 - 1 for one in levels]
    assert float(ssim(signed[0], signed[1])) == pytest.approx(expected, abs=1e-5)


def test_a_slight_difference_around_grey_is_slight() -> None:
    x = torch.zeros(1, 1, 11, 11)
    assert float(ssim(x, x + 0.02)) > 0.999


def test_ssim_and_ms_ssim_against_torchmetrics_without_its_mirrored_borders() -> None:
    image = pytest.importorskip("torchmetrics.functional.image")
    x, y = _pair(2, (2, 3, 190, 201))
    settings = {"data_range": 2.0, "reduction": "none"}
    pairs = [(x, y)]
    for _ in range(4):
        pairs.append((torch.nn.functional.avg_pool2d(pairs[-1][0], 2), torch.nn.functional.avg_pool2d(pairs[-1][1], 2)))
    whole = [
        image.structural_similarity_index_measure(*above_black(pair), return_full_image=True, **settings)[1][
            ..., 5:-5, 5:-5
        ]
        for pair in pairs
    ]
    torch.testing.assert_close(ssim(x, y), whole[0].mean((1, 2, 3)), rtol=0, atol=1e-5)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    expected = whole[-1].mean((1, 2, 3)) ** weights[-1]
    for pair, weight in zip(pairs[:-1], weights[:-1], strict=True):
        contrast = image.structural_similarity_index_measure(
            *above_black(pair), return_contrast_sensitivity=True, **settings
        )[1]
        expected = expected * contrast**weight
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=0, atol=1e-5)
    plain = image.multiscale_structural_similarity_index_measure(*above_black((x, y)), normalize="relu", **settings)
    torch.testing.assert_close(ms_ssim(x, y), plain, rtol=0, atol=5e-3)


def test_psnr_against_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image")
    x, y = _pair(5, (3, 3, 20, 30))
    expected = image.peak_signal_noise_ratio(x, y, data_range=2.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(x, y), expected)


def test_opposite_contrast_is_negative_and_for_ms_ssim_zero_and_no_nan() -> None:
    x = torch.rand(1, 1, 176, 176, generator=torch.Generator().manual_seed(3))
    assert float(ssim(x, 1 - x)) < -0.5
    assert ms_ssim(x, 1 - x).tolist() == [0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(11, 24), st.integers(11, 24), st.sampled_from([1, 3]))
def test_ranges_symmetry_and_batches(seed: int, height: int, width: int, channels: int) -> None:
    x, y = _pair(seed, (3, channels, height, width), noise=0.5)
    measures: list[Measure] = [l1, psnr, ssim]
    for measure in measures:
        torch.testing.assert_close(measure(x, y), measure(y, x), rtol=0, atol=1e-5)
        split = torch.cat([measure(x[:1], y[:1]), measure(x[1:], y[1:])])
        torch.testing.assert_close(measure(x, y), split, rtol=0, atol=1e-5)
    assert bool(((l1(x, y) >= 0) & (l1(x, y) <= 2)).all())
    assert bool((ssim(x, y).abs() <= 1 + 1e-6).all())


def test_half_precision_is_computed_in_single() -> None:
    x, y = _pair(4, (1, 3, 32, 32))
    assert ssim(x.half(), y.half()).dtype == torch.float32
    torch.testing.assert_close(ssim(x.half(), y.half()), ssim(x.half().float(), y.half().float()))


@pytest.mark.parametrize("measure", [l1, psnr, ssim, ms_ssim])
def test_what_cannot_be_compared_is_refused(measure: Measure) -> None:
    x = torch.zeros(1, 3, 176, 176)
    with pytest.raises(ValueError, match=r"\[1, 3, 176, 176\] and \[1, 3, 176, 177\]"):
        measure(x, torch.zeros(1, 3, 176, 177))
    with pytest.raises(ValueError, match="second images hold values that are not finite"):
        measure(x, torch.full_like(x, math.nan))
    with pytest.raises(ValueError, match="uint8"):
        measure(x.byte(), x.byte())
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        measure(x[0], x[0])
    with pytest.raises(ValueError, match="at least one image"):
        measure(x[:0], x[:0])


def test_images_too_small_are_told_the_smallest_size() -> None:
    with pytest.raises(ValueError, match="SSIM needs images of at least 11x11 pixels; received 10x11"):
        ssim(torch.zeros(1, 1, 11, 10), torch.zeros(1, 1, 11, 10))
    assert MS_SSIM_SMALLEST == 176
    with pytest.raises(ValueError, match="at least 176x176 pixels; received 176x175"):
        ms_ssim(torch.zeros(1, 1, 175, 176), torch.zeros(1, 1, 175, 176))
