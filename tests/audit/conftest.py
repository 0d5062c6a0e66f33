"""A run of small random networks, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from runs import write_images
from unpaired.core.given import Given
from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import InitConfig, ResnetConfig, build_generator, describe_generator, initialize
from unpaired.training.settings import resolve

MakeRun = Callable[..., Path]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of few small images for training and tests."""
    return write_images(tmp_path / "data", {"trainA": 2, "trainB": 2, "testA": 4, "testB": 3})


@pytest.fixture
def make_model(tmp_path: Path) -> MakeRun:
    """Write a model folder with small random networks."""

    def make(
        folder: str = "model",
        *,
        directions: tuple[str, ...] = ("a2b", "b2a"),
        family: str | None = None,
        size: tuple[int, int] | None = (16, 16),
    ) -> Path:
        domain = Domain(channels=3)
        cards, tensors = {}, {}
        torch.manual_seed(7)
        for direction in directions:
            network = build_generator(ResnetConfig(width=4, blocks=1), 3, 3)
            initialize(network, InitConfig(gain=0.2))
            described = describe_generator(network) if family is None else {"family": family}
            cards[direction] = TranslatorCard(network=described, weights=f"{direction}.safetensors")
            tensors[f"{direction}.safetensors"] = network.state_dict()
        card = ModelCard(
            origin="made by a test",
            method="cyclegan",
            images_seen=100,
            training_size=size,
            domains={"a": domain, "b": domain},
            translators=cards,
        )
        write_model(tmp_path / folder, card, tensors)
        return tmp_path / folder

    return make


@pytest.fixture
def run(make_model: MakeRun, images: Path, tmp_path: Path) -> Path:
    """A run with one checkpoint, for images of 16 x 16."""
    make_model("run/checkpoints/000000100")
    config = resolve([Given({"data.root": str(images), "data.crop_size": 16}, "{name}")])
    document = {
        section: {name: value for name, value in settings.items() if value is not None}
        for section, settings in config.to_json().items()
    }
    (tmp_path / "run" / "config.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / "run"
