"""Which networks are opened: those that were asked for, and Inception where its file is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluations import pictures, write_data, write_pictures, write_small_model
from unpaired.core.errors import UserError
from unpaired.evaluation import Options, evaluate
from unpaired.metrics.features import Features


class Published(Features):
    """In place of Inception with the published weights."""

    name, plain_fid, fingerprint, dim, input = "Inception-v3 (FID)", True, "published", 3, "as they are"

    def _vectors(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Plain:
    """In place of LPIPS."""

    name, fingerprint, input = "LPIPS (test)", "1", "as it is"

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean((1, 2, 3))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the published file be at hand; return what was opened."""
    found = list[str]()

    def open_features(spec: str, **_: Any) -> Features:
        found.append(spec)
        return Published(torch.device("cpu"))

    def open_lpips(net: str, **_: Any) -> Plain:
        found.append(net)
        return Plain()

    monkeypatch.setattr("unpaired.metrics.features.open_features", open_features)
    monkeypatch.setattr("unpaired.metrics.features.open_lpips", open_lpips)
    monkeypatch.setattr("unpaired.metrics.features.weights.is_at_hand", lambda _: True)
    return found


def folders(tmp_path: Path, **options: Any) -> list[str]:
    real = write_pictures(tmp_path / "real", pictures(6))
    fake = write_pictures(tmp_path / "fake", pictures(6, seed=1))
    found = evaluate(Options(real=real, fake=fake, device="cpu", **options)).directions["folders"]
    return [one.name for one in found.figures if not one.name.startswith("swd_")]


def test_fid_and_kid_by_default_where_the_file_is_at_hand(tmp_path: Path, opened: list[str]) -> None:
    assert folders(tmp_path) == ["swd", "colour", "fid", "kid", "precision", "recall", "density", "coverage"]
    assert opened == ["inception"]


def test_nothing_is_opened_that_is_not_needed(tmp_path: Path, opened: list[str]) -> None:
    assert folders(tmp_path, metrics=("swd",)) == ["swd"]
    assert not opened


def test_a_file_of_ones_own_and_lpips(tmp_path: Path, opened: list[str]) -> None:
    assert folders(tmp_path, metrics=("fid",), inception="own.pth") == ["fid"]
    assert folders(tmp_path, metrics=("lpips",), paired=True) == ["lpips"]
    assert folders(tmp_path, metrics=("lpips", "paired"), lpips="vgg", paired=True) == ["l1", "psnr", "ssim", "lpips"]
    assert opened == ["inception:own.pth", "alex", "vgg"]


def test_what_was_given_and_cannot_be_used_is_refused(tmp_path: Path, opened: list[str]) -> None:
    model, data = write_small_model(tmp_path / "model"), write_data(tmp_path / "data")
    with pytest.raises(UserError, match="lpips: it is not known which true image belongs"):
        evaluate(Options(model=model, data=data, lpips="alex", device="cpu"))
    assert "alex" in opened
