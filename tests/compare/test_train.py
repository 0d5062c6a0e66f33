"""The record of what was asked for, and what a finished training took."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from comparisons import write_labelled, write_plan
from unpaired.compare.examples import Material, open_material
from unpaired.compare.plan import Plan, read_plan
from unpaired.compare.train import RECORD, cost_of, keep_record, run_of, state_of
from unpaired.compare.trainings import Training, trainings_of
from unpaired.config import read_overrides
from unpaired.data.config import DataConfig
from unpaired.errors import UserError
from unpaired.methods import METHODS, ImageShapes
from unpaired.training.start import start_run


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(write_plan(tmp_path / "plan.toml", labels=False))


@pytest.fixture
def material(tmp_path: Path) -> Material:
    config = DataConfig(root=str(write_labelled(tmp_path / "data", train=3)), crop_size=32, channels_a=3, workers=1)
    return open_material(config, paired=False)


def _trainings(plan: Plan, root: Path, *assignments: str) -> list[Training]:
    return trainings_of(plan, {"data.root": str(root)}, read_overrides(assignments), {False: 3, True: 3})


def test_it_goes_on_with_what_it_began_with(plan: Plan, material: Material, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = _trainings(plan, tmp_path / "data")
    keep_record(out, plan, material, first[:1])
    keep_record(out, plan, material, first)
    kept = (out / RECORD).read_bytes()
    assert sorted(json.loads(kept)["trainings"]) == ["cyclegan-seed0", "with-identity-seed0"]
    moved = _trainings(plan, tmp_path / "elsewhere", "training.log_every_images=7", "data.cache=disk")
    keep_record(out, plan, material, moved)
    assert (out / RECORD).read_bytes() == kept, "where the data lies and how often is logged change no figure"
    with pytest.raises(UserError, match=r"cyclegan-seed0 was begun .*training.clip_norm was not set and is now 1"):
        keep_record(out, plan, material, _trainings(plan, tmp_path / "data", "training.clip_norm=1"))
    with pytest.raises(UserError, match=r"the data differs .*train_a was 3 and is now 4"):
        keep_record(out, plan, dataclasses.replace(material, fingerprint={**material.fingerprint, "train_a": 4}), first)
    assert (out / RECORD).read_bytes() == kept


def test_a_setting_that_a_newer_version_has_changes_nothing(plan: Plan, material: Material, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keep_record(out, plan, material, _trainings(plan, tmp_path / "data"))
    document = json.loads((out / RECORD).read_text())
    for settings in document["trainings"].values():
        del settings["method.pool_size"]
    (out / RECORD).write_text(json.dumps(document))
    keep_record(out, plan, material, _trainings(plan, tmp_path / "data"))
    with pytest.raises(UserError, match=r"method.pool_size was not set and is now 50"):
        keep_record(out, plan, material, _trainings(plan, tmp_path / "data", "method.pool_size=50"))


def test_a_record_that_is_none_is_refused(plan: Plan, material: Material, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content, words in (("{", "cannot be read"), ("{}", "is not the record of a comparison")):
        (tmp_path / "out" / RECORD).write_text(content)
        with pytest.raises(UserError, match=words):
            keep_record(tmp_path / "out", plan, material, _trainings(plan, tmp_path / "data"))


def test_cost_and_state_of_a_run(plan: Plan, tmp_path: Path) -> None:
    training = _trainings(plan, write_labelled(tmp_path / "data", train=3), "data.channels_a=3")[0]
    training = dataclasses.replace(
        training,
        config=dataclasses.replace(
            training.config, training=dataclasses.replace(training.config.training, max_images=2)
        ),
    )
    assert state_of(tmp_path, training) == "new"
    start_run(training.config, run_of(tmp_path, training), quiet=True)
    assert state_of(tmp_path, training) == "finished"
    longer = dataclasses.replace(training.config.training, max_images=3)
    assert (
        state_of(tmp_path, dataclasses.replace(training, config=dataclasses.replace(training.config, training=longer)))
        == "begun"
    )
    cost = cost_of(tmp_path, training)
    method = METHODS["cyclegan"].make(training.config.settings, ImageShapes(channels_a=3, channels_b=3, size=(32, 32)))
    assert cost.parameters == sum(weight.numel() for weight in method.parameters())
    assert cost.images_per_second == pytest.approx(2 / cost.seconds)
    assert cost.device == "cpu"
    assert cost.peak_memory is None or "GiB of memory" in cost.peak_memory
