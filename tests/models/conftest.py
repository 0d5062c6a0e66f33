from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.translator import Translator
from unpaired.networks import (
    Generator,
    InitConfig,
    ResnetConfig,
    UnetConfig,
    build_generator,
    describe_generator,
    initialize,
)

MakeModel = Callable[..., Path]
MakeTranslator = Callable[..., Translator]


class Identity(Generator):
    """Returns what it gets, grey for colour and colour for grey: what remains are the conversions around a network."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(None, in_channels, out_channels, size_multiple=4, minimum_size=8)

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        if self.in_channels == self.out_channels:
            return image.clone()
        return image.mean(1, keepdim=True).expand(-1, self.out_channels, -1, -1).contiguous()


def make_card(a: Domain, b: Domain, translators: dict[str, TranslatorCard]) -> ModelCard:
    return ModelCard(origin="made by a test", domains={"a": a, "b": b}, translators=translators)


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model folder with small random networks."""

    def make(
        name: str = "model",
        *,
        a: Domain | None = None,
        b: Domain | None = None,
        directions: tuple[str, ...] = ("a2b", "b2a"),
        config: ResnetConfig | UnetConfig | None = None,
    ) -> Path:
        domains = {"a": a or Domain(channels=3), "b": b or Domain(channels=3)}
        cards, tensors = {}, {}
        torch.manual_seed(7)
        for direction in directions:
            source, target = direction.split("2")
            network = build_generator(
                config or ResnetConfig(width=4, blocks=1), domains[source].channels, domains[target].channels
            )
            initialize(network, InitConfig(gain=0.2))
            cards[direction] = TranslatorCard(network=describe_generator(network), weights=f"{direction}.safetensors")
            tensors[f"{direction}.safetensors"] = network.state_dict()
        folder = tmp_path / name
        write_model(folder, make_card(domains["a"], domains["b"], cards), tensors)
        return folder

    return make


@pytest.fixture
def make_identity() -> MakeTranslator:
    """Return a translator whose network does nothing."""

    def make(a: Domain | None = None, b: Domain | None = None) -> Translator:
        source, target = a or Domain(channels=3), b or Domain(channels=3)
        network = Identity(source.channels, target.channels)
        return Translator(network, make_card(source, target, {}), "a2b", device="cpu")

    return make
