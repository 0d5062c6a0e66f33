from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired.data.values import Domain
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.networks import InitConfig, ResnetConfig, build_generator, describe_generator, initialize


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two directions, whose activations have a size like those of a trained one; b2a takes grey images."""
    tensors, cards = {}, {}
    torch.manual_seed(3)
    for direction, inputs, outputs in (("a2b", 3, 3), ("b2a", 3, 3)):
        network = build_generator(ResnetConfig(width=8, blocks=1), inputs, outputs)
        initialize(network, InitConfig(gain=0.1))
        cards[direction] = TranslatorCard(network=describe_generator(network), weights=f"{direction}.safetensors")
        tensors[f"{direction}.safetensors"] = network.state_dict()
    domains = {"a": Domain(channels=3), "b": Domain(channels=3, dtype="uint16", range=(0.0, 4095.0))}
    card = ModelCard(origin="made by a test: größer", domains=domains, translators=cards, training_size=(64, 64))
    folder = tmp_path_factory.mktemp("model") / "model"
    write_model(folder, card, tensors)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve smooth random pictures of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((40 + number, 31 + 2 * number), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    return folder
