"""UVCGANv2's generator: its size, its positions and its modulation by hand, and what it promises of images."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

from unpaired.core.errors import UserError
from unpaired.models.engines.pytorch import TorchEngine
from unpaired.networks import InitConfig, VitUnetConfig, VitUnetGenerator, initialize, mixes_images
from unpaired.networks.vit_unet import ModulatedConvolution, _Attention, _Block, coordinates

SMALL = VitUnetConfig(width=4, depth=2, tokens=12, heads=3, blocks=2)


def drawn(config: VitUnetConfig = SMALL, channels: tuple[int, int] = (3, 3)) -> VitUnetGenerator:
    """Return a network in which every part has a say."""
    torch.manual_seed(0)
    network = VitUnetGenerator(config, *channels)
    initialize(network, InitConfig(scheme="kaiming"))
    for name, weight in network.named_parameters():
        if name.endswith("gain"):
            nn.init.normal_(weight)
    return network


def test_the_published_size() -> None:
    """The authors' `uvcgan2` generator, built by their code, has 32,192,231 parameters."""
    with torch.device("meta"):
        network = VitUnetGenerator(VitUnetConfig(), 3, 3)
    assert sum(weight.numel() for weight in network.parameters()) == 32_192_231


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("units", [(1, 1), (1, 4), (5, 2)])
def test_every_multiple_of_the_reduction_works(depth: int, units: tuple[int, int]) -> None:
    network = drawn(VitUnetConfig(width=2, depth=depth, tokens=6, heads=2, blocks=1), (2, 5))
    assert network.size_multiple == network.minimum_size == 2**depth
    image = torch.randn(2, 2, *(2**depth * unit for unit in units))
    before = image.clone()
    output = network(image)
    assert output.shape == (2, 5, *image.shape[2:])
    assert output.abs().max() <= 1
    assert torch.equal(image, before)
    output.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_a_size_that_does_not_divide_is_an_error_with_its_remedy() -> None:
    with pytest.raises(UserError, match=r"40 x 42 .* multiples of 4 .* 40 x 40 or 44"):
        drawn()(torch.randn(1, 3, 40, 42))


def test_heads_that_cannot_share_are_an_error_with_its_remedy() -> None:
    with pytest.raises(UserError, match="such as 384"):
        VitUnetConfig(tokens=383)


def test_coordinates_run_from_minus_one_to_one() -> None:
    found = {length: coordinates(length, torch.device("cpu")).tolist() for length in (1, 2, 3, 5)}
    assert found == {1: [0], 2: [-1, 1], 3: [-1, 0, 1], 5: [-1, -0.5, 0, 0.5, 1]}


def test_positions_by_hand() -> None:
    """Of 2 rows and 3 columns: the sine of a half turn from the first row to the last, and of a quarter of columns."""
    network = drawn()
    with torch.no_grad():
        network.embed.position.weight.zero_()
        network.embed.position.bias.zero_()
        network.embed.position.weight[0] = torch.tensor([math.pi / 2, 0])
        network.embed.position.weight[1] = torch.tensor([0, math.pi / 4])
        network.embed.position.bias[2] = math.pi / 2
    found = network.embed.positions(torch.zeros(1, 8, 2, 3))
    half = math.sqrt(0.5)
    assert found.shape == (6, 12)
    torch.testing.assert_close(found[:, 0], torch.tensor([-1.0, -1, -1, 1, 1, 1]))
    torch.testing.assert_close(found[:, 1], torch.tensor([-half, 0, half, -half, 0, half]))
    assert found[:, 2].tolist() == [1] * 6
    assert not found[:, 3:].any()


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_positions_keep_their_digits_in_half_precision(how: str) -> None:
    network = drawn()
    nn.init.normal_(network.embed.position.weight)
    network.embed.position.to(torch.bfloat16)
    kept = network.embed.position.float() if how == "autocast" else network.embed.position
    expected = torch.sin(nnf.linear(coordinates(99, torch.device("cpu"))[:, None].expand(-1, 2), kept.weight.float()))
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        found = network.embed.positions(torch.zeros(1, 8, 99, 99, dtype=torch.bfloat16))
    assert (found[::100].float() - expected).abs().max() <= (2**-8 if how == "weights" else 1e-6)  # rounded at the end


def test_engines_may_keep_convolutions_alone_in_half_precision() -> None:
    network, image = drawn().eval(), torch.rand(2, 3, 16, 24) * 2 - 1
    made = TorchEngine(network, "bf16", torch.device("cpu")).compute(image)
    with torch.no_grad():
        assert 0 < (made - network(image)).abs().mean() < 0.02


