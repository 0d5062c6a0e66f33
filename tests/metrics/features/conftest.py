"""Weights of published networks' shapes with random content, which stand in for files that tests cannot download."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unpaired.core.download import DownloadError
from unpaired.networks.stacks import ALEXNET, VGG16
from weights import random_inception, random_stack


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random_inception.pth"
    torch.save(random_inception(), path)
    return path


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random_vgg.pth"
    torch.save(random_stack(VGG16), path)
    return path


@pytest.fixture(scope="session")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random_alexnet.pth"
    torch.save(random_stack(ALEXNET), path)
    return path


@pytest.fixture
def images() -> Tensor:
    """Three random colour images of 8-bit levels, [3, 3, 40, 56] in [-1, 1]."""
    levels = torch.randint(0, 256, (3, 3, 40, 56), generator=torch.Generator().manual_seed(3))
    return levels / 127.5 - 1


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no test find or fetch a published file by accident."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))

    def refuse(_: object, path: Path) -> object:
        raise DownloadError(path.name, ["tests have no network"])

    monkeypatch.setattr("unpaired.metrics.features.weights.download", refuse)
