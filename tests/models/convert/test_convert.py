from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.convert.files import convert_weights, recognise
from unpaired.models.convert.weights import to_official
from unpaired.networks import (
    PatchganConfig,
    PixelConfig,
    ResnetConfig,
    UnetConfig,
    build_discriminator,
    build_generator,
)


def _generator(config: ResnetConfig | UnetConfig) -> dict[str, Tensor]:
    return to_official(config, build_generator(config, 2, 3).state_dict())


def _discriminator(config: PatchganConfig | PixelConfig) -> dict[str, Tensor]:
    return to_official(config, build_discriminator(config, 3).state_dict())


@pytest.mark.parametrize(
    "config", [ResnetConfig(width=2, blocks=0), ResnetConfig(width=2, blocks=3), UnetConfig(width=1, depth=6)]
)
def test_one_entry_for_every_generator(config: ResnetConfig | UnetConfig) -> None:
    converted = convert_weights(_generator(config))
    assert (converted.config, converted.in_channels, converted.out_channels) == (config, 2, 3)
    assert converted.origin == "official generator"
    build_generator(converted.config, 2, 3).load_state_dict(converted.state)


@pytest.mark.parametrize(
    "config",
    [
        PatchganConfig(width=2),
        PatchganConfig(width=2, layers=4, norm="batch"),
        PatchganConfig(width=2, layers=1),
        PixelConfig(width=2),
    ],
)
def test_discriminators_are_recognised_and_refused(config: PatchganConfig | PixelConfig) -> None:
    weights = _discriminator(config)
    assert recognise(weights) == "official discriminator"
    with pytest.raises(UserError, match=r"discriminator.*latest_net_G_A"):
        convert_weights(weights)


def test_the_discriminator_of_pytorch_gan_is_recognised_and_refused(shared: Path) -> None:
    content = load_file(shared / "golden" / "pytorchgan_discriminator.safetensors")
    weights = {name.removeprefix("weights."): value for name, value in content.items() if name.startswith("weights.")}
    assert recognise(weights) == "pytorch-gan discriminator"
    with pytest.raises(UserError, match="pytorch-gan discriminator"):
        convert_weights(weights)


@pytest.mark.parametrize("weights", [{"conv1.weight": torch.zeros(3, 3, 3, 3)}, {"model.1.weight": torch.zeros(7)}, {}])
def test_unknown_weights_are_refused(weights: dict[str, Tensor]) -> None:
    assert recognise(weights) == "unknown"
    with pytest.raises(UserError, match="no known generator"):
        convert_weights(weights)


def test_what_is_not_supported_is_named() -> None:
    affine = _generator(ResnetConfig(width=2, blocks=1))
    affine |= {f"model.2.{leaf}": torch.ones(2) for leaf in ("weight", "bias")}
    with pytest.raises(UserError, match="affine = True"):
        convert_weights(affine)
    wide = {"model.1.weight": torch.zeros(2, 3, 7, 7), "model.16.conv_block.1.weight": torch.zeros(2, 2, 3, 3)}
    for weights in (wide, {**wide, "model1_1.1.weight": torch.zeros(2, 3, 7, 7)}):
        assert recognise(weights) == "pix2pixHD generator"
        with pytest.raises(UserError, match="pix2pixHD, which is not supported"):
            convert_weights(weights)
