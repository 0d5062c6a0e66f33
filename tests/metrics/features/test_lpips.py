"""LPIPS: its equation by hand, the authors' package and torchmetrics where they are installed, and its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.metrics.features import Lpips, open_lpips
from unpaired.networks.stacks import ALEXNET, Stack
from weights import random_heads

ALEX, VGG = (64, 192, 384, 256, 256), (64, 128, 256, 512, 512)
NETS = [("alex", ALEX), ("vgg", VGG)]


@pytest.fixture
def backbones(alexnet_file: Path, vgg_file: Path) -> dict[str, Path]:
    return {"alex": alexnet_file, "vgg": vgg_file}


def pair(height: int = 70, width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(3, 3, height, width, generator=generator) * 2 - 1
    return x, (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def opened(net: str, widths: tuple[int, ...], backbone: Path, folder: Path) -> Lpips:
    torch.save(random_heads(widths), folder / "heads.pth")
    return open_lpips(f"{net}:{backbone}", heads=folder / "heads.pth")


def test_the_distance_is_equation_1(alexnet_file: Path, tmp_path: Path) -> None:
    lpips = opened("alex", ALEX, alexnet_file, tmp_path)
    x, y = pair()
    layers = [f"relu{number}" for number in range(1, 6)]
    network = Stack(ALEXNET).load(torch.load(alexnet_file), "file", "AlexNet")
    expected = torch.zeros(3, dtype=torch.float64)
    for layer, weight in zip(layers, random_heads(ALEX).values(), strict=True):
        a, b = (network(image, layers)[layer].double() for image in (x, y))
        a, b = (value / value.norm(dim=1, keepdim=True) for value in (a, b))
        height, width = a.shape[2:]
        expected += (weight.double() * (a - b) ** 2).sum((1, 2, 3)) / (height * width)
    found = lpips(x, y)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    assert (found > 0.01).all()
    torch.testing.assert_close(lpips(x, x), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(lpips(y, x), found, rtol=1e-5, atol=0)
    torch.testing.assert_close(lpips(x[1:2], y[1:2]), found[1:2], rtol=1e-5, atol=0)


def test_own_weights_are_told_and_grey_images_repeated(alexnet_file: Path, tmp_path: Path) -> None:
    lpips = opened("alex", ALEX, alexnet_file, tmp_path)
    assert lpips.name == "LPIPS (AlexNet, random_alexnet.pth, heads.pth)"
    assert not lpips.plain
    x, y = (image[:, :1] for image in pair())
    assert torch.equal(lpips(x, y), lpips(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("net", "widths", "minimum"), [("alex", ALEX, 31), ("vgg", VGG, 16)])
def test_the_smallest_image_works_and_a_smaller_one_is_refused(
    net: str, widths: tuple[int, ...], minimum: int, backbones: dict[str, Path], tmp_path: Path
) -> None:
    lpips = opened(net, widths, backbones[net], tmp_path)
    assert lpips.minimum_size == minimum
    x, y = pair(minimum, minimum)
    assert lpips(x, y).isfinite().all()
    with pytest.raises(UserError, match=f"at least {minimum} x {minimum} pixels; received {minimum - 1} x {minimum}"):
        lpips(x[:, :, 1:], y[:, :, 1:])


def test_what_cannot_be_compared_or_opened_is_told(alexnet_file: Path, vgg_file: Path, tmp_path: Path) -> None:
    lpips = opened("alex", ALEX, alexnet_file, tmp_path)
    x, y = pair()
    with pytest.raises(UserError, match=r"pairs of one size; received \[3, 3, 70, 64\] and \[3, 3, 64, 64\]"):
        lpips(x, y[:, :, :64])
    with pytest.raises(UserError, match=r"pairs of one size; received \[3, .* and \[1, "):
        lpips(x, y[:1])
    with pytest.raises(UserError, match=r'"alx" is no network of LPIPS.*Did you mean "alex"'):
        open_lpips("alx")
    with pytest.raises(UserError, match="named twice"):
        open_lpips(f"alex:{alexnet_file}", backbone=alexnet_file)
    with pytest.raises(UserError, match=r"weights of AlexNet: features.0.weight should be \[64, 3, 11, 11\]"):
        opened("alex", ALEX, vgg_file, tmp_path)
    with pytest.raises(UserError, match=r"lin1.model.1.weight should be \[1, 192, 1, 1\], found \[1, 128, 1, 1\]"):
        opened("alex", VGG, alexnet_file, tmp_path)


@pytest.mark.parametrize("net", ["alex", "vgg"])
@pytest.mark.parametrize("package", ["torchmetrics", "lpips"])
def test_the_heads_of_installed_packages_are_the_authors(
    net: str, package: str, backbones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: find_spec(name) if name == package else None)
    lpips = open_lpips(f"{net}:{backbones[net]}")
    assert lpips.name.endswith(f", {backbones[net].name})")  # the heads are not named: they are the published ones


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # lpips builds torchvision's networks with old arguments
@pytest.mark.parametrize(("net", "widths"), NETS)
def test_distances_are_those_of_the_authors_package(
    net: str, widths: tuple[int, ...], backbones: dict[str, Path], tmp_path: Path
) -> None:
    package = pytest.importorskip(
        "lpips",
        reason="lpips, the reference, or its torchvision is not installed",
        exc_type=(ImportError, RuntimeError),
    )
    ours = opened(net, widths, backbones[net], tmp_path)
    theirs = package.LPIPS(net=net, pnet_rand=True, model_path=str(tmp_path / "heads.pth"), verbose=False)
    _load_backbone(theirs.net, torch.load(backbones[net]))
    x, y = pair()
    with torch.no_grad():
        expected = theirs(x, y).flatten()
    print(f"lpips {net}: largest relative difference {((ours(x, y) - expected) / expected).abs().max().item():.2e}")
    torch.testing.assert_close(ours(x, y), expected, rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "widths"), NETS)
def test_distances_are_those_of_torchmetrics(
    net: str, widths: tuple[int, ...], backbones: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("torchvision", reason="needs torchvision", exc_type=(ImportError, RuntimeError))
    package = pytest.importorskip("torchmetrics.functional.image.lpips", exc_type=(ImportError, RuntimeError))
    ours = opened(net, widths, backbones[net], tmp_path)
    theirs = package._LPIPS(net=net, pnet_rand=True, pretrained=False, use_dropout=True)
    theirs.load_state_dict(random_heads(widths), strict=False)
    theirs.eval()
    _load_backbone(theirs.net, torch.load(backbones[net]))
    x, y = pair()
    with torch.no_grad():
        expected = theirs(x, y).flatten()
    difference = ((ours(x, y) - expected) / expected).abs().max().item()
    print(f"torchmetrics {net}: largest relative difference {difference:.2e}")
    torch.testing.assert_close(ours(x, y), expected, rtol=1e-4, atol=0)  # it divides by sqrt(sum + 1e-8)


def _load_backbone(network: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Put torchvision's names into the slices in which both packages keep the layers, by the layers' numbers."""
    own = network.state_dict()
    found = {name: weights[f"features.{name.split('.', 1)[1]}"] for name in own}
    network.load_state_dict(found)
