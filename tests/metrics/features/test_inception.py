"""The features of FID: their loading path with random weights, and their figures against torch-fidelity."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unpaired.core.cache import user_cache_folder
from unpaired.metrics import features as features_room
from unpaired.metrics.features import Features, open_features
from unpaired.metrics.features.published import InceptionFeatures
from unpaired.metrics.features.weights import INCEPTION, file_checksum


@pytest.fixture(scope="session")
def inception(inception_file: Path) -> Features:
    return open_features(f"inception:{inception_file}")


@pytest.mark.slow
def test_a_file_of_ones_own_is_never_called_fid(inception: Features) -> None:
    assert (inception.name, inception.plain_fid) == ("Inception-v3 (random_inception.pth)", False)
    assert inception.dim == 2048
    assert "299 x 299" in inception.input


@pytest.mark.slow
def test_the_published_file_alone_is_called_fid(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = dataclasses.replace(INCEPTION, sha256=file_checksum(inception_file))
    monkeypatch.setitem(features_room._KNOWN, "inception", (published, InceptionFeatures))
    place = user_cache_folder() / "weights" / published.aliases[0]
    place.parent.mkdir()
    place.symlink_to(inception_file)
    found = open_features("inception")
    assert (found.name, found.plain_fid, found.fingerprint) == ("Inception-v3 (FID)", True, published.sha256)


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch(inception: Features, images: Tensor) -> None:
    together = inception(images)
    assert together.shape == (3, 2048)
    assert together.dtype == torch.float32
    alone = torch.cat([inception(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01  # random weights tell the images apart
    assert inception.maps(images) is None


@pytest.mark.slow
def test_grey_images_are_seen_as_colour_ones_and_values_as_8_bit_levels(inception: Features, images: Tensor) -> None:
    grey = images[:1, :1]
    assert torch.equal(inception(grey), inception(grey.expand(-1, 3, -1, -1)))
    assert torch.equal(inception(grey), inception((grey + 0.4 / 127.5).clamp(max=1)))  # less than half a level


@pytest.mark.slow
def test_features_are_what_torch_fidelity_returned(inception: Features) -> None:
    """The mean feature of each branch of the last block, by torch-fidelity 0.4.0 of the same weights and levels."""
    number = torch.arange(3 * 40 * 56)
    levels = (number * number % 251).reshape(1, 3, 40, 56)
    found = [float(branch.mean()) for branch in inception(levels / 127.5 - 1).split((320, 768, 768, 192), 1)]
    assert found == pytest.approx([2.3172, 2.7197, 2.4633, 2.7685], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 56), (299, 299), (512, 300), (1, 1)])
def test_features_are_those_of_torch_fidelity(inception: Features, inception_file: Path, size: tuple[int, int]) -> None:
    fidelity = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3",
        reason="torch-fidelity, the reference, is not installed or its torchvision does not fit the PyTorch here",
        exc_type=(ImportError, RuntimeError),  # type: ignore[arg-type]
    )
    reference = fidelity.FeatureExtractorInceptionV3("reference", ["2048"], str(inception_file))
    levels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    (expected,) = reference(levels)
    found = inception(levels / 127.5 - 1)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"largest difference at {size}: {difference:.2e} of the largest feature {expected.abs().max().item():.3g}")
    assert difference < 1e-5
