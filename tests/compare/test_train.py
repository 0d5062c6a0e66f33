"""The record of what was asked for, and what a finished training took."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comparisons import write_labelled, write_plan
from unpaired.compare.plan import Plan, read_plan
from unpaired.compare.train import RECORD, Outcome, carry_out, cost_of, keep_record, run_of, state_of
from unpaired.compare.trainings import Training, trainings_of
from unpaired.core.errors import UserError
from unpaired.core.given import read_overrides
from unpaired.data.config import DataConfig
from unpaired.data.held_out import Dataset, open_dataset
from unpaired.methods import METHODS, ImageShapes
from unpaired.training.start import start_run
from unpaired.training.trainer import Trainer


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return read_plan(write_plan(tmp_path / "plan.toml", labels=False))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    config = DataConfig(root=str(write_labelled(tmp_path / "data", train=3)), crop_size=32, channels_a=3, workers=1)
    return open_dataset(config)


def _keep(out: Path, plan: Plan, dataset: Dataset, trainings: list[Training]) -> None:
    keep_record(out, plan, dataset, trainings, trainings)


def _of_another_size(tmp_path: Path) -> Dataset:
    root = write_labelled(tmp_path / "more", train=4)
    return open_dataset(DataConfig(root=str(root), crop_size=32, channels_a=3, workers=1))


def _trainings(plan: Plan, root: Path, *assignments: str) -> list[Training]:
    return trainings_of(plan, {"data.root": str(root)}, read_overrides(assignments), {False: 3, True: 3})


def test_it_goes_on_with_what_it_began_with(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = _trainings(plan, tmp_path / "data")
    keep_record(out, plan, dataset, first, first[:1])
    keep_record(out, plan, dataset, first, first)
    kept = (out / RECORD).read_bytes()
    assert sorted(json.loads(kept)["trainings"]) == ["cyclegan-seed0", "with-identity-seed0"]
    moved = _trainings(plan, tmp_path / "elsewhere", "training.log_every_images=7", "data.cache=disk")
    keep_record(out, plan, dataset, moved, moved)
    assert (out / RECORD).read_bytes() == kept, "where the data lies and how often is logged change no figure"
    with pytest.raises(UserError, match=r"cyclegan-seed0 was begun .*training.clip_norm was not set and is now 1"):
        _keep(out, plan, dataset, _trainings(plan, tmp_path / "data", "training.clip_norm=1"))
    with pytest.raises(UserError, match=r"the data differs .*train_a was 3 and is now 4"):
        keep_record(out, plan, _of_another_size(tmp_path), first, first)
    assert (out / RECORD).read_bytes() == kept


def test_a_setting_that_a_newer_version_has_changes_nothing(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _keep(out, plan, dataset, _trainings(plan, tmp_path / "data"))
    document = json.loads((out / RECORD).read_text())
    for settings in document["trainings"].values():
        del settings["method.pool_size"]
    (out / RECORD).write_text(json.dumps(document))
    _keep(out, plan, dataset, _trainings(plan, tmp_path / "data"))
    with pytest.raises(UserError, match=r"method.pool_size was not set and is now 50"):
        _keep(out, plan, dataset, _trainings(plan, tmp_path / "data", "method.pool_size=50"))


def test_a_record_that_is_none_is_refused(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content, words in (("{", "is damaged"), ("{}", "is not the record of a comparison")):
        (tmp_path / "out" / RECORD).write_text(content)
        with pytest.raises(UserError, match=words):
            _keep(tmp_path / "out", plan, dataset, _trainings(plan, tmp_path / "data"))


def test_what_is_left_out_for_now_is_compared_too(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = _trainings(plan, tmp_path / "data")
    keep_record(out, plan, dataset, first, first[:1])
    assert list(json.loads((out / RECORD).read_text())["trainings"]) == ["cyclegan-seed0"]
    other = _trainings(dataclasses.replace(plan, images=6), tmp_path / "data", "data.crop_size=64")
    kept = (out / RECORD).read_bytes()
    with pytest.raises(UserError, match=r"cyclegan-seed0 was begun .*crop_size was 32 and is now 64.*max_images"):
        keep_record(out, plan, dataset, other, other[1:])
    assert (out / RECORD).read_bytes() == kept


def test_files_that_hold_something_else_now_are_other_data(plan: Plan, dataset: Dataset, tmp_path: Path) -> None:
    trainings, out = _trainings(plan, tmp_path / "data"), tmp_path / "out"
    keep_record(out, plan, dataset, trainings, trainings)
    config = DataConfig(root=str(tmp_path / "data"), crop_size=32, channels_a=3, workers=1)
    keep_record(out, plan, open_dataset(config), trainings, trainings)
    Image.new("L", (32, 32), 1).save(tmp_path / "data" / "testannot" / "street1.png")
    changed = open_dataset(config)
    with pytest.raises(UserError, match=r"the data differs .*: contents was .* and is now"):
        keep_record(out, plan, changed, trainings, trainings)
    document = json.loads((out / RECORD).read_text())
    del document["data"]["contents"]
    (out / RECORD).write_text(json.dumps(document))
    keep_record(out, plan, changed, trainings, trainings)
    assert json.loads((out / RECORD).read_text())["data"]["contents"] == changed.contents


def test_what_a_killed_process_left_of_the_first_record_is_no_other_folder(
    plan: Plan, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{RECORD}.writing-7").write_text("{")
    _keep(tmp_path / "out", plan, dataset, _trainings(plan, tmp_path / "data"))
    assert (tmp_path / "out" / RECORD).is_file()


def _signal_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, step = [0], Trainer.step

    def interrupted(self: Trainer, batches: Any) -> Any:
        steps[0] += 1
        if steps[0] == number:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches)

    monkeypatch.setattr(Trainer, "step", interrupted)


def _small(plan: Plan, root: Path, *assignments: str, **places: str) -> list[Training]:
    return trainings_of(
        dataclasses.replace(plan, images=3),
        {f"data.{name}": place for name, place in places.items()} or {"data.root": str(root)},
        read_overrides([*assignments, "data.channels_a=3"]),
        {False: 3, True: 3},
    )


def _carry_out(folder: Path, trainings: list[Training]) -> Outcome:
    return carry_out(folder, trainings, quiet=True, say=lambda _: None)


def test_a_signal_in_the_last_step_begins_no_other_training(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = _small(plan, write_labelled(tmp_path / "data", train=3))
    _signal_in_step(3, monkeypatch)
    assert _carry_out(tmp_path / "out", trainings).signal == signal.SIGTERM
    assert [state_of(tmp_path / "out", each) for each in trainings] == ["finished", "new"]


def test_what_may_change_is_what_is_asked_for_now(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = write_labelled(tmp_path / "data", train=3), tmp_path / "out"
    _signal_in_step(2, monkeypatch)
    assert _carry_out(out, _small(plan, root)[:1]).signal == signal.SIGTERM
    places = {"a": str(root / "trainannot"), "b": str(root / "train")}
    training = _small(plan, root, "training.checkpoint_every_images=1", "training.keep_last=1", **places)[0]
    assert state_of(out, training) == "begun"
    assert _carry_out(out, [training]).signal is None
    assert state_of(out, training) == "finished"
    config = json.loads((run_of(out, training) / "config.json").read_text())
    assert config["training"]["checkpoint_every_images"] == 1
    assert [path.name for path in (run_of(out, training) / "checkpoints").iterdir()] == ["000000003"]
    assert {name: config["data"].get(name) for name in ("root", "a", "b")} == {"root": None, **places}


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
    cost = cost_of(run_of(tmp_path, training))
    method = METHODS["cyclegan"](training.config.settings, ImageShapes(channels_a=3, channels_b=3, size=(32, 32)))
    assert cost.parameters == sum(weight.numel() for weight in method.parameters())
    assert cost.images_per_second == pytest.approx(2 / cost.seconds)
    assert cost.device == "cpu"
    assert cost.peak_memory_bytes is None or cost.peak_memory_bytes > 2**20


@pytest.mark.parametrize(
    "content",
    [
        '{"format": "unpaired-comparison"}',
        '{"format": "unpaired-comparison", "data": [], "trainings": {}}',
        '{"format": "unpaired-comparison", "data": {}, "trainings": {"cyclegan-seed0": 3}}',
        "[" * 100_000,
        "\x00",
    ],
    ids=["nothing", "data", "trainings", "deep", "binary"],
)
def test_a_forged_record_is_refused(plan: Plan, dataset: Dataset, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RECORD).write_text(content)
    with pytest.raises(UserError, match="Choose another --out"):
        _keep(tmp_path / "out", plan, dataset, _trainings(plan, tmp_path / "data"))
