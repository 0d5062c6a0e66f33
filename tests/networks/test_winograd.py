"""Winograd's convolution against the direct one in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unpaired.networks import ResnetConfig, ResnetGenerator, winograd
from unpaired.networks.bridge_resnet import BridgeResnetConfig, BridgeResnetGenerator
from unpaired.networks.winograd import Kernels, convolve_reflected

Sizes = st.integers(2, 13)
Channels = st.integers(1, 6)


def far(found: Tensor | None, expected: Tensor | None) -> float:
    """Return the largest difference, relative to the largest value."""
    assert found is not None
    assert expected is not None
    return float((found - expected).abs().max() / expected.abs().max())


@settings(max_examples=15, deadline=None, database=None)
@given(st.integers(1, 3), Channels, Channels, Sizes, Sizes, st.booleans(), st.booleans())
def test_values_and_gradients_of_any_size(
    batch: int, channels: int, out: int, height: int, width: int, bias: bool, strided: bool
) -> None:
    torch.manual_seed(height * 13 + width)
    layer = nn.Conv2d(channels, out, 3, bias=bias)
    exact = copy.deepcopy(layer).double()
    image = torch.randn(batch, channels, height, width)
    if strided:
        image = image.contiguous(memory_format=torch.channels_last)
    given_image, exact_image = image.clone().requires_grad_(), image.double().requires_grad_()
    found = convolve_reflected(given_image, layer, Kernels())
    expected = exact(nnf.pad(exact_image, (1, 1, 1, 1), mode="reflect"))
    gradient = torch.randn(expected.shape)
    torch.autograd.backward([found, expected], [gradient, gradient.double()])
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert far(found.detach(), expected.detach()) < 1e-5
    assert far(given_image.grad, exact_image.grad) < 1e-5
    for own, other in zip(layer.parameters(), exact.parameters(), strict=True):
        assert far(own.grad, other.grad) < 1e-5


def test_the_rounding_error_is_small() -> None:
    torch.manual_seed(0)
    layer, image = nn.Conv2d(128, 128, 3), torch.randn(1, 128, 32, 32)
    with torch.no_grad():
        padded = nnf.pad(image, (1, 1, 1, 1), mode="reflect")
        exact = copy.deepcopy(layer).double()(padded.double())
        error = (convolve_reflected(image, layer, Kernels()) - exact).square().mean().sqrt()
        assert error < 2e-6 * exact.square().mean().sqrt()


def test_the_rounding_error_in_bfloat16() -> None:
    torch.manual_seed(0)
    layer, image = nn.Conv2d(64, 64, 3), torch.randn(2, 64, 18, 22)
    gradient = torch.randn(2, 64, 18, 22)
    kernels, exact = Kernels(), copy.deepcopy(layer).double()

    def run(layer: nn.Conv2d, image: Tensor, *, by_winograd: bool) -> list[Tensor]:
        image = image.clone().requires_grad_()
        layer.zero_grad()
        if by_winograd:
            found = convolve_reflected(image, layer, kernels)
        else:
            found = layer(nnf.pad(image, (1, 1, 1, 1), mode="reflect"))
        found.backward(gradient.to(found.dtype))
        grads = [each.grad for each in (image, layer.weight, layer.bias) if each is not None and each.grad is not None]
        return [found.detach(), *(each.clone() for each in grads)]

    expected = run(exact, image.double(), by_winograd=False)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(layer, image.bfloat16(), by_winograd=True)
        direct = run(layer, image.bfloat16(), by_winograd=False)
    assert [each.dtype for each in found] == [each.dtype for each in direct]
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for own, other, right in zip(found, direct, expected, strict=True):
        error, of_direct = ((each - right).square().mean().sqrt() for each in (own, other))
        assert error < 6 * of_direct
        assert error < 0.02 * right.square().mean().sqrt()


def test_tiles_computed_in_parts_are_those_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, image = nn.Conv2d(8, 8, 3), torch.randn(2, 8, 22, 18)
    with torch.inference_mode():
        whole = convolve_reflected(image, layer, Kernels())
        monkeypatch.setattr(winograd, "AT_ONCE", 1)
        gathered: list[int] = []
        gather = winograd._gathered
        monkeypatch.setattr(winograd, "_gathered", lambda rows, places: gathered.append(1) or gather(rows, places))
        assert (convolve_reflected(image, layer, Kernels()) - whole).abs().max() < 1e-6
        assert len(gathered) == 6, "one for each line of tiles"


def test_weights_that_change_are_transformed_anew() -> None:
    layer, kernels = nn.Conv2d(2, 2, 3), Kernels()
    first = kernels.of(layer.weight)
    assert kernels.of(layer.weight) is first
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.equal(kernels.of(layer.weight), 2 * first)
    layer.load_state_dict({name: torch.zeros_like(value) for name, value in layer.state_dict().items()})
    assert not kernels.of(layer.weight).any()
    with torch.inference_mode():
        made_there = torch.ones(2, 2, 3, 3)
        before = kernels.of(made_there).clone()
        made_there.mul_(3)
        assert torch.allclose(kernels.of(made_there), 3 * before)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_network_and_its_gradients(norm: str, recompute: bool) -> None:
    torch.manual_seed(0)
    network = ResnetGenerator(ResnetConfig(width=4, blocks=2, norm=norm), 3, 3)  # type: ignore[arg-type]
    exact = copy.deepcopy(network).double()
    network.use_winograd()
    network.recompute = recompute and norm != "batch"
    image = torch.rand(2, 3, 20, 28) * 2 - 1
    found, expected = network(image), exact(image.double())
    assert found.is_contiguous()
    assert far(found.detach(), expected.detach()) < 1e-4
    weight = torch.rand(found.shape)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    exact_weights = dict(exact.named_parameters())
    largest = max(float(each.grad.abs().max()) for each in exact_weights.values() if each.grad is not None)
    for name, own in network.named_parameters():
        assert own.grad is not None
        other = exact_weights[name].grad
        assert other is not None
        assert float((own.grad - other).abs().max()) < 1e-4 * largest, name
    assert network.state_dict().keys() == exact.state_dict().keys()
    assert copy.deepcopy(network)(image).shape == found.shape


def test_the_blocks_of_a_bridge() -> None:
    torch.manual_seed(0)
    network = BridgeResnetGenerator(BridgeResnetConfig(width=4, blocks=2, steps=3), 3, 3)
    exact = copy.deepcopy(network).double()
    network.use_winograd()
    assert network.residual_channels == 16
    image = torch.rand(2, 3, 20, 28) * 2 - 1
    found = network(image)
    assert found.is_contiguous()
    assert far(found.detach(), exact(image.double()).detach()) < 1e-4
    found.sum().backward()
    exact(image.double()).sum().backward()
    for name in (f"residual.{block}.{place}.convolution.weight" for block in (0, 1) for place in ("first", "second")):
        own, other = (each.get_parameter(name).grad for each in (network, exact))
        assert not torch.equal(own.double(), other), "computed by another algorithm"  # type: ignore[union-attr, arg-type]
        assert far(own, other) < 1e-4


def test_a_network_without_residual_blocks_stays_as_it_is() -> None:
    network = ResnetGenerator(ResnetConfig(width=2, blocks=0), 3, 3)
    assert network.residual_channels == 0
    network.use_winograd()
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
