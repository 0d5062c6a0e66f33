"""A segmenter learns, is measured, and goes on exactly where it stopped."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from comparisons import write_labelled
from unpaired.core.download import DownloadError
from unpaired.core.errors import UserError
from unpaired.core.files import locked
from unpaired.core.given import Given
from unpaired.evaluation.segmentation.segmenter import Segmenter
from unpaired.evaluation.segmentation.train import Status, resume_training, start_training
from unpaired.evaluation.segmentation.trainer import Trainer, cross_entropy, median_frequency
from unpaired.models.folder import DamagedError
from weights import write_vgg

SETTINGS: dict[str, Any] = {
    "data.crop_size": 32,
    "data.workers": 1,
    "data.labels_a.kind": "index",
    "data.labels_a.void": [3],
    "data.labels_a.names": ["sky", "road", "tree"],
    "segmenter.images": 32,
    "segmenter.batch_size": 4,
    "segmenter.weights": "none",
    "segmenter.width": 4,
    "segmenter.fc_width": 16,
    "segmenter.evaluate_every": 12,
    "segmenter.device": "cpu",
    "segmenter.precision": "fp32",
    "segmenter.threads": 1,
}
"""A training of eight steps."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def train(data: Path, out: Path, **changes: Any) -> Status:
    named = {**SETTINGS, "data.root": str(data), **{f"segmenter.{name}": value for name, value in changes.items()}}
    given = [Given({name: value for name, value in named.items() if value is not None}, "{name}")]
    return start_training(given, out, say=lambda _: None)


def go_on(out: Path, *given: Given) -> Status:
    return resume_training(list(given), out, say=lambda _: None)


@pytest.mark.slow
def test_it_learns(data: Path, tmp_path: Path) -> None:
    status = train(data, tmp_path / "run", images=480, evaluate_every=120, learning_rate=3e-3, dropout=0.1)
    assert status.signal is None
    assert status.best is not None
    assert status.best["scores"]["pixel_accuracy"] > 0.9
    class_iou = status.best["scores"]["class_iou"]
    assert class_iou > 0.7
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["cross_entropy"] for record in records if "cross_entropy" in record]
    assert losses[-1] < 0.5 * losses[0]
    measured = [record for record in records if "evaluation" in record]
    assert [record["images"] for record in measured] == [120, 240, 360, 480]
    best = max(measured, key=lambda record: record["evaluation"]["class_iou"])
    assert best["evaluation"]["class_iou"] == class_iou
    assert status.best["images"] == best["images"]
    description = Segmenter.load(tmp_path / "run", device="cpu").description
    assert description.training["images_seen"] == best["images"]
    assert description.held_out["class_iou"] == class_iou
    assert description.held_out["from"] == "test"


UNET = {"network": "unet", "fc_width": None, "width": 2}


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "sgd", "norm": "none", "balance": "median"}, UNET], ids=["adam", "sgd", "unet"]
)
@pytest.mark.parametrize("stop", [2, 4])
def test_interrupted_and_gone_on_it_ends_bit_for_bit_as_if_it_had_not_been(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], stop: int
) -> None:
    """Stopped before and behind the first measurement; the random numbers of others are not disturbed either."""
    monkeypatch.setattr("unpaired.evaluation.segmentation.train.LOG_STEPS", 3)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    before = torch.get_rng_state()
    train(data, whole, **changes)
    assert torch.equal(torch.get_rng_state(), before)
    step, steps = Trainer.step, [0]

    def interrupted(self: Trainer) -> float:
        steps[0] += 1
        if steps[0] == stop:
            signal.raise_signal(signal.SIGTERM)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        status = train(data, parted, **changes)
    assert status.signal == signal.SIGTERM
    assert status.images_seen == 4 * stop
    torch.manual_seed(12345)
    np.random.seed(12345)
    status = go_on(parted)
    assert status.signal is None
    for file in ("best/segmenter.safetensors", "state/state.safetensors"):
        one, other = load_file(whole / file), load_file(parted / file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), file
    assert _log(whole) == _log(parted)
    assert sum("cross_entropy" in record for record in _log(whole)) == 2
    assert Segmenter.load(whole).fingerprint == Segmenter.load(parted).fingerprint
    torch.set_rng_state(before)


def _log(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "evaluation_seconds"} for r in records if "event" not in r]


