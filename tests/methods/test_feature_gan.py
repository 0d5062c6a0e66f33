"""Feature loss + GAN: its loss by hand, where its weights come from, and the contract of all methods."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import contract
from unpaired.core.errors import UserError
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.feature_gan import Config, FeatureGAN
from unpaired.metrics.features import open_features
from unpaired.metrics.features.weights import VGG16_FILE, file_checksum
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.networks.efficientnet import SPREAD
from weights import write_vgg

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vgg(tmp_path_factory.mktemp("vgg") / "vgg.safetensors")


def _config(weights: Path, **changes: object) -> Config:
    return Config(
        generator=ResnetConfig(width=4, blocks=1),
        discriminator=PatchganConfig(width=4, layers=1),
        pool_size=2,
        vgg_weights=str(weights),
        feature_size=0,
        **changes,  # type: ignore[arg-type]
    )


def test_contract(weights: Path) -> None:
    config = _config(weights)
    contract.keeps_it(lambda: FeatureGAN(config, SHAPES), lambda: contract.batches(3, 3, 16))


def test_the_distance_is_that_of_features(weights: Path) -> None:
    torch.manual_seed(0)
    method = FeatureGAN(_config(weights), SHAPES)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    refiner, *_ = method.step(iter([Batch(x, x), Batch(x, x)]))
    with torch.no_grad():
        expected = 10 * (method.features(method.R(x)) - method.features(x)).abs().mean()
    assert refiner.terms["regularization"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert method.distance(x, x).item() == 0


def test_images_are_brought_to_the_size_of_the_features(weights: Path) -> None:
    method = FeatureGAN(replace(_config(weights), feature_size=32), SHAPES)
    seen: list[torch.Size] = []
    method.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    method.distance(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    assert [tuple(shape[2:]) for shape in seen] == [(32, 32), (32, 32)]


def test_vgg_is_neither_trained_nor_stored(weights: Path) -> None:
    method = FeatureGAN(_config(weights), SHAPES)
    assert not any(name.startswith("features") for name, _ in method.named_parameters())
    assert not any(name.startswith("features") for name in method.state_dict())


def test_it_is_never_silently_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unpaired.core.download import DownloadError

    def unreachable(_: object, path: Path) -> None:
        raise DownloadError(path.name, ["no network"])

    monkeypatch.setattr("unpaired.metrics.features.weights.download", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("UNPAIRED_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        FeatureGAN(Config(), SHAPES)
    for part in ("vgg16-397923af.pth", str(tmp_path), "method.vgg_weights", "no network"):
        assert part in str(caught.value)


def test_shapes_alone_need_no_weights() -> None:
    with torch.device("meta"):
        method = FeatureGAN(Config(), SHAPES)
        batch = Batch(torch.empty(1, 3, 32, 32), torch.empty(1, 3, 32, 32))
        next(method.step(iter([batch])))


def test_torchvisions_file_is_found_in_its_cache(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    torch.save(load_file(weights), place / "vgg16-397923af.pth")
    config = replace(_config(weights), vgg_weights=None)
    with pytest.raises(UserError, match=r"is not the file of torchvision's VGG-16: expected the SHA-256 397923af"):
        FeatureGAN(config, SHAPES)
    checksum = file_checksum(place / "vgg16-397923af.pth")
    monkeypatch.setattr("unpaired.metrics.features.published.VGG16_FILE", replace(VGG16_FILE, sha256=checksum))
    found, named = FeatureGAN(config, SHAPES).features, FeatureGAN(_config(weights), SHAPES).features
    assert all(torch.equal(a, b) for a, b in zip(found.buffers(), named.buffers(), strict=True))


def test_the_file_is_noted_and_must_stay_the_same(weights: Path, tmp_path: Path) -> None:
    noted, notices = FeatureGAN.adapt(_config(weights), SHAPES, frozenset())
    assert noted.vgg_weights == str(weights)
    assert noted.vgg_sha256 is not None
    assert notices == [f"VGG-16's weights come from {weights}"]
    assert FeatureGAN.adapt(noted, SHAPES, frozenset())[0] == noted
    other = tmp_path / "other.safetensors"
    save_file({"nothing": torch.zeros(1)}, other)
    with pytest.raises(UserError, match="has changed since this run began"):
        FeatureGAN.adapt(replace(noted, vgg_weights=str(other)), SHAPES, frozenset())


@pytest.mark.parametrize("name", ["absent.pth", "text.pth", "wrong.safetensors"])
def test_files_that_are_no_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "text.pth":
        path.write_text("hello")
    if name == "wrong.safetensors":
        save_file({"features.0.weight": torch.zeros(64, 1, 3, 3)}, path)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        FeatureGAN(_config(path), SHAPES)


def test_channels_that_vgg_does_not_see(weights: Path) -> None:
    with pytest.raises(UserError, match=r"domain B has 5 channels.*data\.labels_b\.feed = colour"):
        FeatureGAN(_config(weights), ImageShapes(channels_a=1, channels_b=5, size=(16, 16)))


@pytest.mark.lite0
def test_without_vgg_the_installed_network_compares(weights: Path) -> None:
    config = replace(_config(weights), vgg_weights=None, feature_size=32)
    noted, notices = FeatureGAN.adapt(config, SHAPES, frozenset())
    assert noted.features == "lite0"
    assert "not by VGG-16" in notices[0]
    method = FeatureGAN(noted, SHAPES)
    assert not any(name.startswith("features") for name in (*method.state_dict(), *dict(method.named_parameters())))
    x = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    seen = method.features(x)
    maps = open_features("lite0").maps(x.detach().repeat_interleave(14, 2).repeat_interleave(14, 3))
    assert maps is not None
    same = method.train().features(x.detach().repeat_interleave(14, 2).repeat_interleave(14, 3))
    assert torch.allclose(same * SPREAD, maps, atol=1e-3), "in training too its statistics are fixed"
    seen.abs().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    with torch.device("meta"):
        FeatureGAN(noted, SHAPES).distance(torch.empty(1, 3, 16, 16), torch.empty(1, 3, 16, 16))
    assert FeatureGAN.adapt(_config(weights), SHAPES, frozenset())[0].features == "vgg"
    with pytest.raises(UserError, match="Leave one of them out"):
        replace(_config(weights), features="lite0")
