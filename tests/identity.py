"""A model that returns what it gets: what a translation with it changes is changed around the network.

Its weights are set by hand, one 1 x 1 convolution without a bias. As a folder it goes through every command:
`unpaired translate MODEL scans --out OUT --extension identity:Identity`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unpaired.core.extensions import allow_extensions
from unpaired.core.settings import Settings
from unpaired.data.scale import Scale
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import Generator, describe_generator

EXTENSION = "identity:Identity"


class IdentityConfig(Settings):
    """Settings of a network that does nothing."""

    family: str = EXTENSION
    """Which generator this is."""


class Identity(Generator):
    """Returns what it gets; of another number of channels their mean."""

    config_class = IdentityConfig
    config: IdentityConfig

    def __init__(self, config: IdentityConfig, in_channels: int, out_channels: int) -> None:
        super().__init__(config, in_channels, out_channels, size_multiple=4, minimum_size=8)
        self.mix = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        mixed: Tensor = self.mix(image)
        return mixed


def write_identity(folder: Path, a: Domain, b: Domain | None = None, scale: Scale | None = None) -> Path:
    """Write a model folder whose two directions change nothing, from domain `a` to `b` (by default the same)."""
    domains = {"a": a, "b": b or a}
    cards, tensors = dict[str, TranslatorCard](), dict[str, dict[str, Tensor]]()
    for direction in ("a2b", "b2a"):
        ins, outs = (domains[side].channels for side in direction.split("2"))
        network = Identity(IdentityConfig(), ins, outs)
        weight = torch.eye(ins) if ins == outs else torch.full((outs, ins), 1 / ins)
        network.mix.weight.data = weight[:, :, None, None].contiguous()
        cards[direction] = TranslatorCard(network=describe_generator(network), weights=f"{direction}.safetensors")
        tensors[f"{direction}.safetensors"] = network.state_dict()
    allow_extensions([EXTENSION])
    extensions: dict[str, list[str]] = {"generator": [EXTENSION]}
    card = ModelCard(origin="made by a test", domains=domains, translators=cards, scale=scale, extensions=extensions)  # type: ignore[arg-type]
    write_model(folder, card, tensors)
    return folder
