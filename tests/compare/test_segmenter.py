"""What labels the photos of a comparison: a U-Net, trained once and kept, or an FCN-8s that the plan names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comparisons import PLAN, write_labelled, write_plan
from unpaired import cli
from unpaired.compare.measure import read_fcn, train_or_read
from unpaired.compare.plan import SegmenterSettings
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.held_out import Dataset, open_dataset, signed_batch
from unpaired.data.labels import decoded
from unpaired.evaluation.segmentation.segmenter import DOCUMENT, WEIGHTS, Segmenter
from unpaired.evaluation.segmentation.train import start_training
from unpaired.models.folder import DamagedError, read_tensors, write_folder
from unpaired.report.results import Comparison

SETTINGS = SegmenterSettings(images=8, width=4, batch_size=4, learning_rate=1e-2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def dataset_of(data: Path, void: tuple[int, ...] = (3,), **changes: Any) -> Dataset:
    labels = LabelsConfig(kind="index", void=void)
    config = DataConfig(root=str(data), crop_size=32, labels_a=labels, workers=1, **changes)
    return open_dataset(config)


@pytest.fixture
def dataset(data: Path) -> Dataset:
    return dataset_of(data)


def make(folder: Path, dataset: Dataset, settings: SegmenterSettings = SETTINGS) -> Segmenter:
    return train_or_read(folder, dataset, "b", settings, CPU)


def test_it_learns_and_is_kept(dataset: Dataset, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, images=200)
    random_before = torch.get_rng_state()
    first = make(tmp_path, dataset, settings)
    assert torch.equal(torch.get_rng_state(), random_before), "a training's random numbers are not disturbed"
    photos = signed_batch(dataset.test.b, [0, 1, 2], dataset.domains["b"])
    labels = dataset.labels("a")
    assert labels is not None
    truth = np.stack([decoded(dataset.test.a[index], labels) for index in range(3)])
    found = first(photos)
    assert found.shape == truth.shape
    assert (found == truth)[truth != 255].mean() > 0.9
    assert "U-Net (width 4) trained on 6 photos of 3 classes at 32 x 32 for 200 images" in first.summary
    calls: list[int] = []
    again = train_or_read(tmp_path, dataset, "b", settings, CPU, progress=lambda done, total: calls.append(done))
    assert not calls, "read, not trained"
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again(photos), found)


def test_the_same_seed_gives_the_same_network(dataset: Dataset, tmp_path: Path) -> None:
    first = make(tmp_path / "a", dataset)
    assert make(tmp_path / "b", dataset).fingerprint == first.fingerprint
    assert make(tmp_path / "c", dataset, dataclasses.replace(SETTINGS, seed=1)).fingerprint != first.fingerprint


@pytest.mark.parametrize("name", ["size", "palette", "settings"])
def test_another_one_is_not_taken_for_it(name: str, dataset: Dataset, tmp_path: Path) -> None:
    make(tmp_path, dataset)
    labels = dataset.labels("a")
    assert labels is not None
    swapped = dataclasses.replace(labels, palette=(labels.palette[1], labels.palette[0], *labels.palette[2:]))
    maps = dataclasses.replace(dataset.test.a, domain=dataclasses.replace(dataset.domains["a"], labels=swapped))
    other = {
        "size": dataclasses.replace(dataset, size=(16, 16)),
        "palette": dataclasses.replace(dataset, test=dataclasses.replace(dataset.test, a=maps)),
        "settings": dataset,
    }[name]
    settings = dataclasses.replace(SETTINGS, images=16) if name == "settings" else SETTINGS
    with pytest.raises(UserError, match=f"trained with other settings: {name} was .* and is now"):
        make(tmp_path, other, settings)


def test_one_that_an_earlier_version_wrote_is_taken_with_its_fingerprint(dataset: Dataset, tmp_path: Path) -> None:
    """The first versions wrote down neither the size nor the classes."""
    made = make(tmp_path, dataset)
    place = tmp_path / "segmenter"
    earlier = {"settings": dataclasses.asdict(SETTINGS), "photos": "b", "channels": 3, "classes": 3}
    document = {**earlier, "training_pairs": 6, "versions": {"unpaired": "0.1.0"}, "fingerprint": "as it was"}
    write_folder(place, {WEIGHTS: read_tensors(place, WEIGHTS)}, {DOCUMENT: document})
    segmenter = make(tmp_path, dataset)
    assert (segmenter.fingerprint, segmenter.size) == ("as it was", (32, 32))
    photos = signed_batch(dataset.test.b, [0], dataset.domains["b"])
    np.testing.assert_array_equal(segmenter(photos), made(photos))
    with pytest.raises(UserError, match="settings was"):
        make(tmp_path, dataset, dataclasses.replace(SETTINGS, seed=5))


def test_a_damaged_one_is_told(dataset: Dataset, tmp_path: Path) -> None:
    make(tmp_path, dataset)
    weights = tmp_path / "segmenter" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="Delete the folder"):
        make(tmp_path, dataset)


def test_void_teaches_nothing(dataset: Dataset, tmp_path: Path) -> None:
    """Where every pixel is void there is nothing to learn and nothing to divide by."""

    class Void:
        def __len__(self) -> int:
            return len(dataset.train.a)

        def __getitem__(self, index: int) -> np.ndarray:
            return np.zeros((32, 32, 3), np.uint8)

        def name(self, index: int) -> str:
            return dataset.train.a.name(index)

    void = dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, a=Void()))
    found = make(tmp_path, void)
    assert all(bool(torch.isfinite(weight).all()) for weight in found.network.parameters())


# ---------------------------------------------------------------------------------------------------------- an FCN-8s


@pytest.fixture(scope="module")
def fcn(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a segmenter of photos of 16 x 16."""
    folder = tmp_path_factory.mktemp("segmenter") / "run"
    settings: dict[str, Any] = {"images": 8, "batch_size": 4, "weights": "none", "width": 4, "fc_width": 16}
    named = {f"segmenter.{name}": value for name, value in {**settings, "device": "cpu", "precision": "fp32"}.items()}
    labels = {"data.labels_a.kind": "index", "data.labels_a.void": [3]}
    given = Given({**named, **labels, "data.root": str(data), "data.crop_size": 16, "data.workers": 1}, "{name}")
    start_training([given], folder, say=lambda _: None)
    return folder


