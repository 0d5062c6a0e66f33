"""Every configuration that comes with the package is valid and found by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unpaired.compare.plan import read_plan
from unpaired.compare.trainings import trainings_of
from unpaired.configs import FOLDER, find_config, shipped
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.methods import METHODS, ImageShapes
from unpaired.training.settings import read_file, resolve

NOTHING = Given({}, "--set {name}")
RECORDS = Path(__file__).parents[1] / "benchmarks" / "records" / "cpu64"
SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(128, 128))


def test_there_are_those_of_the_paper() -> None:
    assert shipped("plan") == ("ablation", "cut", "identity", "paper")
    names = ("cycle-only", "gan-backward", "gan-forward", "gan-only", "identity", "no-identity", "no-pool")
    of_cyclegan = {f"cyclegan-{name}" for name in (*names, "best", "fast")}
    assert {name for name in shipped("run") if name.startswith("cyclegan-")} == of_cyclegan
    assert {"published-256", "published-128", "small-64", "grey-16bit"} <= set(shipped("run"))
    assert len(list(FOLDER.glob("*.toml"))) == len(shipped("plan")) + len(shipped("run"))


@pytest.mark.parametrize("name", shipped("run"))
def test_a_run_builds(name: str) -> None:
    config = resolve([read_file(name)])
    with torch.device("meta"):
        METHODS[config.method](config.settings, SHAPES)


def test_the_published_setting_is_the_default() -> None:
    published, default = resolve([read_file("published-256")]), resolve([])
    assert published.settings == default.settings
    assert published.training == default.training
    assert published.data.crop_size == default.data.crop_size


@pytest.mark.parametrize("name", ["fast", "best"])
def test_a_recipe_is_that_of_its_record(name: str) -> None:
    record = resolve([read_file(RECORDS / name / "settings.toml")])
    same: dict[str, Any] = {"data.crop_size": 64, "data.load_size": 72, "training.precision": "bf16"}
    width, epochs = record.settings.generator.width, record.training.epochs
    same |= {"method.generator.width": width, "method.discriminator.width": width}
    same |= {"training.epochs": epochs, "training.decay_epochs": epochs}
    recipe = resolve([Given({"training.recipe": name, **same}, "--set {name}")])
    assert recipe.settings == record.settings
    assert replace(recipe.training, recipe="published") == record.training
    assert recipe.data == record.data


@pytest.mark.parametrize("name", shipped("plan"))
def test_a_plan_builds(name: str) -> None:
    trainings = trainings_of(read_plan(name), {"data.root": "/data"}, NOTHING, {False: 2975, True: 2975})
    for training in trainings:
        with torch.device("meta"):
            METHODS[training.config.method](training.config.settings, SHAPES)


def test_the_ablation_removes_what_it_says() -> None:
    found = {
        training.entry.label: training.config.settings
        for training in trainings_of(read_plan("ablation"), {"data.root": "/data"}, NOTHING, {False: 1, True: 1})
    }
    weights = {
        label: (s.gan_weight, *(s.cycle_weight if w is None else w for w in (s.cycle_a_weight, s.cycle_b_weight)))
        for label, s in found.items()
    }
    assert weights == {
        "Cycle alone": (0, 10, 10),
        "GAN alone": (1, 0, 0),
        "GAN + forward cycle": (1, 10, 0),
        "GAN + backward cycle": (1, 0, 10),
        "CycleGAN": (1, 10, 10),
        "CycleGAN without pool": (1, 10, 10),
    }
    assert found["CycleGAN"].pool_size == 50
    assert found["CycleGAN without pool"].pool_size == 0
    assert all(s.identity_weight == 0 for s in found.values())


def test_the_paper_shares_its_networks_but_for_cogan() -> None:
    trainings = trainings_of(read_plan("paper"), {"data.root": "/data"}, NOTHING, {False: 2975, True: 2975})
    shared = {t.config.settings.generator for t in trainings if t.config.method != "cogan"}
    assert len(shared) == 1
    assert shared.pop().blocks == 6
    assert {t.entry.label: t.not_shared for t in trainings if t.not_shared} == {"CoGAN": ("generator",)}
    epochs = {t.entry.label: (t.config.training.epochs, t.config.training.decay_epochs) for t in trainings}
    assert epochs.pop("CoGAN") == (200, 0), "a constant rate, as its authors have it"
    assert set(epochs.values()) == {(100, 100)}
    assert all(t.config.data.flip for t in trainings), "the data is the same for all"


def test_a_file_comes_first_and_unknown_names_list_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_file("cyclegan-no-pool").values["method.pool_size"] == 0
    (tmp_path / "cyclegan-no-pool").write_text('[method]\nname = "cyclegan"\npool_size = 3\n')
    assert read_file("cyclegan-no-pool").values["method.pool_size"] == 3
    assert find_config("elsewhere/paper.toml") is None
    assert find_config(tmp_path / "paper.toml") is None
    with pytest.raises(
        UserError, match=r'there is no such file. Did you mean "cyclegan-no-pool".*Shipped: cyclegan-best'
    ):
        read_file("cyclegan-nopool")
    with pytest.raises(UserError, match="paper: this is the plan of a comparison, for: unpaired compare paper"):
        read_file("paper")
