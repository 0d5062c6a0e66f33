"""The words that name features, and the images that all of them take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.metrics.features import Features, open_features, with_absolute_path
from unpaired.metrics.features import base as room
from weights import write_vgg


@pytest.fixture
def features(tmp_path: Path) -> Features:
    return open_features(f"vgg:{write_vgg(tmp_path / 'small.safetensors')}")


@pytest.mark.parametrize("spec", ["", "incepton", "inception:", "vgg:", "vgg16", "a b:c", "weights.pth", "3:network"])
def test_other_words_are_refused(spec: str) -> None:
    with pytest.raises(UserError, match=r"names no features\. Allowed: lite0, lite0:FILE, inception, "):
        open_features(spec)


def test_the_message_helps_on() -> None:
    with pytest.raises(UserError, match='Did you mean "inception"'):
        open_features("incepton")
    with pytest.raises(UserError, match=r"write inception:weights.pth, vgg:weights.pth or lite0:weights.pth"):
        open_features("weights.pth")


def test_files_are_named_so_that_every_folder_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert with_absolute_path("net.PT2") == str(tmp_path / "net.PT2")
    assert with_absolute_path("vgg:~/v.pth") == f"vgg:{tmp_path / 'home' / 'v.pth'}"
    assert with_absolute_path("inception:/some/file.pth") == "inception:/some/file.pth"
    for spec in ("inception", "vgg", "module.part:network", "inception:"):
        assert with_absolute_path(spec) == spec


def test_the_device_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device = tpu: cannot be used"):
        open_features(f"vgg:{write_vgg(tmp_path / 'small.safetensors')}", device="tpu")


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"network": torch.nn.Linear(2, 2)}, tmp_path / "whole.pth")
    with pytest.raises(UserError, match="wants to run"):
        open_features(f"inception:{tmp_path / 'whole.pth'}")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 4, 32, 32), "1 or 3 channels; received"),
        (torch.zeros(3, 32, 32), "1 or 3 channels; received"),
        (torch.zeros(0, 3, 32, 32), "at least one image"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "float tensor .* received torch.uint8"),
        (torch.zeros(1, 3, 32, 7), r"at least 8 x 8 pixels; received 32 x 7"),
        (torch.full((1, 3, 32, 32), 255.0), r"values in \[-1, 1\]; received values from 255 to 255"),
        (torch.full((1, 3, 32, 32), float("nan")), "received values from nan to nan"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(features: Features, images: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        features(images)


def test_images_pass_in_parts_of_bounded_size(
    features: Features, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = features(images)
    sizes: list[int] = []
    compute = features._vectors

    def counted(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return compute(part)

    monkeypatch.setattr(features, "_vectors", counted)
    monkeypatch.setattr(room, "PIXELS_AT_ONCE", 2 * 40 * 56)
    torch.testing.assert_close(features(images), whole, rtol=1e-5, atol=1e-5)
    assert sizes == [2, 1]
    sizes.clear()
    monkeypatch.setattr(room, "PIXELS_AT_ONCE", 1)
    features(images)
    assert sizes == [1, 1, 1]


def test_measuring_leaves_the_settings_of_pytorch_alone(features: Features, images: Tensor) -> None:
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled)
    features(images)
    assert before == (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.enabled,
    )
