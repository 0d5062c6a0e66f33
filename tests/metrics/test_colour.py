"""The colour distance against arithmetic by hand, and what it sees that the sliced Wasserstein distance does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from evaluations import pictures
from unpaired.metrics.colour import Colours, ColourSample, colour_distance
from unpaired.metrics.sliced import Patches, sliced_wasserstein

ZEBRAS = Path(__file__).resolve().parents[3] / "shared/data/horse2zebra/testB"


def tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float() / 127.5 - 1


def distance(real: Tensor, fake: Tensor) -> float:
    samples = [ColourSample(), ColourSample()]
    for sample, images in zip(samples, (real, fake), strict=True):
        sample.add(images)
    return colour_distance(*(sample.colours() for sample in samples))[0]


def patches_distance(real: Tensor, fake: Tensor) -> float:
    sets = [Patches(per_image=64), Patches(per_image=64)]
    for patches, images in zip(sets, (real, fake), strict=True):
        patches.add(images)
    return sliced_wasserstein(*sets, projections=128).mean


@given(st.floats(-0.5, 0.5), st.sampled_from([1, 2, 3, 5]))
def test_a_shift_of_all_channels_is_its_own_distance_in_levels(shift: float, channels: int) -> None:
    images = torch.rand(4, channels, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    tolerance = 1e-4 if channels == 1 else 0.2 * abs(shift) * 127.5 + 1e-4  # random directions
    assert distance(images, images + shift) == pytest.approx(abs(shift) * 127.5, abs=tolerance)
    assert distance(images, images) == 0


def test_one_channel_is_the_wasserstein_distance_of_its_values() -> None:
    real = torch.tensor([0.0, 1.0]).repeat(32).reshape(1, 1, 8, 8)
    assert distance(real, torch.full((1, 1, 8, 8), 0.5)) == pytest.approx(63.75, abs=1e-3)


def test_batches_do_not_matter_and_memory_is_bounded() -> None:
    images = tensor(pictures(9))
    whole, parts = ColourSample(limit=100), ColourSample(limit=100)
    whole.add(images)
    for image in images:
        parts.add(image[None])
    np.testing.assert_array_equal(whole.colours().rows, parts.colours().rows)
    assert whole.colours().rows.shape == (100, 3)
    with pytest.raises(ValueError, match="different channels"):
        colour_distance(whole.colours(), colours_of(torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ValueError, match="no images"):
        ColourSample().colours()


def colours_of(images: Tensor) -> Colours:
    sample = ColourSample()
    sample.add(images)
    return sample.colours()


def test_the_error_covers_what_other_images_would_give() -> None:
    rng = np.random.default_rng(0)
    sets = [torch.from_numpy(rng.normal(0, 0.3, (60, 3, 1, 1)) * np.ones((1, 1, 8, 8))) for _ in range(8)]
    found = [colour_distance(*map(colours_of, sets[n : n + 2]), errors=True) for n in range(0, 8, 2)]
    errors = [error for _, error in found if error is not None]
    assert len(errors) == 4
    assert 0.2 < np.mean(errors) / np.std([value for value, _ in found]) < 5


def zebras() -> list[NDArray[np.uint8]]:
    if not ZEBRAS.is_dir():
        return pictures(40, 64)
    found = []
    for path in sorted(ZEBRAS.iterdir())[:40]:
        with Image.open(path) as image:
            found.append(np.asarray(image.convert("RGB").resize((64, 64))))
    return found


def test_dark_flat_and_tinted_translations_are_seen_though_patches_do_not_see_them() -> None:
    """Halves of the real images stand for perfect translations; each fault scores clearly worse than they do."""
    images = tensor(zebras())
    real, fake = images[::2], images[1::2]
    mean = fake.mean((2, 3), keepdim=True)
    faults = {
        "a quarter as bright": (fake + 1) / 4 - 1,
        "a third of the contrast": (fake - mean) / 3 + mean,
        "a blue cast": (fake + torch.tensor([-0.3, -0.1, 0.3])[:, None, None]).clamp(-1, 1),
        "grey": fake.mean(1, keepdim=True).expand(-1, 3, -1, -1) * torch.tensor([1.0, 0.8, 0.5])[:, None, None],
    }
    good, good_patches = distance(real, fake), patches_distance(real, fake)
    for name, broken in faults.items():
        assert distance(real, broken) > 1.5 * good + 3, name
        assert distance(real, broken) + patches_distance(real, broken) > good + good_patches + 8, name
    dark = faults["a quarter as bright"]
    assert patches_distance(real, dark) == pytest.approx(good_patches, rel=0.05), "patches alone are blind to it"
    assert distance(real, dark) > 4 * good
