"""CoGAN's networks: what is shared, what is not, and the sizes that they can make."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

from unpaired.core.errors import UserError
from unpaired.networks import (
    CoupledDiscriminator,
    CoupledDiscriminatorConfig,
    CoupledGenerator,
    CoupledGeneratorConfig,
)
from unpaired.networks.coupled import halvings


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((28, 28), (2, (7, 7))),
        ((16, 16), (2, (4, 4))),
        ((32, 32), (3, (4, 4))),  # not two halvings of 8, nor four of 2
        ((64, 64), (4, (4, 4))),  # as in DCGAN
        ((256, 256), (6, (4, 4))),
        ((8, 8), (2, (2, 2))),
        ((24, 24), (2, (6, 6))),
        ((64, 48), (3, (8, 6))),
        ((256, 128), (5, (8, 4))),
        ((32, 8), (2, (8, 2))),  # the only way
    ],
)
def test_sizes_are_a_small_map_times_a_power_of_two(
    size: tuple[int, int], expected: tuple[int, tuple[int, int]]
) -> None:
    assert halvings(size) == expected


@pytest.mark.parametrize(
    ("size", "near"),
    [((100, 100), "96 x 96 or 112 x 112"), ((30, 30), "28 x 28 or 32 x 32"), ((4, 4), "8 x 8"), ((256, 20), "")],
)
def test_other_sizes_are_refused_with_near_ones(size: tuple[int, int], near: str) -> None:
    with pytest.raises(UserError, match=f"{size[0]} x {size[1]}.*{near}.*crop_size") as caught:
        halvings(size)
    text = str(caught.value).split("Near are ")[1].split(":")[0]
    for other in text.split(" or "):
        height, width = map(int, other.split(" x "))
        halvings((height, width))  # what is advised works


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("own_layers", [1, 2, 3])
def test_shapes_range_and_gradients(upsampling: str, own_layers: int) -> None:
    config = CoupledGeneratorConfig(width=3, latent=5, own_layers=own_layers, upsampling=upsampling)  # type: ignore[arg-type]
    network = CoupledGenerator(config, 1, 4, (24, 16))
    a, b = network(10 * torch.randn(2, 5))
    assert a.shape == (2, 1, 24, 16)
    assert b.shape == (2, 4, 24, 16)
    assert max(a.abs().max(), b.abs().max()) <= 1
    (a.sum() + b.sum()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("own_layers", [1, 2])
def test_the_generators_share_all_but_their_last_layers(own_layers: int) -> None:
    network = CoupledGenerator(CoupledGeneratorConfig(width=3, latent=5, own_layers=own_layers), 1, 1, (16, 16)).eval()
    assert len(network.shared) == 4 - own_layers  # a linear layer, two doublings, the last convolution
    assert len(network.own_a) == len(network.own_b) == own_layers
    latent = torch.randn(3, 5)
    with torch.no_grad():
        before = network(latent)
        torch.testing.assert_close(network.render(latent, "a"), before[0], rtol=0, atol=0)
        torch.testing.assert_close(network.render(latent, "b"), before[1], rtol=0, atol=0)
        next(network.own_b.parameters()).mul_(2)
        after = network(latent)
        assert torch.equal(before[0], after[0])
        assert not torch.equal(before[1], after[1])
        next(network.shared.parameters()).mul_(2)
        assert not torch.equal(before[0], network(latent)[0])


def test_the_first_layer_is_a_transposed_convolution_over_one_pixel() -> None:
    network = CoupledGenerator(CoupledGeneratorConfig(width=3, latent=5), 1, 1, (24, 16))
    linear = next(layer for layer in network.shared.modules() if isinstance(layer, nn.Linear))
    latent = torch.randn(2, 5)
    kernel = linear.weight.t().reshape(5, 12, 6, 4)  # two halvings make 12 channels
    expected = nnf.conv_transpose2d(latent[:, :, None, None], kernel)
    torch.testing.assert_close(linear(latent).unflatten(1, (12, 6, 4)), expected)


def test_at_64_it_has_the_channels_of_dcgan() -> None:
    with torch.device("meta"):
        network = CoupledGenerator(CoupledGeneratorConfig(width=64), 3, 3, (64, 64))
    widths = [layer.num_features for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert widths == [512, 512, 256, 128, 64]


def test_the_discriminators_share_all_but_their_first_layers() -> None:
    network = CoupledDiscriminator(CoupledDiscriminatorConfig(width=3), 1, 4, (24, 16))
    assert network.a.shared is network.b.shared
    assert len(network.a.own) == len(network.b.own) == 1
    one, two = network(torch.randn(2, 1, 24, 16), torch.randn(5, 4, 24, 16))
    assert one.shape == (2, 1)
    assert two.shape == (5, 1)
    own = sum(weight.numel() for weight in network.a.own.parameters())
    other = sum(weight.numel() for weight in network.b.own.parameters())
    shared = sum(weight.numel() for weight in network.a.shared.parameters())
    # 4 x 4 kernels: 1 and 4 channels to 3, 3 to 6; maps of 6 x 4; two linear layers.
    assert (own, other) == (16 * 3 + 3, 16 * 4 * 3 + 3)
    assert shared == (16 * 3 * 6 + 6) + (6 * 24 * 12 + 12) + (12 + 1)
    assert sum(weight.numel() for weight in network.parameters()) == own + other + shared


def test_a_discriminator_takes_its_own_size_and_channels_only() -> None:
    network = CoupledDiscriminator(CoupledDiscriminatorConfig(width=2), 1, 3, (16, 16))
    with pytest.raises(UserError, match=r"16 x 16.*24 x 16"):
        network.a(torch.zeros(1, 1, 24, 16))
    with pytest.raises(UserError, match="3, H, W"):
        network.b(torch.zeros(1, 1, 16, 16))


def test_something_must_be_shared() -> None:
    with pytest.raises(UserError, match=r"generator\.own_layers = 4.* 3 or less"):
        CoupledGenerator(CoupledGeneratorConfig(width=2, own_layers=4), 1, 1, (16, 16))
    with pytest.raises(UserError, match=r"discriminator\.own_layers = 3.* 2 or less"):
        CoupledDiscriminator(CoupledDiscriminatorConfig(width=2, own_layers=3), 1, 1, (16, 16))
    CoupledDiscriminator(CoupledDiscriminatorConfig(width=2, own_layers=2), 1, 1, (16, 16))
