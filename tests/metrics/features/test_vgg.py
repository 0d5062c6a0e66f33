"""Features of VGG-16: the deepest layer of the file, and the positions of relu4_2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.metrics.features import open_features
from unpaired.metrics.features.published import read_vgg
from unpaired.networks.stacks import VggFeatures
from weights import write_vgg


def test_a_file_of_the_first_layers_gives_relu4_2(tmp_path: Path, images: Tensor) -> None:
    path = write_vgg(tmp_path / "small.safetensors")
    features = open_features(f"vgg:{path}")
    assert (features.name, features.dim, features.minimum_size) == ("VGG-16 relu4_2 (small.safetensors)", 512, 8)
    trained = VggFeatures()
    trained.load(*read_vgg(path, "vgg"))
    expected = trained(images)  # what trainings compare by
    maps = features.maps(images)
    assert maps is not None
    assert maps.shape == (3, 512, 5, 7)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features(images), expected.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_the_whole_file_gives_relu5_3_and_maps_of_relu4_2(vgg_file: Path, images: Tensor) -> None:
    features = open_features(f"vgg:{vgg_file}")
    assert features.name == "VGG-16 relu5_3 (random_vgg.pth)"
    assert not features.plain_fid
    assert features(images).shape == (3, 512)
    maps = features.maps(images)
    assert maps is not None
    assert maps.shape == (3, 512, 5, 7)
    alone = torch.cat([features(image[None]) for image in images])
    torch.testing.assert_close(features(images), alone, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="at least 16 x 16 pixels; received 15 x 40"):
        features(torch.zeros(1, 3, 15, 40))


def test_what_is_missing_is_named(tmp_path: Path, vgg_file: Path) -> None:
    weights = torch.load(vgg_file)
    del weights["features.14.bias"]
    torch.save(weights, tmp_path / "hole.pth")
    with pytest.raises(UserError, match=r"weights of VGG-16: features.14.bias should be \[256\], found nothing"):
        open_features(f"vgg:{tmp_path / 'hole.pth'}")
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"features.0.weight should be \[64, 3, 3, 3\], found nothing"):
        open_features(f"vgg:{tmp_path / 'other.safetensors'}")
