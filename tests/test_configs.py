"""Every shipped configuration is a valid run, and the published ones are the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from unpaired.config import read_file, resolve
from unpaired.methods import METHODS, ImageShapes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.toml"))


def test_there_are_some() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_builds(path: Path) -> None:
    import torch

    config = resolve([read_file(path)])
    crop = config.data.crop_size
    shapes = ImageShapes(channels_a=1, channels_b=1, size=(crop, crop) if isinstance(crop, int) else crop)
    with torch.device("meta"):
        METHODS[config.method].make(config.settings, shapes)


def test_the_published_setting_is_the_default() -> None:
    published, default = resolve([read_file(CONFIGS / "published-256.toml")]), resolve([])
    assert published.settings == default.settings
    assert published.training == default.training
    assert published.data.crop_size == default.data.crop_size
