"""Spectra of waves, of noise and of nothing, whose values are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unpaired.metrics.spectrum import high_frequency_share, radial_spectrum


def _wave(size: tuple[int, int], across: float, down: float, amplitude: float = 1.0) -> Tensor:
    """Return a wave of frequencies given as shares of Nyquist's."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return amplitude * torch.cos(math.pi * (across * x + down * y) + 0.3)[None, None]


@pytest.mark.parametrize("size", [(64, 64), (63, 80), (128, 64)])
@pytest.mark.parametrize(("across", "down"), [(0.25, 0.0), (0.0, 0.5), (0.5, 0.5), (0.0, 0.9)])
def test_a_wave_is_found_at_its_frequency(size: tuple[int, int], across: float, down: float) -> None:
    frequencies, power = radial_spectrum(_wave(size, across, down))
    assert len(frequencies) == min(size) // 2
    assert float(frequencies[-1]) == 1
    assert abs(float(frequencies[power.argmax()]) - math.hypot(across, down)) < 0.04
    far = (frequencies - math.hypot(across, down)).abs() > 0.15
    assert float(power[far].max()) < 1e-3 * float(power.max())


def test_white_noise_has_its_variance_everywhere() -> None:
    noise = 0.3 * torch.randn(40, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    _, power = radial_spectrum(noise)
    torch.testing.assert_close(power[1:], torch.full_like(power[1:], 0.09), rtol=0.1, atol=0)
    assert 0.06 < float(power[0]) < 0.09  # the mean that is taken away is spread to its neighbours by the window


def test_the_share_of_two_waves_by_hand() -> None:
    low, high = _wave((64, 64), 0.2, 0.1, 0.8), _wave((64, 64), 0.6, 0.5, 0.4)
    both = torch.cat([low, high, low + high])
    expected = torch.tensor([0, 1, 0.4**2 / (0.8**2 + 0.4**2)], dtype=torch.float64)
    torch.testing.assert_close(high_frequency_share(both), expected, rtol=0, atol=1e-3)


def test_the_share_of_noise_is_the_share_of_the_frequencies() -> None:
    noise = torch.randn(20, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    inside = math.pi * 0.5**2 / 4  # the disc of half of Nyquist in the square of all frequencies
    assert float(high_frequency_share(noise).mean()) == pytest.approx(1 - inside, abs=0.01)


def test_borders_and_brightness_are_no_detail() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)  # a jump from the right border to the left one
    assert float(high_frequency_share(ramp)) < 1e-4
    wave = _wave((64, 64), 0.7, 0.0, 0.2)
    torch.testing.assert_close(high_frequency_share(wave + 0.5), high_frequency_share(wave), rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0, 1 / 3])
def test_a_constant_image_has_no_detail_and_no_nan(value: float) -> None:
    images = torch.full((2, 3, 33, 20), value)
    assert high_frequency_share(images).tolist() == [0, 0]
    assert float(radial_spectrum(images)[1].max()) < 1e-12


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(2, 20), st.floats(0, 1.4), st.integers(0, 10**6))
def test_shares_are_shares_whatever_the_size_and_the_batch(height: int, width: int, cutoff: float, seed: int) -> None:
    images = torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    shares = high_frequency_share(images, cutoff)
    assert bool(((shares >= 0) & (shares <= 1)).all())
    torch.testing.assert_close(high_frequency_share(images[1:2], cutoff), shares[1:2], rtol=0, atol=1e-6)
    frequencies, power = radial_spectrum(images)
    assert bool((torch.isfinite(power) & (power >= 0)).all())
    each = torch.stack([radial_spectrum(image[None])[1] for image in images])
    torch.testing.assert_close(each.mean(0), power, rtol=1e-4, atol=1e-9)
    assert len(frequencies) == len(power) == min(height, width) // 2


def test_everything_but_the_mean_lies_above_zero() -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(high_frequency_share(images, 0), torch.ones(2, dtype=torch.float64))


def test_what_has_no_spectrum_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2x2"):
        radial_spectrum(torch.zeros(1, 1, 1, 5))
    with pytest.raises(ValueError, match="not finite"):
        high_frequency_share(torch.full((1, 1, 8, 8), math.inf))
    with pytest.raises(ValueError, match="cutoff"):
        high_frequency_share(torch.zeros(1, 1, 8, 8), 1.5)
