"""Noise and JPEG between two generators: against Pillow, by hand, and their gradients."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.networks.disturbance import LUMINANCE, Disturbance, Jpeg, quantisation


def _photo(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Return a smooth picture with some detail, [1, C, H, W] in [-1, 1], its values whole levels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    levels = np.clip(np.asarray(coarse, np.int16) + rng.integers(-6, 7, (height, width, 3)), 0, 255)
    tensor = torch.from_numpy(levels[:, :, :channels].astype(np.float32)).permute(2, 0, 1)[None]
    return tensor / 127.5 - 1


def _by_pillow(image: Tensor, quality: int) -> Tensor:
    levels = ((image[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file))
    decoded = decoded[:, :, None] if decoded.ndim == 2 else decoded
    return torch.from_numpy(decoded.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _levels_apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean() * 127.5)


@pytest.mark.parametrize("quality", [10, 49, 50, 75, 95, 100])
def test_tables_are_those_that_pillow_writes(quality: int) -> None:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        written = image.quantization[0]  # type: ignore[attr-defined]
    assert quantisation(LUMINANCE, quality).flatten().int().tolist() == list(written)


@pytest.mark.parametrize("quality", [25, 50, 75, 95])
@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_grey_images_come_back_as_from_pillow(quality: int, size: tuple[int, int]) -> None:
    image = _photo(*size, channels=1)
    ours = Jpeg(1, quality)(image)
    whole = [length // 8 * 8 for length in size]  # programs fill incomplete blocks in ways of their own
    apart = _levels_apart(ours[..., : whole[0], : whole[1]], _by_pillow(image, quality)[..., : whole[0], : whole[1]])
    assert apart < 0.15  # its integer transform rounds differently here and there
    assert _levels_apart(ours, image) > 0.2


@pytest.mark.parametrize("quality", [25, 75, 95])
def test_colour_images_come_back_nearly_as_from_pillow(quality: int) -> None:
    image = _photo(64, 80)
    ours, theirs = Jpeg(3, quality)(image), _by_pillow(image, quality)
    assert _levels_apart(ours, theirs) < 0.25 * _levels_apart(theirs, image)


def test_constant_images_lose_nothing_but_the_rounding_of_colours() -> None:
    image = torch.full((2, 3, 24, 24), 0.2)
    assert _levels_apart(Jpeg(3, 75)(image), image) < 1.5


def test_the_gradient_goes_through_as_if_nothing_had_been_rounded() -> None:
    image = torch.tensor([[[[-1.0, 1.0], [0.3, 0.1]]]]).repeat(1, 1, 8, 8).requires_grad_()
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((Jpeg(1, 50)(image) * weights).sum(), image)
    # The transform and its inverse are orthonormal: what is left of the way there and back is the identity.
    torch.testing.assert_close(gradient, weights, atol=1e-5, rtol=1e-5)


def test_noise_has_the_deviation_asked_for_and_changes_from_call_to_call() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 200, 200)
    disturb = Disturbance(3, noise=4.0)
    first, second = disturb(image), disturb(image)
    assert float(first.std() * 127.5) == pytest.approx(4.0, rel=0.02)
    assert not torch.equal(first, second)
    assert not disturb.state_dict()


def test_noise_comes_before_the_compression() -> None:
    image = _photo(32, 32)
    torch.manual_seed(3)
    together = Disturbance(3, noise=8.0, jpeg=50)(image)
    torch.manual_seed(3)
    assert torch.equal(together, Jpeg(3, 50)(Disturbance(3, noise=8.0)(image)))


def test_half_precision_keeps_its_type_and_is_computed_in_float32() -> None:
    image = _photo(16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result = Jpeg(3, 90)(image)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result, Jpeg(3, 90)(image.float()).bfloat16())


def test_jpeg_has_one_or_three_channels() -> None:
    with pytest.raises(UserError, match="1 or 3 channels; these have 5"):
        Disturbance(5, jpeg=75)
    Disturbance(5, noise=1.0)
