from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unpaired.core.errors import UserError
from unpaired.networks import InitConfig, PatchganConfig, ResnetConfig, build_discriminator, build_generator, initialize


def test_normal_is_the_default_and_reaches_every_layer() -> None:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=16, blocks=1, norm="batch"), 3, 3)
    initialize(network, InitConfig())
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.weight.mean().item() == pytest.approx(0, abs=0.002)
            assert layer.bias is None or not layer.bias.any()
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert 0.005 < layer.weight.std().item() < 0.04
            assert not layer.bias.any()


@pytest.mark.parametrize("scheme", ["xavier", "kaiming", "orthogonal"])
def test_the_other_schemes(scheme: str) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 64, 4)
    initialize(layer, InitConfig(scheme=scheme, gain=0.5))
    fan_in, fan_out = 32 * 16, 64 * 16
    if scheme == "orthogonal":
        rows = layer.weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(64), rtol=0, atol=1e-5)
        return
    expected = {"xavier": 0.5 * math.sqrt(2 / (fan_in + fan_out)), "kaiming": math.sqrt(2 / fan_in)}[scheme]
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert not layer.bias.any()


def test_linear_layers_and_other_layers() -> None:
    module = nn.ModuleDict({"linear": nn.Linear(50, 50), "plain": nn.LayerNorm(5)})
    initialize(module, InitConfig(gain=0.1))
    assert module["linear"].weight.std().item() == pytest.approx(0.1, rel=0.1)
    assert torch.equal(module["plain"].weight, torch.ones(5))


def test_the_same_seed_gives_the_same_weights() -> None:
    networks = [build_discriminator(PatchganConfig(width=2), 3) for _ in range(2)]
    for network in networks:
        torch.manual_seed(5)
        initialize(network, InitConfig())
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_impossible_settings_are_refused() -> None:
    for settings in ({"gain": 0.0}, {"gain": math.inf}, {"scheme": "uniform"}, {"sigma": 1.0}):
        with pytest.raises(UserError):
            InitConfig(**settings)
