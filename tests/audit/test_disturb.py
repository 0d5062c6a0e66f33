"""Disturbances do what their names say, whatever the batch."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from audits import random_images
from unpaired.audit.disturb import (
    LEVEL,
    Disturbance,
    applies_to,
    disturb,
    disturbances_for,
    jpeg_coded,
    noisy,
    quantised,
    snapped,
)
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.networks.disturbance import blurred

LABELS = Labels(kind="index", palette=((255, 0, 0), (0, 0, 255)))


def test_eight_bits_are_what_a_file_holds() -> None:
    images = random_images().images
    levels = np.rint((images.numpy().astype(np.float64) + 1) * 127.5)
    assert np.allclose((quantised(images, 8).numpy() + 1) * 127.5, levels, atol=1e-4)
    assert torch.equal(quantised(quantised(images, 8), 8), quantised(images, 8))


@pytest.mark.parametrize("bits", [1, 4, 6])
def test_bits_leave_so_many_values_from_end_to_end(bits: int) -> None:
    values = quantised(torch.linspace(-1, 1, 4096).reshape(1, 1, 64, 64), bits).unique()
    assert len(values) == 2**bits
    assert (float(values.min()), float(values.max())) == (-1, 1)


def test_noise_has_its_strength_and_no_more_than_the_range() -> None:
    grey = torch.zeros(2, 3, 200, 200)
    added = noisy(grey, 2.0, [0, 1], seed=3) / LEVEL
    assert float(added.std()) == pytest.approx(2.0, rel=0.01)
    assert not torch.equal(added[0], added[1])
    assert float(noisy(torch.ones(1, 1, 50, 50), 16.0, [0], seed=0).max()) == 1


def test_noise_follows_the_image_not_the_batch_and_grows_in_proportion() -> None:
    images = torch.zeros(3, 3, 8, 8)
    together = noisy(images, 2.0, [4, 5, 6], seed=1)
    assert torch.equal(together[1:2], noisy(images[:1], 2.0, [5], seed=1))
    assert torch.allclose(noisy(images, 8.0, [4, 5, 6], seed=1), together * 4, atol=1e-6)
    assert not torch.equal(together, noisy(images, 2.0, [4, 5, 6], seed=2))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_blur_spreads_a_point_by_its_sigma(sigma: float) -> None:
    point = torch.zeros(1, 2, 41, 41, dtype=torch.float64)
    point[:, :, 20, 20] = 1
    spread = blurred(point, sigma)[0, 1]
    places = torch.arange(41, dtype=torch.float64) - 20
    assert float(spread.sum()) == pytest.approx(1)
    assert torch.allclose(spread, spread.T)
    # The variance of a Gaussian integrated over pixels is that of the Gaussian and that of a pixel.
    assert float((spread.sum(0) * places**2).sum()) == pytest.approx(sigma**2 + 1 / 12, rel=0.02)


def test_a_quarter_of_a_pixel_is_a_blur_too() -> None:
    point = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    point[:, :, 2, 2] = 1
    inside = math.erf(0.5 / (0.25 * math.sqrt(2)))  # of the Gaussian, within the pixel
    assert float(blurred(point, 0.25)[0, 0, 2, 2]) == pytest.approx(inside**2, rel=1e-6)
    assert float(blurred(point, 0.25)[0, 0, 2, 1]) == pytest.approx(inside * (1 - inside) / 2, rel=1e-3)


def test_blur_leaves_what_is_even_also_where_it_is_small() -> None:
    assert torch.allclose(blurred(torch.full((1, 3, 2, 3), 0.3), 2.0), torch.tensor(0.3))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_real_file(channels: int) -> None:
    images = random_images(2, channels, 16).images
    coded = jpeg_coded(images, 50)
    for image, result in zip(images, coded, strict=True):
        levels = np.rint((image.permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(levels.squeeze()).save(file, "JPEG", quality=50, subsampling=0)
        read = np.asarray(Image.open(file)).reshape(levels.shape)
        assert np.allclose((result.permute(1, 2, 0).numpy() + 1) * 127.5, read, atol=1e-4)
    assert float((coded - images).abs().mean()) > LEVEL


def test_snapping_leaves_the_classes() -> None:
    domain = Domain(channels=3, labels=LABELS)
    image = torch.tensor([0.3, -0.9, -0.2]).reshape(1, 3, 1, 1)  # nearer to red than to blue
    assert torch.equal(snapped(image, domain), torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1))


def test_jpeg_is_left_out_with_a_word_where_no_jpeg_holds_such_images() -> None:
    for domain, said in (
        (Domain(channels=1, dtype="uint16"), "1 channel of uint16"),
        (Domain(channels=4), "4 channels of uint8"),
        (Domain(channels=1, range=(0.0, 100.0)), "from 0 to 100"),
    ):
        found, notices = disturbances_for(domain)
        assert "jpeg" not in {each.family for each in found}
        assert len(notices) == 1
        assert "JPEG is left out" in notices[0]
        assert said in notices[0]
        assert not applies_to(Disturbance("jpeg", 75, ""), domain)
    found, notices = disturbances_for(Domain(channels=3))
    assert "jpeg" in {each.family for each in found}
    assert not notices


def test_only_label_maps_are_snapped() -> None:
    assert disturbances_for(Domain(channels=3, labels=LABELS))[0][-1].family == "snap"
    assert "snap" not in {each.family for each in disturbances_for(Domain(channels=3))[0]}
    assert not applies_to(Disturbance("snap", 0, ""), Domain(channels=3))


def test_every_disturbance_changes_the_image_but_none() -> None:
    domain = Domain(channels=3, labels=LABELS)
    images = random_images(2).images
    for disturbance in disturbances_for(domain)[0]:
        result = disturb(images, disturbance, domain, [0, 1], seed=0)
        assert result.shape == images.shape
        assert torch.equal(result, images) == (disturbance.family == "none")
        assert math.isfinite(float(result.sum()))
        assert float(result.abs().max()) <= 1 + 1e-6