def test_modulation_by_hand() -> None:
    """s = 1 + 0.5 (2 * style): 2 and 3; y = (w s x + c) / sqrt(sum of (s w)^2), one pixel at the middle of a window."""
    layer = ModulatedConvolution(2, 1, 1)
    with torch.no_grad():
        layer.gain.fill_(0.5)
        layer.style.weight.copy_(torch.tensor([[2.0], [4.0]]))
        layer.style.bias.zero_()
        layer.convolution.weight.zero_()
        layer.convolution.weight[0, :, 1, 1] = torch.tensor([2.0, 1.0])
        layer.convolution.bias.fill_(7.0)
    image = torch.tensor([10.0, 100.0]).view(1, 2, 1, 1)
    expected = (2 * 2 * 10 + 3 * 1 * 100 + 7) / math.sqrt((2 * 2) ** 2 + (3 * 1) ** 2)
    assert layer(image, torch.ones(1, 1)).item() == pytest.approx(expected, rel=1e-6)


def test_modulation_is_a_kernel_for_each_image() -> None:
    torch.manual_seed(0)
    layer = ModulatedConvolution(3, 5, 4)
    nn.init.normal_(layer.gain)
    nn.init.zeros_(layer.convolution.bias)
    images, styles = torch.randn(2, 3, 6, 7), torch.randn(2, 4)
    for image, style, found in zip(images, styles, layer(images, styles), strict=True):
        kernel = layer.convolution.weight * (1 + layer.gain * layer.style(style))[None, :, None, None]
        kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(found, nnf.conv2d(image, kernel, padding=1))


def test_attention_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    ours, theirs = _Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.weight,
            "in_proj_bias": ours.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    tokens = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


def test_a_block_knows_no_order() -> None:
    torch.manual_seed(0)
    block, tokens, order = _Block(12, 3), torch.randn(1, 9, 12), torch.randperm(9)
    assert torch.equal(block(tokens), tokens), "its gain begins at 0"
    nn.init.ones_(block.gain)
    moved = block(tokens)
    assert not torch.allclose(moved, tokens)
    torch.testing.assert_close(block(tokens[:, order]), moved[:, order])


def test_far_corners_and_the_style_reach_every_pixel() -> None:
    network, image = drawn(VitUnetConfig(width=4, depth=2, tokens=12, heads=3, blocks=1)), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        reference = network(image)
        corner = image.clone()
        corner[..., :2, :2] = 1
        assert (network(corner) - reference)[..., -2:, -2:].abs().max() > 1e-6
        network.embed.style.add_(1)
        assert ((network(image) - reference).abs().amax(1) > 0).all()


def test_images_do_not_see_one_another() -> None:
    network = drawn()
    assert not mixes_images(network)
    images = torch.randn(3, 3, 16, 12)
    torch.testing.assert_close(network(images), torch.cat([network(image[None]) for image in images]))


@pytest.mark.parametrize("scheme", ["normal", "kaiming"])
def test_first_weights(scheme: str) -> None:
    """Layers follow the scheme; attention, gains and style begin as in the authors' code whatever it is."""
    network = VitUnetGenerator(VitUnetConfig(width=8, blocks=2), 3, 3)
    initialize(network, InitConfig(scheme=scheme))  # type: ignore[arg-type]
    assert all(not weight.any() for name, weight in network.named_parameters() if name.endswith("gain"))
    assert network.embed.style.std().item() == pytest.approx(1, abs=0.15)
    bound = math.sqrt(6 / (384 + 3 * 384))
    for block in network.blocks:
        assert bound * 0.99 < block.attention.weight.abs().max() <= bound  # type: ignore[operator, union-attr]
    expected = 0.02 if scheme == "normal" else math.sqrt(2 / 384)
    assert network.unembed.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_it_learns_an_image_by_heart() -> None:
    torch.manual_seed(0)
    network = VitUnetGenerator(VitUnetConfig(width=8, depth=2, tokens=24, heads=3, blocks=1), 3, 3)
    initialize(network, InitConfig(scheme="kaiming"))
    given, wanted = (nnf.interpolate(torch.rand(1, 3, 4, 4) * 2 - 1, 16, mode="bicubic").clamp(-1, 1) for _ in "ab")
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nnf.l1_loss(network(given), wanted)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * nnf.l1_loss(given, wanted).item()
