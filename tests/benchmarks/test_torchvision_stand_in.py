from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "torchvision_stand_in.py"


@pytest.fixture(scope="module")
def stand_in() -> ModuleType:
    specification = importlib.util.spec_from_file_location("torchvision_stand_in", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def test_numbers(stand_in: ModuleType, pixels: np.ndarray) -> None:
    chain = stand_in.Compose([stand_in.Lambda(lambda image: image), stand_in.ToTensor()])
    values = chain(Image.fromarray(pixels))
    assert torch.equal(values, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
    normal = stand_in.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))(values)
    np.testing.assert_allclose(normal, pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match="deviation of 0"):
        stand_in.Normalize((0.5,), (0.0,))(values)


def test_sizes(stand_in: ModuleType, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    resized = stand_in.Resize([50, 60], Image.Resampling.BICUBIC)(image)
    assert np.array_equal(resized, image.resize((60, 50), Image.Resampling.BICUBIC))
    assert stand_in.Resize([40, 30])(image) is image


def test_chance(stand_in: ModuleType, pixels: np.ndarray) -> None:
    torch.manual_seed(0)
    image = Image.fromarray(pixels)
    crops = {stand_in.RandomCrop(28)(image).tobytes() for _ in range(400)}
    places = {pixels[y : y + 28, x : x + 28].tobytes() for y in range(13) for x in range(3)}
    assert crops == places
    flipped = {stand_in.RandomHorizontalFlip()(image).tobytes() for _ in range(40)}
    assert flipped == {pixels.tobytes(), pixels[:, ::-1].tobytes()}
