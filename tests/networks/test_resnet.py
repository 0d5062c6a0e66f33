from __future__ import annotations

import pytest
import torch
from torch import nn

from unpaired.core.errors import UserError
from unpaired.networks import ResnetConfig, ResnetGenerator
from unpaired.networks.blocks import ResidualBlock


def test_the_published_size() -> None:
    """The 9-block generator of the authors has 11.378 million parameters, the 6-block one 7.837 million."""
    with torch.device("meta"):
        for blocks, millions in ((9, 11.378), (6, 7.838)):
            network = ResnetGenerator(ResnetConfig(blocks=blocks), 3, 3)
            assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "blur"])
@pytest.mark.parametrize("downsampling", ["strided", "blur"])
def test_shapes_range_and_gradients(norm: str, upsampling: str, downsampling: str) -> None:
    settings = {"norm": norm, "upsampling": upsampling, "downsampling": downsampling}
    network = ResnetGenerator(ResnetConfig(width=4, blocks=1, **settings), 2, 5)
    image = 10 * torch.randn(2, 2, 12, 20)
    output = network(image)
    assert output.shape == (2, 5, 12, 20)
    assert output.abs().max() <= 1
    output.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("blocks", [0, 1])
def test_the_smallest_size_works(norm: str, blocks: int) -> None:
    for sampling in ({}, {"downsampling": "blur", "upsampling": "blur"}):
        blurred = ResnetGenerator(ResnetConfig(width=2, blocks=blocks, norm=norm, **sampling), 3, 3).train()
        assert blurred(torch.randn(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    network = ResnetGenerator(ResnetConfig(width=2, blocks=blocks, norm=norm), 3, 3).train()
    size = network.minimum_size
    assert network(torch.randn(1, 3, size, size)).shape == (1, 3, size, size)
    with pytest.raises(UserError, match="at least 8"):
        network(torch.randn(1, 3, size - network.size_multiple, size))


def test_a_size_that_does_not_divide_is_an_error_with_its_remedy() -> None:
    network = ResnetGenerator(ResnetConfig(width=2, blocks=1), 3, 3)
    with pytest.raises(UserError) as caught:
        network(torch.randn(1, 3, 30, 16))
    for part in ("30 x 16", "multiples of 4", "28 or 32 x 16", "crop_size", "pads"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="8 x 8"):
        network(torch.randn(1, 3, 1, 5))


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 16, 16)])
def test_wrong_channels_are_an_error(shape: tuple[int, ...]) -> None:
    network = ResnetGenerator(ResnetConfig(width=2, blocks=1), 3, 3)
    with pytest.raises(UserError, match=r"\[N, 3, H, W\]"):
        network(torch.randn(shape))


def test_biases_follow_the_published_rule() -> None:
    for norm, biased in (("instance", True), ("batch", False), ("none", False)):
        network = ResnetGenerator(ResnetConfig(width=2, blocks=1, norm=norm), 3, 3)
        convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        assert [layer.bias is not None for layer in convolutions[:-1]] == [biased] * 7
        assert convolutions[-1].bias is not None


def test_layers_are_numbered_like_the_authors() -> None:
    layers = ResnetGenerator(ResnetConfig(width=2, blocks=9), 3, 3).layers()
    assert len(layers) == 28
    assert isinstance(layers[0], nn.ReflectionPad2d)
    assert [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)] == [1, 4, 7, 26]
    assert [index for index, layer in enumerate(layers) if isinstance(layer, ResidualBlock)] == list(range(10, 19))
    assert [index for index, layer in enumerate(layers) if isinstance(layer, nn.ConvTranspose2d)] == [19, 22]


def test_it_compiles_and_exports_as_one_graph() -> None:
    network = ResnetGenerator(ResnetConfig(width=2, blocks=1), 3, 3).eval()
    image = torch.randn(1, 3, 16, 16)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image))
    sides = {2: 4 * torch.export.Dim("h", min=4, max=256), 3: 4 * torch.export.Dim("w", min=4, max=256)}
    exported = torch.export.export(network, (image,), dynamic_shapes=(sides,)).module()
    larger = torch.randn(1, 3, 32, 24)
    torch.testing.assert_close(exported(larger), network(larger))


def test_images_of_a_batch_do_not_see_one_another() -> None:
    network = ResnetGenerator(ResnetConfig(width=4, blocks=1), 3, 3)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=0, atol=1e-5)
