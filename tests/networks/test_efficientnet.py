"""EfficientNet-Lite0: its shapes by the paper, and what it sees with the published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from skimage import data

from unpaired.core.errors import UserError
from unpaired.data.decode import decode
from unpaired.metrics.features import Lite0Features, class_names, class_numbers, has_lite0, open_features
from unpaired.networks.efficientnet import DIM, EfficientNetLite0


def test_size_and_shapes() -> None:
    network = EfficientNetLite0()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 4_652_008  # 4.7 million in the authors' table
    images = torch.zeros(1, 3, 224, 250)
    assert network.positions(images).shape == (1, 112, 14, 16)
    assert network.vectors(images).shape == (1, DIM)
    assert network(images).shape == (1, 1000)


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_that_of_tensorflow(size: int, kernel: int) -> None:
    from unpaired.networks.efficientnet import _Convolution

    layer = _Convolution(1, 1, kernel, 2)
    images = torch.randn(1, 1, size, size)
    needed = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    before, behind = needed // 2, needed - needed // 2
    by_hand = nnf.conv2d(nnf.pad(images, (before, behind, before, behind)), layer.weight, stride=2)
    torch.testing.assert_close(layer(images), by_hand)


def test_other_weights_are_refused() -> None:
    with pytest.raises(UserError, match=r"x\.pth does not hold the weights of EfficientNet-Lite0"):
        EfficientNetLite0().load({"a": torch.zeros(1)}, "x.pth")


@pytest.fixture(scope="module")
def lite0() -> Lite0Features:
    try:
        opened = open_features("lite0")
    except UserError:
        pytest.skip("the extra `features` is not installed")
    assert isinstance(opened, Lite0Features)
    return opened


def _signed(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize(
    ("picture", "seen"), [("chelsea", "Egyptian cat"), ("coffee", "espresso"), ("rocket", "missile")]
)
def test_pictures_are_recognised(lite0: Lite0Features, picture: str, seen: str) -> None:
    number = int(lite0.classes(_signed(getattr(data, picture)())))
    assert class_names()[number] == seen
    assert number in class_numbers(seen.upper())


def test_zebras_are_called_zebra(lite0: Lite0Features, shared: Path) -> None:
    zebras = sorted((shared / "data" / "horse2zebra" / "testB").iterdir())[:40]
    seen = [class_names()[int(lite0.classes(_signed(decode(path))))] for path in zebras]
    assert seen.count("zebra") >= 35


def test_features_of_grey_and_of_large_images(lite0: Lite0Features) -> None:
    grey = torch.rand(2, 1, 40, 300) * 2 - 1
    assert lite0(grey).shape == (2, DIM)
    torch.testing.assert_close(lite0(grey), lite0(grey.expand(-1, 3, -1, -1)))
    maps = lite0.maps(grey)
    assert maps is not None
    assert maps.shape == (2, 112, 14, 56)  # the longer side is at most four times the shorter one
    assert "FID" not in lite0.name
    assert not lite0.plain_fid


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r'no class "zebr".*Did you mean "zebra"'):
        class_numbers("zebr")
    assert len(class_names()) == 1000
    assert class_numbers("crane") == (134, 517)  # a bird and a machine


@pytest.mark.lite0
def test_where_it_is_installed_evaluations_use_it(lite0: Lite0Features, tmp_path: Path) -> None:
    from evaluations import pictures, write_pictures
    from unpaired.evaluation import Options, evaluate

    assert has_lite0()
    real = write_pictures(tmp_path / "real", pictures(7))
    fake = write_pictures(tmp_path / "fake", pictures(7, seed=1))
    metrics = "kernel,density,coverage,class_hit"
    found = evaluate(Options(real=real, fake=fake, device="cpu", metrics=metrics, classes="zebra"))
    figures = {figure.name: figure for figure in found.directions["folders"].figures}
    assert list(figures) == ["kernel", "density", "coverage", "class_hit"]
    assert figures["kernel"].protocol["features"] == "EfficientNet-Lite0"
    assert figures["class_hit"].protocol["class"] == "zebra"
    assert figures["class_hit"].value == 0
    assert found.directions["folders"].bounds["real_images"][0].value == 0
