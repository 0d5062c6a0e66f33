"""From plans to trainings: names, budget, schedule, what is shared and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import PLAN, write_plan
from unpaired.compare.plan import Plan, read_plan
from unpaired.compare.trainings import Training, trainings_of
from unpaired.core.errors import UserError
from unpaired.core.given import Given, read_overrides
from unpaired.networks import PatchganConfig, ResnetConfig, UnetConfig

NOTHING = Given({}, "--set {name}")


def _plan(tmp_path: Path, *changes: tuple[str, str]) -> Plan:
    text = PLAN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_plan(write_plan(tmp_path / "plan.toml", labels=False, text=text))


def _trainings(plan: Plan, *assignments: str, epoch: int = 6) -> list[Training]:
    return trainings_of(plan, {"data.root": "/data"}, read_overrides(assignments), {False: epoch, True: epoch})


def test_names_seeds_and_directions(tmp_path: Path) -> None:
    plan = _plan(
        tmp_path,
        ("pictures = 2", "seeds = [0, 5]"),
        ('method = { name = "cyclegan" }', 'method = { name = "fastcut", generator = { blocks = 9 } }'),
    )
    found = _trainings(plan)
    assert [(each.name, each.directions) for each in found] == [
        ("cyclegan-seed0", ("a2b", "b2a")),
        ("cyclegan-seed5", ("a2b", "b2a")),
        ("with-identity-a2b-seed0", ("a2b",)),
        ("with-identity-a2b-seed5", ("a2b",)),
        ("with-identity-b2a-seed0", ("b2a",)),
        ("with-identity-b2a-seed5", ("b2a",)),
    ]
    assert [each.config.training.seed for each in found] == [0, 5, 0, 5, 0, 5]
    assert [each.config.settings.direction for each in found[2:]] == ["a2b", "a2b", "b2a", "b2a"]


def test_an_entry_may_go_one_way_only(tmp_path: Path) -> None:
    change = ('method = { name = "cyclegan" }', 'method = { name = "simgan", direction = "b2a" }')
    assert [each.name for each in _trainings(_plan(tmp_path, change))][1:] == ["with-identity-b2a-seed0"]
    with pytest.raises(UserError, match=r"With identity.*'b2a'.*compares a2b"):
        _trainings(_plan(tmp_path, change, ("pictures = 2", 'directions = ["a2b"]')))


@pytest.mark.parametrize(
    ("method", "images", "epoch", "epochs"),
    [
        ("cyclegan", 1200, 6, (100, 100)),
        ("cyclegan", 1201, 6, (101, 100)),  # the last epoch is not a whole one
        ("cyclegan", 5, 6, (1, 0)),
        ("fastcut", 1200, 6, (150, 50)),
        ("cut", 1200, 6, (100, 100)),
    ],
)
def test_the_schedule_follows_the_budget_as_published(
    method: str, images: int, epoch: int, epochs: tuple[int, int], tmp_path: Path
) -> None:
    plan = _plan(
        tmp_path,
        ("images = 12", f"images = {images}"),
        ('method = { name = "cyclegan" }', f'method = {{ name = "{method}" }}'),
        ("blocks = 1", "blocks = 9"),
    )
    training = _trainings(plan, epoch=epoch)[-1].config.training
    assert (training.epochs, training.decay_epochs, training.max_images) == (*epochs, images)


def test_trainings_select_checkpoints_unless_that_is_turned_off(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    assert [each.config.training.evaluate_images for each in _trainings(plan)] == [50, 50]
    without = _trainings(plan, "training.evaluate_images=0")
    assert [each.config.training.evaluate_images for each in without] == [0, 0]
    with pytest.raises(UserError, match=r"training\.patience, which a comparison decides for all"):
        _trainings(plan, "training.patience=3")


def test_networks_are_shared_where_they_are_of_the_same_families(tmp_path: Path) -> None:
    plan = _plan(tmp_path, ('method = { name = "cyclegan" }', 'method = { name = "pix2pix" }'))
    cyclegan, pix2pix = _trainings(plan)[0], _trainings(plan)[1]
    assert pix2pix.config.settings.generator == cyclegan.config.settings.generator == ResnetConfig(width=4, blocks=1)
    assert pix2pix.config.settings.discriminator == PatchganConfig(norm="batch", width=4, layers=1), (
        "pix2pix's own norm"
    )
    assert pix2pix.not_shared == ()
    assert pix2pix.paired
    assert not cyclegan.paired


def test_cut_keeps_its_anti_aliasing_when_its_width_is_shared(tmp_path: Path) -> None:
    plan = _plan(
        tmp_path, ('method = { name = "cyclegan" }', 'method = { name = "cut" }'), ("blocks = 1", "blocks = 9")
    )
    expected = ResnetConfig(width=4, blocks=9, downsampling="blur", upsampling="blur")
    assert _trainings(plan)[-1].config.settings.generator == expected


def test_an_entry_wins_over_what_is_shared_and_set_reaches_all(tmp_path: Path) -> None:
    change = (
        'method = { name = "cyclegan" }',
        'method = { name = "cyclegan", generator = { family = "unet", depth = 4 } }',
    )
    found = _trainings(_plan(tmp_path, change), "method.pool_size=3", "training.batch_size=2")
    assert found[1].config.settings.generator == UnetConfig(depth=4)
    assert [each.config.settings.pool_size for each in found] == [3, 3]
    assert [each.config.training.batch_size for each in found] == [2, 2]
    assert found[1].own == ("method.generator.depth", "method.generator.family")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.seed=3", ["training.seed", "--seeds"]),
        ("training.max_images=3", ["training.max_images", "--images"]),
        ("training.epochs=3", ["training.epochs", "budget"]),
        ("data.root=x", ["data.root", "Give the folders"]),
        ("method.name=cut", ["method.name cannot be shared"]),
        ("method.direction=a2b", ["method.direction cannot be shared"]),
        ("method.pol_size=3", ["no method has such a setting", 'Did you mean "pool_size"']),
        ("method.identity_weight=3", ["--set method.identity_weight", '"CycleGAN" sets this itself']),
        ("training.epohcs=3", ["unknown setting of training"]),
    ],
)
def test_what_cannot_be_set_for_all_is_refused(assignment: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        _trainings(_plan(tmp_path), assignment)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"cyclegan" }', '"cyclegn" }', ["With identity", 'Did you mean "cyclegan"']),
        ('"cyclegan" }', '"cyclegan" }\ntraining = { seed = 3 }', ["training.seed", "seeds"]),
        ("[training]", "[training]\nmax_images = 4", ["training.max_images", "the plan sets"]),
        ('"cyclegan" }', '"cyclegan", poolsize = 4 }', ["unknown setting of cyclegan", 'Did you mean "pool_size"']),
    ],
)
def test_what_a_plan_cannot_say_is_refused(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        _trainings(_plan(tmp_path, (old, new)))
    for word in words:
        assert word in str(caught.value)


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    changes = (
        ('label = "CycleGAN"', 'label = "Sim a2b"'),
        ('label = "With identity"\nmethod = { name = "cyclegan" }', 'label = "Sim"\nmethod = { name = "simgan" }'),
    )
    with pytest.raises(UserError, match='"Sim a2b" and of another entry would both be called sim-a2b-seed0'):
        _trainings(_plan(tmp_path, *changes))


def test_an_entry_does_not_change_the_data(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[method]\nname = "cyclegan"\n[data]\ncrop_size = 64\n')
    plan = _plan(tmp_path, ('method = { name = "cyclegan" }', f'config = "{own}"'))
    with pytest.raises(UserError, match=r'"With identity" sets data.crop_size, and the data is the same for all'):
        _trainings(plan)
