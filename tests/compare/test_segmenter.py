"""The network that labels photos: it learns, it is kept, and it is not exchanged without a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from comparisons import write_labelled
from unpaired.compare.plan import SegmenterSettings
from unpaired.compare.segmenter import WEIGHTS, Network, Segmenter, segmenter_of
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.held_out import Material, open_material, signed_batch, truth_of
from unpaired.data.labels_config import LabelsConfig
from unpaired.models.folder import DamagedError

SETTINGS = SegmenterSettings(images=200, width=4, batch_size=4, learning_rate=1e-2)
CPU = torch.device("cpu")


@pytest.fixture
def material(tmp_path: Path) -> Material:
    labels = LabelsConfig(kind="index", void=(3,))
    root = write_labelled(tmp_path / "data")
    return open_material(DataConfig(root=str(root), crop_size=32, labels_a=labels, workers=1), paired=False)


def _make(folder: Path, material: Material, settings: SegmenterSettings = SETTINGS) -> Segmenter:
    return segmenter_of(folder, material.train, material.domains, "b", settings, CPU, size=material.size)


def test_it_learns_and_is_kept(material: Material, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    random_before = torch.get_rng_state()
    first = _make(folder, material)
    assert torch.equal(torch.get_rng_state(), random_before), "a training's random numbers are not disturbed"
    photos = signed_batch(material.test.b, [0, 1, 2], material.domains["b"])
    labels = material.labels("a")
    assert labels is not None
    truth = np.stack([truth_of(material.test.a[index], labels) for index in range(3)])
    found = first(photos)
    assert found.shape == truth.shape
    assert (found == truth)[truth != 255].mean() > 0.9

    calls: list[int] = []
    again = segmenter_of(
        folder,
        material.train,
        material.domains,
        "b",
        SETTINGS,
        CPU,
        size=(32, 32),
        told=lambda done, total: calls.append(done),
    )
    assert not calls, "read, not trained"
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again(photos), found)
    assert _make(tmp_path / "other", material).fingerprint == first.fingerprint, "the same seed gives the same network"


@pytest.mark.parametrize("name", ["size", "palette"])
def test_one_of_other_images_is_not_taken_for_it(name: str, material: Material, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, images=8)
    _make(tmp_path, material, settings)
    labels = material.labels("a")
    assert labels is not None
    swapped = dataclasses.replace(labels, palette=(labels.palette[1], labels.palette[0], *labels.palette[2:]))
    domains = {"a": dataclasses.replace(material.domains["a"], labels=swapped), "b": material.domains["b"]}
    size, domains = ((16, 16), material.domains) if name == "size" else ((32, 32), domains)
    with pytest.raises(UserError, match=f"trained with other settings: {name} was"):
        segmenter_of(tmp_path, material.train, domains, "b", settings, CPU, size=size)


def test_another_one_is_not_taken_for_it(material: Material, tmp_path: Path) -> None:
    short = dataclasses.replace(SETTINGS, images=8)
    _make(tmp_path, material, short)
    with pytest.raises(UserError, match=r"trained with other settings: settings was .*'images': 8.*'images': 16"):
        _make(tmp_path, material, dataclasses.replace(short, images=16))
    weights = tmp_path / "segmenter" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="Delete the folder"):
        _make(tmp_path, material, short)


@pytest.mark.parametrize("size", [(32, 32), (17, 23), (1, 1)])
def test_any_size_keeps_its_size(size: tuple[int, int]) -> None:
    network = Network(3, 5, 2).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_void_teaches_nothing(material: Material, tmp_path: Path) -> None:
    """Where every pixel is void there is nothing to learn and nothing to divide by."""
    labels = material.labels("a")
    assert labels is not None

    class Void:
        def __len__(self) -> int:
            return len(material.train.a)

        def __getitem__(self, index: int) -> np.ndarray:
            return np.zeros((32, 32, 3), np.uint8)

        def name(self, index: int) -> str:
            return material.train.a.name(index)

    void = dataclasses.replace(material.train, a=Void())
    settings = dataclasses.replace(SETTINGS, images=8)
    found = segmenter_of(tmp_path, void, material.domains, "b", settings, CPU, size=(32, 32))
    assert all(bool(torch.isfinite(weight).all()) for weight in found.network.parameters())
