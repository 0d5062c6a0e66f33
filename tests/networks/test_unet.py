from __future__ import annotations

import pytest
import torch
from torch import nn

from unpaired.core.errors import UserError
from unpaired.networks import UnetConfig, UnetGenerator


def test_the_published_size() -> None:
    """`unet_256` of the authors has 54.41 million parameters with InstanceNorm, 54.414 with BatchNorm."""
    with torch.device("meta"):
        for norm, millions in (("instance", 54.410), ("batch", 54.414)):
            network = UnetGenerator(UnetConfig(norm=norm), 3, 3)
            assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("depth", [2, 3, 6])
def test_the_smallest_size_works_at_any_depth(norm: str, upsampling: str, depth: int) -> None:
    network = UnetGenerator(UnetConfig(width=2, depth=depth, norm=norm, upsampling=upsampling), 2, 5).train()
    size = network.minimum_size
    assert size == network.size_multiple == 2**depth
    image = torch.randn(1, 2, size, 2 * size)
    before = image.clone()
    output = network(image)
    assert output.shape == (1, 5, size, 2 * size)
    assert output.abs().max() <= 1
    assert torch.equal(image, before)
    output.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_a_size_that_does_not_divide_is_an_error_with_its_remedy() -> None:
    network = UnetGenerator(UnetConfig(width=2, depth=5), 3, 3)
    with pytest.raises(UserError) as caught:
        network(torch.randn(1, 3, 40, 7))
    for part in ("40 x 7", "multiples of 32", "32 or 64 x 32", "crop_size"):
        assert part in str(caught.value)


def test_every_level_reaches_the_output_through_its_skip() -> None:
    torch.manual_seed(0)
    network = UnetGenerator(UnetConfig(width=2, depth=4), 1, 1).double()
    image = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    reference = network(image)
    for up in list(network.up)[:-1]:
        inputs = up.convolution.weight.shape[0]
        kept = up.convolution.weight.detach().clone()
        with torch.no_grad():
            up.convolution.weight[: inputs // 2].zero_()  # the skip is the first half
            assert not torch.allclose(network(image), reference, rtol=0, atol=1e-6)
            up.convolution.weight.copy_(kept)
    assert torch.equal(network(image), reference)


def test_dropout_stands_where_the_authors_put_it() -> None:
    network = UnetGenerator(UnetConfig(width=2, depth=8, dropout=True), 3, 3)
    dropped = [level for level, up in enumerate(network.up) if isinstance(up.dropout, nn.Dropout)]
    assert dropped == [4, 5, 6]
    with pytest.raises(UserError, match="depth >= 6"):
        UnetConfig(depth=5, dropout=True)


def test_it_compiles_as_one_graph() -> None:
    network = UnetGenerator(UnetConfig(width=2, depth=3), 3, 3).eval()
    image = torch.randn(1, 3, 16, 16)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), network(image))
