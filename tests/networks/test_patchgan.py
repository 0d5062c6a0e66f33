from __future__ import annotations

import pytest
import torch

from unpaired.core.errors import UserError
from unpaired.networks import (
    PatchganConfig,
    PatchganDiscriminator,
    PixelConfig,
    PixelDiscriminator,
    build_discriminator,
    receptive_field,
)


def test_the_published_discriminator() -> None:
    """70 x 70 field, 30 x 30 logits for 256 x 256 images, 2.765 million parameters."""
    with torch.device("meta"):
        network = PatchganDiscriminator(PatchganConfig(), 3)
        assert network(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    assert receptive_field(PatchganConfig()) == 70
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(2.765, abs=1e-3)


@pytest.mark.parametrize(
    "config",
    [PatchganConfig(layers=n, width=2, norm="none") for n in (1, 2, 3)]
    + [PatchganConfig(layers=n, width=2, norm="none", downsampling="blur") for n in (1, 2, 3)]
    + [PixelConfig(width=2, norm="none")],
)
def test_the_receptive_field_is_what_the_gradient_shows(config: PatchganConfig | PixelConfig) -> None:
    network = build_discriminator(config, 1).double()
    image = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = network(image)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == receptive_field(config)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("downsampling", ["strided", "blur"])
def test_the_smallest_size_works_and_a_smaller_one_is_an_error(norm: str, layers: int, downsampling: str) -> None:
    settings = {"layers": layers, "norm": norm, "downsampling": downsampling}
    network = PatchganDiscriminator(PatchganConfig(width=2, **settings), 3).train()
    size = network.minimum_size
    assert network(torch.randn(1, 3, size, size + 1)).shape == (1, 1, 1, 1)
    with pytest.raises(UserError, match=f"at least {size}"):
        network(torch.randn(1, 3, size, size - 1))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_pixels(norm: str) -> None:
    network = PixelDiscriminator(PixelConfig(width=2, norm=norm), 3).train()
    size = network.minimum_size
    assert network(torch.randn(1, 3, size, size)).shape == (1, 1, size, size)
    assert network(torch.randn(2, 3, 9, 5)).shape == (2, 1, 9, 5)
    with pytest.raises(UserError, match="at least"):
        network(torch.randn(1, 3, size - 1, size))


def test_wrong_channels_are_an_error() -> None:
    with pytest.raises(UserError, match=r"\[N, 3, H, W\]"):
        PatchganDiscriminator(PatchganConfig(width=2), 3)(torch.randn(1, 6, 32, 32))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_biases_follow_the_published_rule(norm: str) -> None:
    biased = norm == "instance"
    network = PatchganDiscriminator(PatchganConfig(width=2, norm=norm), 3)
    assert [stage.convolution.bias is not None for stage in network.stages] == [True, biased, biased, biased]
    assert network.head.bias is not None
    pixel = PixelDiscriminator(PixelConfig(width=2, norm=norm), 3)
    assert pixel.first.convolution.bias is not None
    assert (pixel.second.convolution.bias is not None) is biased
    assert (pixel.head.bias is not None) is biased
