"""How weights start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from unpaired.core.settings import Settings


class InitConfig(Settings):
    """The distribution of the first weights."""

    scheme: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    """Normal with standard deviation `gain` as published, or one of the schemes of the authors' code."""
    gain: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of "normal", factor of "xavier" and "orthogonal"; "kaiming" has none."""


def initialize(module: nn.Module, config: InitConfig) -> None:
    """Draw the weights of `module` in place from torch's default generator, by the rules of the authors' code.

    Weights of convolutions and linear layers follow the scheme, their biases become 0. Weights of BatchNorm are drawn
    from N(1, gain) in every scheme, its biases become 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(layer.weight, config)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, config.gain)
            nn.init.zeros_(layer.bias)


def _draw(weight: Tensor, config: InitConfig) -> None:
    if config.scheme == "normal":
        nn.init.normal_(weight, 0.0, config.gain)
    elif config.scheme == "xavier":
        nn.init.xavier_normal_(weight, gain=config.gain)
    elif config.scheme == "kaiming":
        nn.init.kaiming_normal_(weight, a=0, mode="fan_in")
    else:
        nn.init.orthogonal_(weight, gain=config.gain)
