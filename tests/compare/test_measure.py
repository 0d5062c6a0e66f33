"""What a comparison measures of translators whose results are known, and when it measures again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from audits import Affine
from comparisons import write_labelled
from unpaired.compare import measure
from unpaired.compare.measure import Measuring, task_of
from unpaired.core.errors import UserError
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.held_out import Dataset, open_dataset
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.translator import Translator
from unpaired.networks import Generator, ResnetConfig, build_generator, describe_generator
from unpaired.report.results import Direction


def _dataset(root: Path, *, labels: bool = True) -> Dataset:
    setting = LabelsConfig(kind="index", void=(3,)) if labels else None
    channels = None if labels else 3
    return open_dataset(DataConfig(root=str(root), crop_size=32, labels_a=setting, channels_a=channels, workers=1))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def model(tmp_path: Path, root: Path) -> Path:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=2, blocks=1), 3, 3)
    cards = {d: TranslatorCard(network=describe_generator(network), weights=f"{d}.safetensors") for d in ("a2b", "b2a")}
    domains = {str(side): domain for side, domain in _dataset(root).domains.items()}
    card = ModelCard(origin="made by a test", domains=domains, translators=cards)
    folder = tmp_path / "run" / "checkpoints" / "000000012"
    write_model(folder, card, {each.weights: network.state_dict() for each in cards.values()})
    return tmp_path / "run"


def _measuring(folder: Path, dataset: Dataset, **changes: object) -> Measuring:
    options = {"test_images": None, "pictures": 2, "segmenter": None, "device": "cpu", **changes}
    return Measuring(folder=folder, dataset=dataset, **options)  # type: ignore[arg-type]


def _values(found: Direction) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in found.figures}


def _in_place_of_networks(monkeypatch: pytest.MonkeyPatch, dataset: Dataset, **networks: Generator) -> None:
    card = ModelCard(origin="made by a test", domains={str(k): v for k, v in dataset.domains.items()}, translators={})

    def load(_: object, direction: str, **__: object) -> Translator:
        return Translator(networks[direction], card, direction, device="cpu", engine="torch")

    monkeypatch.setattr(Translator, "load", load)


def test_photos_to_labels_by_the_nearest_colour(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _dataset(root)
    labels = dataset.labels("a")
    assert labels is not None
    palette = torch.tensor(labels.palette[:3], dtype=torch.float32) / 127.5 - 1

    class ByBrightestChannel(Affine):  # photos of class k are brightest in channel k
        def forward(self, image: Tensor) -> Tensor:
            return palette[image.argmax(1)].permute(0, 3, 1, 2) * 0.9

    eye = torch.eye(3)
    _in_place_of_networks(monkeypatch, dataset, b2a=ByBrightestChannel(eye), a2b=Affine(eye))
    measuring = _measuring(tmp_path, dataset)
    found, checkpoint = measuring.measure(model, "exact", "b2a")
    values = _values(found)
    assert checkpoint == "000000012"
    assert values["pixel_accuracy"] == values["class_iou"] == 1.0
    assert values["l1"] == pytest.approx(0, abs=0.05), "to the target; pixels of void differ"
    assert [picture.file for picture in found.pictures] == [f"results/exact-b2a/{n:03d}.png" for n in range(2)]
    assert all((tmp_path / picture.file).is_file() for picture in found.pictures)
    shuffled = next(one for one in found.bounds["shuffled_labels"] if one.name == "pixel_accuracy")
    assert 0 < (shuffled.value or 0) < 1


def test_differences_by_hand(root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, eye = _dataset(root, labels=False), torch.eye(3)
    assert task_of(dataset, "a2b") is None
    _in_place_of_networks(monkeypatch, dataset, a2b=Affine(eye * 0.5), b2a=Affine(eye))
    found, _ = _measuring(tmp_path, dataset, test_images=2).measure(model, "halved", "a2b")
    values = _values(found)
    inputs = dataset.test.a.signed([place for place, _ in dataset.test.positions("a", 2)])
    expected = float(np.abs(inputs).mean() / 2)
    assert values["input_l1"] == pytest.approx(expected, abs=0.005)
    assert values["reconstruction_l1"] == pytest.approx(expected, abs=0.005)
    assert "l1" not in values, "no true images are known"
    assert "class_iou" not in values


def test_results_are_kept_until_something_changes(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = _dataset(root, labels=False)
    first, _ = _measuring(tmp_path, dataset).measure(model, "kept", "a2b")
    again: list[str] = []
    computed = measure.measure

    def counted(*arguments: object, **options: object) -> Direction:
        again.append("measured")
        return computed(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "measure", counted)
    kept, _ = _measuring(tmp_path, dataset).measure(model, "kept", "a2b")
    assert kept.figures == first.figures
    assert not again
    for changes in ({"test_images": 2}, {"pictures": 1}):
        _measuring(tmp_path, dataset, **changes).measure(model, "kept", "a2b")
    assert len(again) == 2
    (tmp_path / "results" / "kept-a2b" / "000.png").unlink()
    _measuring(tmp_path, dataset, pictures=1).measure(model, "kept", "a2b")
    place = tmp_path / "results" / "kept-a2b.json"
    for content in ("{", "[]", '{"key": "of an earlier version", "measured": {"l1": 0.5}}'):
        place.write_text(content)
        _measuring(tmp_path, dataset, pictures=1).measure(model, "kept", "a2b")
    assert len(again) == 6, "what is missing, damaged or of an earlier version is measured again"


def test_pairs_need_names_that_agree_and_a_reason_to_be_pairs(root: Path, tmp_path: Path) -> None:
    dataset = _dataset(root)
    assert dataset.test.pairs == ((0, 0), (1, 1), (2, 2))
    assert dataset.test.positions("a", 2) == [(0, 0), (1, 1)]
    assert not _dataset(root, labels=False).test.pairs
    other = write_labelled(tmp_path / "other")
    (other / "test" / "street0.png").rename(other / "test" / "avenue.png")
    broken = _dataset(other)
    assert not broken.test.pairs
    assert task_of(broken, "b2a") is None
    assert broken.fingerprint != dataset.fingerprint


@pytest.mark.parametrize("mode", ["crop", "scale_width_and_crop"])
def test_where_training_crops_only_everything_is_the_middle_of_that_size(mode: str, tmp_path: Path) -> None:
    root = write_labelled(tmp_path, size=48)
    for kind in ("train", "trainannot"):
        with Image.open(root / kind / "street0.png") as image:
            larger = image.resize((48, 80), Image.Resampling.NEAREST)
        larger.save(root / kind / "street0.png")
    labels = LabelsConfig(kind="index", void=(3,))
    dataset = open_dataset(DataConfig(root=str(root), preprocess=mode, crop_size=32, labels_a=labels, workers=1))
    for images in (dataset.train, dataset.test):
        assert images.pairs
        shapes = {images.of(side)[n].shape for side in ("a", "b") for n in range(len(images.of(side)))}
        assert shapes == {(32, 32, 3)}
    assert dataset.part.endswith(
        "their middle cut to that size" if mode != "crop" else "their middle, cut to that size"
    )


def test_images_of_several_sizes_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="needs images of one size"):
        open_dataset(DataConfig(root=str(root), preprocess="none"), one_size="a comparison")


@pytest.mark.parametrize(
    "file", ["../../secret.png", "/etc/passwd", "results/other-a2b/000.png", "results/x-a2b/../000.png"]
)
def test_a_forged_result_that_names_other_pictures_is_measured_again(root: Path, tmp_path: Path, file: str) -> None:
    measuring = _measuring(tmp_path / "out", _dataset(root))
    place = tmp_path / "out" / "results" / "x-a2b.json"
    place.parent.mkdir(parents=True)
    for picture in ({"file": "results/x-a2b/000.png"}, {"file": file}):
        Image.new("RGB", (8, 8)).save(_made(tmp_path / "out" / "results" / "x-a2b" / "000.png"))
        place.write_text(json.dumps({"key": "k", "measured": {"pictures": [picture]}}))
        kept = measuring._kept(place, "k")
        assert (kept is not None) == (picture["file"] == "results/x-a2b/000.png")
    for content in ("{", '{"key": "k"}', '{"key": "k", "measured": 3}', "[1]"):
        place.write_text(content)
        assert measuring._kept(place, "k") is None


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
