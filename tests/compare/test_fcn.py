"""A comparison scored by a trained FCN-8s in place of its own small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comparisons import PLAN, write_labelled, write_plan
from unpaired import cli
from unpaired.compare.fcn import fcn_of
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.data.config import DataConfig
from unpaired.data.held_out import Material, open_material, signed_batch
from unpaired.data.labels_config import LabelsConfig
from unpaired.evaluation.segmentation.model import Segmenter
from unpaired.evaluation.segmentation.start import start_training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def segmenter(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a segmenter of photos of 16 x 16."""
    folder = tmp_path_factory.mktemp("segmenter") / "run"
    settings: dict[str, Any] = {"images": 8, "batch_size": 4, "weights": "none", "width": 4, "fc_width": 16}
    named = {f"segmenter.{name}": value for name, value in {**settings, "device": "cpu", "precision": "fp32"}.items()}
    labels = {"data.labels_a.kind": "index", "data.labels_a.void": [3]}
    given = Given({**named, **labels, "data.root": str(data), "data.crop_size": 16, "data.workers": 1}, "{name}")
    start_training([given], folder, say=lambda _: None)
    return folder


def material_of(data: Path, **changes: Any) -> Material:
    labels = LabelsConfig(kind="index", **{"void": (3,), **changes})
    config = DataConfig(root=str(data), crop_size=32, labels_a=labels, workers=1)
    return open_material(config, paired=False)


def test_it_labels_at_its_own_size(data: Path, segmenter: Path) -> None:
    material = material_of(data)
    labeller = fcn_of(str(segmenter), material, "b", CPU)
    photos = signed_batch(material.test.b, [0, 1], material.domains["b"])
    found = labeller(photos)
    assert found.shape == (2, 32, 32)
    own = Segmenter.load(segmenter, device="cpu")
    assert labeller.fingerprint == own.fingerprint
    assert (found == own(own.brought(torch.from_numpy(photos))).repeat(2, 1).repeat(2, 2)).all()
    assert "trained on 6 photos of 3 classes at 16 x 16" in labeller.words
    assert "the photos are 32 x 32" in labeller.words


def test_one_of_other_classes_or_photos_is_refused(data: Path, segmenter: Path) -> None:
    with pytest.raises(UserError, match="the label maps have other ones"):
        fcn_of(str(segmenter), material_of(data, void=(2, 3)), "b", CPU)
    material = material_of(data)
    grey = DataConfig(
        root=str(data), crop_size=32, labels_a=LabelsConfig(kind="index", void=(3,)), channels_b=1, workers=1
    )
    assert fcn_of(str(segmenter), material, "b", CPU)
    with pytest.raises(UserError, match=r"photos of 3 channels, and those of this comparison have 1"):
        fcn_of(str(segmenter), open_material(grey, paired=False), "b", CPU)


def run(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", *map(str, tokens), "--quiet"])
    shown = capsys.readouterr()
    assert (stopped.value.code or 0) == code, shown.out + shown.err
    return shown.out + shown.err


@pytest.mark.slow
def test_the_comparison_says_what_scored_it(
    data: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = write_plan(tmp_path / "plan.toml"), tmp_path / "out"
    options = ("--data", data, "--out", out, "--images", "2", "--only", "CycleGAN")
    shown = run(capsys, plan, *options, "--fcn", segmenter)
    assert "The scores are FCN-scores" in shown
    assert "They are no FCN-scores" not in shown
    assert "- Segmenter: FCN-8s (fc6 and fc7 of 16) trained on 6 photos" in shown
    assert not (out / "segmenter").exists(), "no other network was trained"
    results = json.loads((out / "results.json").read_text())
    assert "real photos" in results["bounds"]["a2b"]
    shown = run(capsys, plan, *options)
    assert "They are no FCN-scores" in shown, "another scorer, other scores"
    assert (out / "segmenter").is_dir()


def test_a_segmenter_that_is_not_there_is_told_before_anything_is_trained(
    data: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(tmp_path / "plan.toml")
    options = ("--data", data, "--out", tmp_path / "out")
    assert "there is no segmenter at" in run(capsys, plan, *options, "--fcn", tmp_path / "nowhere", code=2)
    without = write_plan(tmp_path / "other.toml", labels=False, text=PLAN)
    assert "there is nothing to label" in run(capsys, without, *options, "--fcn", segmenter, code=2)
    both = ("--fcn", segmenter, "--set", "segmenter.images=8")
    assert "--set segmenter.images is a setting of the small network" in run(capsys, plan, *options, *both, code=2)
    assert "fcn is given twice" in run(capsys, plan, *options, "--fcn", segmenter, "--set", "fcn=x", code=2)
    assert not (tmp_path / "out").exists()
