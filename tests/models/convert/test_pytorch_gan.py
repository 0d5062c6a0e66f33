from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.convert.files import recognise
from unpaired.models.convert.weights import pytorch_gan_generator, resnet_names, to_theirs
from unpaired.networks import ResnetConfig, build_generator


def _weights(blocks: int, channels: int = 3) -> dict[str, Tensor]:
    network = build_generator(ResnetConfig(width=2, blocks=blocks, upsampling="nearest"), channels, channels)
    return to_theirs(network.state_dict(), resnet_names(blocks, "block", dropout=False, upsampled=1))


def test_the_golden_generator(shared: Path) -> None:
    content = load_file(shared / "golden" / "pytorchgan_generator_2blocks.safetensors")
    weights = {name.removeprefix("weights."): value for name, value in content.items() if name.startswith("weights.")}
    config, in_channels, out_channels, state = pytorch_gan_generator(weights)
    assert (config, in_channels, out_channels) == (ResnetConfig(blocks=2, upsampling="nearest"), 3, 3)
    network = build_generator(config, 3, 3).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(network(content["input"]), content["output"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("blocks", [0, 1, 9])
def test_any_number_of_blocks_is_found(blocks: int) -> None:
    weights = _weights(blocks)
    assert recognise(weights) == "pytorch-gan generator"
    assert pytorch_gan_generator(weights)[0] == ResnetConfig(width=2, blocks=blocks, upsampling="nearest")


def test_what_does_not_fit_is_named() -> None:
    weights = _weights(1)
    weights["model.10.block.2.weight"] = weights.pop("model.10.block.1.weight")
    with pytest.raises(
        UserError, match=r"missing: model\.10\.block\.1\.weight\n.*unexpected: model\.10\.block\.2\.weight"
    ):
        pytorch_gan_generator(weights)


def test_other_channels_would_change_the_size() -> None:
    with pytest.raises(UserError, match="1 channels"):
        pytorch_gan_generator(_weights(1, channels=1))