def test_an_fcn_of_other_classes_or_photos_is_refused(data: Path, dataset: Dataset, fcn: Path) -> None:
    assert read_fcn(str(fcn), dataset, "b", CPU).fingerprint == Segmenter.load(fcn).fingerprint
    with pytest.raises(UserError, match="the label maps have other ones"):
        read_fcn(str(fcn), dataset_of(data, void=(2, 3)), "b", CPU)
    with pytest.raises(UserError, match=r"photos of 3 channels, and these have 1"):
        read_fcn(str(fcn), dataset_of(data, channels_b=1), "b", CPU)


def run(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", *map(str, tokens), "--quiet"])
    shown = capsys.readouterr()
    assert (stopped.value.code or 0) == code, shown.out + shown.err
    return shown.out + shown.err


@pytest.mark.slow
def test_the_comparison_says_what_scored_it(
    data: Path, fcn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = write_plan(tmp_path / "plan.toml"), tmp_path / "out"
    options = ("--data", data, "--out", out, "--images", "2", "--only", "CycleGAN")
    shown = run(capsys, plan, *options, "--fcn", fcn)
    assert "- Segmenter: FCN-8s (fc6 and fc7 of 16) trained on 6 photos" in shown
    assert not (out / "segmenter").exists(), "no other network was trained"
    assert "real_photos" in Comparison.read(out).directions["a2b"].bounds
    shown = run(capsys, plan, *options)
    assert "- Segmenter: U-Net" in shown
    assert (out / "segmenter").is_dir()


def test_a_segmenter_that_is_not_there_is_told_before_anything_is_trained(
    data: Path, fcn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(tmp_path / "plan.toml")
    options = ("--data", data, "--out", tmp_path / "out")
    assert "there is no segmenter at" in run(capsys, plan, *options, "--fcn", tmp_path / "nowhere", code=2)
    without = write_plan(tmp_path / "other.toml", labels=False, text=PLAN)
    assert "there is nothing to label" in run(capsys, without, *options, "--fcn", fcn, code=2)
    both = ("--fcn", fcn, "--set", "segmenter.images=8")
    assert "--set segmenter.images is a setting of the small network" in run(capsys, plan, *options, *both, code=2)
    assert "--fcn and --set fcn give the same setting" in run(
        capsys, plan, *options, "--fcn", fcn, "--set", "fcn=x", code=2
    )
    assert not (tmp_path / "out").exists()