def test_a_lost_process_goes_on_from_its_last_measurement(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was logged behind it is written once; what is damaged is told."""
    train(data, tmp_path / "whole")
    step, steps = Trainer.step, [0]

    def lost(self: Trainer) -> float:
        steps[0] += 1
        if steps[0] == 6:
            raise ConnectionError
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lost)
        with pytest.raises(ConnectionError):
            train(data, tmp_path / "lost")
    go_on(tmp_path / "lost")
    assert _log(tmp_path / "whole") == _log(tmp_path / "lost")
    weights = tmp_path / "lost" / "state" / "state.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"state\.safetensors has"):
        go_on(tmp_path / "lost")


def test_lost_before_anything_was_saved_it_begins_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Trainer) -> float:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lost)
        with pytest.raises(ConnectionError):
            train(data, tmp_path / "lost", images=8)
    assert go_on(tmp_path / "lost").images_seen == 8
    train(data, tmp_path / "whole", images=8)
    assert Segmenter.load(tmp_path / "whole").fingerprint == Segmenter.load(tmp_path / "lost").fingerprint


def test_going_on_changes_no_setting_of_the_training(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "run", images=4)
    with pytest.raises(UserError, match=r"segmenter\.seed: cannot be changed when a training resumes"):
        go_on(tmp_path / "run", Given({"segmenter.seed": 3}, "{name}"))
    assert go_on(tmp_path / "run", Given({"segmenter.threads": 1}, "{name}")).images_seen == 4, "it was finished"
    with pytest.raises(UserError, match=r"not an empty folder\. Resume it"):
        train(data, tmp_path / "run")
    with pytest.raises(UserError, match="no segmenter's training"):
        go_on(tmp_path)


def test_a_folder_that_another_process_writes_to_is_left_alone(data: Path, tmp_path: Path) -> None:
    """A second training of the same folder fails on the lock, whatever the first one has written so far."""
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process is writing to"):
        train(data, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    train(data, tmp_path / "run", images=4)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process is writing to"):
        go_on(tmp_path / "run", Given({"segmenter.threads": 2}, "{name}"))
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_moved_data_is_found_and_other_data_is_not_taken_for_it(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "first")
    train(tmp_path / "first", tmp_path / "run", images=4)
    (tmp_path / "first").rename(tmp_path / "second")
    moved = Given({"data.root": str(tmp_path / "second")}, "{name}")
    assert go_on(tmp_path / "run", moved).images_seen == 4
    assert go_on(tmp_path / "run").images_seen == 4, "where it lies now was kept"
    photo = next((tmp_path / "second" / "train").iterdir())
    Image.new("RGB", (32, 32)).save(photo)
    with pytest.raises(UserError, match="photos or label maps are not those that it began with"):
        go_on(tmp_path / "run")


def test_a_loss_that_is_not_finite_ends_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Set a smaller segmenter\.learning_rate"):
        train(data, tmp_path / "run", learning_rate=1e30, optimizer="sgd", norm="none")


def test_cross_entropy_by_hand() -> None:
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 1, 0, 1] = np.log(3)
    truth = torch.tensor([[[0, 1, 255]]])
    ones = torch.ones(2)
    expected = (np.log(2) + np.log(4 / 3)) / 2
    assert float(cross_entropy(logits, truth, ones)) == pytest.approx(expected)
    weighted = (3 * np.log(2) + np.log(4 / 3)) / 4
    assert float(cross_entropy(logits, truth, torch.tensor([3.0, 1.0]))) == pytest.approx(weighted)
    void = torch.full((1, 1, 3), 255)
    assert float(cross_entropy(logits, void, ones)) == 0.0


def test_median_frequency_by_hand() -> None:
    weights = median_frequency(np.array([80, 10, 0, 5, 5]))
    assert weights.tolist() == pytest.approx([7.5 / 80, 7.5 / 10, 0, 1.5, 1.5])


@pytest.mark.parametrize(("part", "what"), [("train", "nothing can be learned"), ("test", "nothing could be scored")])
def test_label_maps_of_void_alone_teach_nothing(part: str, what: str, tmp_path: Path) -> None:
    root = write_labelled(tmp_path / "data")
    for path in (root / f"{part}annot").iterdir():
        Image.new("L", (32, 32), 3).save(path)
    with pytest.raises(UserError, match=f"hold void alone, so {what}"):
        train(root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_had(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the training goes on without and says so, also in the segmenter; asked for by name, it does not."""

    def offline(_: Any, path: Path) -> None:
        raise DownloadError(path.name, ["no way out"])

    monkeypatch.setattr("unpaired.metrics.features.weights.download", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    told: list[str] = []
    changes = {"segmenter.weights": "auto", "segmenter.images": 4, "segmenter.norm": "batch", "data.root": str(data)}
    start_training([Given({**SETTINGS, **changes}, "{name}")], tmp_path / "auto", say=told.append)
    assert any("cannot be had here, so every weight begins at random" in text for text in told)
    description = Segmenter.load(tmp_path / "auto").description
    assert description.origin == "none: every weight began at random, as torchvision's are not available"
    assert description.training["settings"]["weights"] == "none"
    with pytest.raises(
        UserError, match=r"could not be downloaded \(no way out\).*or name a file that you have: --weights FILE"
    ):
        train(data, tmp_path / "named", weights="torchvision")
    assert not (tmp_path / "named").exists()


def test_weights_of_a_file_are_taken_and_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are where the training begins; the file is needed no more once something was saved."""
    file = write_vgg(tmp_path / "vgg.safetensors")
    monkeypatch.chdir(tmp_path)
    rate = {"learning_rate": 1e-12, "images": 4, "width": 64, "norm": "none"}
    train(data, tmp_path / "run", weights="vgg.safetensors", **rate)
    segmenter = Segmenter.load(tmp_path / "run")
    assert segmenter.description.origin == (
        "9 of 13 convolutions of vgg.safetensors; the other convolutions, fc6 and fc7 begin at random"
    )
    given = load_file(file)
    for layer, key in ((0, 0), (8, 19)):
        weight = segmenter.network.features[layer].get_parameter("convolution.weight")
        torch.testing.assert_close(weight.detach(), given[f"features.{key}.weight"], rtol=0, atol=1e-9)
    file.unlink()
    monkeypatch.chdir(data)
    assert go_on(tmp_path / "run").images_seen == 4
