"""Scores of translators whose results are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from comparisons import write_labelled
from unpaired.compare.score import Scorer, bounds, task_of
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig
from unpaired.data.held_out import Material, open_material
from unpaired.data.labels_config import LabelsConfig
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.translator import Translator
from unpaired.networks import ResnetConfig, build_generator, describe_generator


class _Exact:
    """In place of a translator: a fixed colour for each palette colour, or back."""

    def __init__(self, function: nn.Module, search: object = None) -> None:
        self.function, self.search = function, search

    def translate_tensor(self, images: Tensor) -> Tensor:
        return self.function(images)


def _material(root: Path, *, labels: bool = True) -> Material:
    setting = LabelsConfig(kind="index", void=(3,)) if labels else None
    channels = None if labels else 3
    config = DataConfig(root=str(root), crop_size=32, labels_a=setting, channels_a=channels, workers=1)
    return open_material(config, paired=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def model(tmp_path: Path, root: Path) -> Path:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=2, blocks=1), 3, 3)
    cards = {d: TranslatorCard(network=describe_generator(network), weights=f"{d}.safetensors") for d in ("a2b", "b2a")}
    domains = {str(side): domain for side, domain in _material(root).domains.items()}
    card = ModelCard(origin="made by a test", domains=domains, translators=cards)
    folder = tmp_path / "run" / "checkpoints" / "000000012"
    write_model(folder, card, {each.weights: network.state_dict() for each in cards.values()})
    return tmp_path / "run"


def _scorer(folder: Path, material: Material, labeller: object = None, **changes: object) -> Scorer:
    options = {"most": None, "rows": 2, "labeller": labeller, "labeller_name": "test", "device": "cpu", **changes}
    return Scorer(folder, material, **options)  # type: ignore[arg-type]


def test_photos_to_labels_by_the_nearest_colour(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = _material(root)
    labels = material.labels("a")
    assert labels is not None
    palette = torch.tensor(labels.palette[:3], dtype=torch.float32) / 127.5 - 1

    class ByBrightestChannel(nn.Module):  # photos of class k are brightest in channel k
        def forward(self, photo: Tensor) -> Tensor:
            return palette[photo.argmax(1)].permute(0, 3, 1, 2) * 0.9

    monkeypatch.setattr(Translator, "load", lambda *_, **__: _Exact(ByBrightestChannel()))
    scorer = _scorer(tmp_path, material)
    measured = scorer.measure(model, "exact", "b2a")
    assert measured.scores is not None
    assert measured.scores["pixel_accuracy"] == measured.scores["class_iou"] == 1.0
    assert measured.images == 3
    assert measured.l1 is not None
    assert scorer.picture("exact", "b2a", 1).is_file()
    assert not scorer.picture("exact", "b2a", 2).exists()

    limits = bounds(scorer, "b2a")
    assert list(limits) == ["shuffled"]
    assert 0 < limits["shuffled"]["pixel_accuracy"] < 1


def test_labels_to_photos_by_what_labels_photos(root: Path, model: Path, tmp_path: Path) -> None:
    material = _material(root)

    def always_road(photos: np.ndarray) -> np.ndarray:
        assert photos.shape[1:] == (3, 32, 32)
        assert photos.min() >= -1
        return np.ones((len(photos), 32, 32), np.uint8)

    scorer = _scorer(tmp_path, material, always_road)
    measured = scorer.measure(model, "any", "a2b")
    assert measured.scores is not None
    road = measured.scores["classes"][1]
    assert road["accuracy"] == 1.0
    assert measured.scores["class_accuracy"] == pytest.approx(1 / 3)
    assert measured.scores["pixel_accuracy"] == pytest.approx(road["iou"])
    assert bounds(scorer, "a2b")["real photos"] == measured.scores, "it labels everything alike"


def test_differences_by_hand(root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = _material(root, labels=False)
    assert task_of(material, "a2b") is None
    shift = {"a2b": 0.25, "b2a": 0.0}
    monkeypatch.setattr(Translator, "load", lambda _, direction, **__: _Exact(_Add(shift[direction])))
    measured = _scorer(tmp_path, material, most=2).measure(model, "shifted", "a2b")
    assert (measured.images, measured.scores) == (2, None)
    assert measured.l1 == pytest.approx(0.25, abs=1e-6)
    assert measured.reconstruction_l1 == pytest.approx(0.25, abs=1e-6)
    assert bounds(_scorer(tmp_path, material), "a2b") == {}


def test_a_search_is_not_made_again_for_the_way_back(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(_: object, direction: str, **__: object) -> _Exact:
        asked.append(direction)
        return _Exact(_Add(0.1), search="a search")

    monkeypatch.setattr(Translator, "load", load)
    measured = _scorer(tmp_path, _material(root, labels=False), most=2).measure(model, "searched", "a2b")
    assert asked == ["a2b"]
    assert measured.reconstruction_l1 is None
    assert measured.l1 == pytest.approx(0.1, abs=1e-6)


class _Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor) -> Tensor:
        return image + self.value


def test_results_are_kept_until_something_changes(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = _material(root, labels=False)
    first = _scorer(tmp_path, material).measure(model, "kept", "a2b")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Translator, "load", fail)
    assert _scorer(tmp_path, material).measure(model, "kept", "a2b") == first
    for changes in ({"most": 2}, {"labeller_name": "another"}, {"rows": 1}):
        with pytest.raises(AssertionError, match="measured again"):
            _scorer(tmp_path, material, **changes).measure(model, "kept", "a2b")
    _scorer(tmp_path, material).picture("kept", "a2b", 0).unlink()
    with pytest.raises(AssertionError, match="measured again"):
        _scorer(tmp_path, material).measure(model, "kept", "a2b")
    place = tmp_path / "results" / "kept-a2b.json"
    assert json.loads(place.read_text())["checkpoint"] == "000000012"
    place.write_text("{")
    with pytest.raises(UserError, match="Delete it to have it measured again"):
        _scorer(tmp_path, material).measure(model, "kept", "a2b")


def test_pairs_need_names_that_agree_and_a_reason_to_be_pairs(root: Path, tmp_path: Path) -> None:
    material = _material(root)
    assert material.test.pairs == ((0, 0), (1, 1), (2, 2))
    assert material.test.positions("a", 2) == [(0, 0), (1, 1)]
    assert not _material(root, labels=False).test.pairs
    other = write_labelled(tmp_path / "other")
    (other / "test" / "street0.png").rename(other / "test" / "avenue.png")
    broken = _material(other)
    assert not broken.test.pairs
    assert task_of(broken, "b2a") is None
    assert broken.fingerprint != material.fingerprint


@pytest.mark.parametrize("mode", ["crop", "scale_width_and_crop"])
def test_where_training_crops_only_everything_is_the_middle_of_that_size(mode: str, tmp_path: Path) -> None:
    root = write_labelled(tmp_path, size=48)
    for kind in ("train", "trainannot"):
        with Image.open(root / kind / "street0.png") as image:
            larger = image.resize((48, 80), Image.Resampling.NEAREST)
        larger.save(root / kind / "street0.png")
    labels = LabelsConfig(kind="index", void=(3,))
    material = open_material(
        DataConfig(root=str(root), preprocess=mode, crop_size=32, labels_a=labels, workers=1), paired=False
    )
    for images in (material.train, material.test):
        assert images.pairs
        shapes = {images.of(side)[n].shape for side in ("a", "b") for n in range(len(images.of(side)))}
        assert shapes == {(32, 32, 3)}
    assert material.part.endswith(
        "their middle cut to that size" if mode != "crop" else "their middle, cut to that size"
    )


def test_images_of_several_sizes_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="needs images of one size"):
        open_material(DataConfig(root=str(root), preprocess="none"), paired=False)
