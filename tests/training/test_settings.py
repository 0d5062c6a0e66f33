"""The description of a run: precedence, strictness, and messages that name what was typed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.core.given import Given, read_overrides, settings_of, without_none
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.methods.cyclegan import Config
from unpaired.networks import ResnetConfig, UnetConfig
from unpaired.training.settings import RunConfig, read_file, resolve


def _resolve(*assignments: str) -> RunConfig:
    return resolve([read_overrides(assignments)])


def test_defaults_are_the_published_ones() -> None:
    config = resolve([])
    assert config.method == "cyclegan"
    assert (config.settings.cycle_weight, config.settings.identity_weight, config.settings.pool_size) == (10, 5, 50)
    assert config.settings.objective == "lsgan"
    assert config.settings.generator == ResnetConfig(width=64, blocks=9, norm="instance")
    training = config.training
    assert (training.learning_rate, training.betas, training.batch_size) == (2e-4, (0.5, 0.999), 1)
    assert (training.epochs, training.decay_epochs, training.schedule) == (100, 100, "linear")
    assert (config.data.crop_size, config.data.preprocess, config.data.flip) == (256, "resize_and_crop", True)


def test_later_settings_win_and_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('[method]\nname = "cyclegan"\ncycle_weight = 3\n[training]\nepochs = 7\nbetas = [0.4, 0.9]\n')
    config = resolve([read_file(file), read_overrides(["training.epochs=9", "data.crop_size=64x128"])])
    assert config.settings.cycle_weight == 3
    assert config.training.epochs == 9
    assert config.training.betas == (0.4, 0.9)
    assert config.data.crop_size == (64, 128)
    assert config.chosen_settings() == {"cycle_weight"}


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    config = _resolve("method.generator.family=unet", "method.generator.depth=5", "data.range_a=[-5, 5]")
    file = tmp_path / "config.json"
    stored = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in config.to_json().items()
    }
    file.write_text(json.dumps(stored))
    again = resolve([read_file(file)])
    assert (again.settings, again.data, again.training) == (config.settings, config.data, config.training)


def test_a_family_may_stand_after_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('[method]\ngenerator = { depth = 6, family = "unet" }\n')
    assert resolve([read_file(file)]).settings.generator == UnetConfig(depth=6)


def test_a_new_family_forgets_the_settings_of_the_old_one() -> None:
    settings = resolve(
        [read_overrides(["method.generator.blocks=3"]), read_overrides(["method.generator.family=unet"])]
    )
    assert settings.settings.generator == UnetConfig()


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("method.cycle_wieght=5", ["method.cycle_wieght", "cyclegan", 'Did you mean "cycle_weight"', "pool_size"]),
        ("trainnig.epochs=5", ["trainnig.epochs", 'Did you mean "training"']),
        ("epochs=5", ["epochs", "method.*, data.* and training.*"]),
        ("method.cycle_weight=-1", ["method.cycle_weight", "-1", "a number, 0 or more"]),
        ("method.cycle_weight=heavy", ["method.cycle_weight", "'heavy'", "a number"]),
        ("training.epochs=1.5", ["training.epochs", "1.5", "whole number"]),
        ("training.epochs=true", ["training.epochs", "True", "whole number"]),
        ("training.precision=fp8", ["training.precision", "fp8", "fp32, bf16 or fp16"]),
        ("training.schedule=linaer", ["linaer", 'Did you mean "linear"']),
        ("training.learning_rate=inf", ["training.learning_rate", "finite"]),
        ("method.objective=lsgna", ["method.objective", "lsgna", 'Did you mean "lsgan"']),
        ("method.generator.widht=3", ["method.generator.widht", 'Did you mean "width"', "blocks"]),
        ("method.generator.family=resent", ["method.generator", "resent", 'Did you mean "resnet"', "unet"]),
        ("method.generator=3", ["method.generator", "3"]),
        ("method.name=cyclegna", ["cyclegna", 'Did you mean "cyclegan"']),
        ("data.crop_size=0", ["data.crop_size", "0"]),
        ("data.crop_size=small", ["data.crop_size", "small"]),
        ("training.betas=[0.5]", ["training.betas"]),
        ("training.epochs=0", []),  # with decay_epochs 100 this is a training of decay alone
        ("method.generator.width.x=3", ["method.generator.width"]),
    ],
)
def test_messages_name_what_was_typed(assignment: str, words: list[str]) -> None:
    if not words:
        assert _resolve(assignment).training.total_epochs == 100
        return
    with pytest.raises(UserError) as caught:
        _resolve(assignment)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message
    assert "pydantic" not in message


def test_settings_of_another_family_name_that_family() -> None:
    with pytest.raises(UserError, match="depth") as caught:
        _resolve("method.generator.family=unet", "method.generator.blocks=3")
    assert "upsampling" in str(caught.value)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UserError, match="nothing to train"):
        _resolve("training.epochs=0", "training.decay_epochs=0")
    with pytest.raises(UserError, match="decay_epochs"):
        _resolve("training.schedule=cosine", "training.decay_epochs=7")
    with pytest.raises(UserError, match=r"step_epochs = 7.*schedule = linear"):
        _resolve("training.step_epochs=7")
    with pytest.raises(UserError, match=r"gradient_penalty_weight = 3\.0.*lsgan"):
        _resolve("method.gradient_penalty_weight=3")
    assert _resolve("training.step_epochs=7", "training.schedule=step").training.step_epochs == 7
    assert _resolve("method.gradient_penalty_weight=3", "method.objective=wgangp").settings.objective == "wgangp"


@pytest.mark.parametrize(
    ("assignments", "name"),
    [
        (["method.cycle_weight=10", "method.cycle_a_weight=5", "method.cycle_b_weight=5"], "method.cycle_weight = 10"),
        (["method.pool_size=50", "method.gan_weight=0"], "method.pool_size = 50"),
        (["method.gradient_penalty_weight=10"], "method.gradient_penalty_weight = 10"),
        (["training.schedule=constant", "training.decay_epochs=100"], "training.decay_epochs = 100"),
        (["training.step_epochs=50"], "training.step_epochs = 50"),
        (["training.evaluate_images=0", "training.best=swd"], "training.best"),
    ],
)
def test_a_contradiction_is_told_also_where_the_value_is_the_default(assignments: list[str], name: str) -> None:
    with pytest.raises(UserError, match=name):
        _resolve(*assignments)


def test_defaults_of_a_method_are_not_blamed_on_the_user() -> None:
    training = _resolve("method.name=cut", "training.schedule=constant").training
    assert (training.decay_epochs, training.total_epochs) == (200, 200)
    with pytest.raises(UserError, match="decay_epochs = 30"):
        _resolve("method.name=cut", "training.schedule=constant", "training.decay_epochs=30")


def test_what_a_run_wrote_down_is_no_choice(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(without_none(_resolve("method.name=cut", "training.schedule=constant").to_json())))
    assert resolve([read_file(file), read_overrides(["training.epochs=7"])]).training.epochs == 7
    with pytest.raises(UserError, match="decay_epochs = 30"):
        resolve([read_file(file), read_overrides(["training.decay_epochs=30"])])


def test_settings_know_what_was_set() -> None:
    assert Config(pool_size=50).is_set("pool_size")
    assert not Config().is_set("pool_size")
    assert not Config(cycle_a_weight=None).is_set("cycle_a_weight")
    assert not dataclasses.replace(Config(pool_size=50), pool_size=3).is_set("pool_size")
    with pytest.raises(UserError, match=r"method\.pool_size = 50"):
        Config(pool_size=50, gan_weight=0)
    generator = _resolve("method.name=cut", "method.generator.blocks=6").settings.generator
    assert (generator.blocks, generator.downsampling) == (6, "blur")
    assert generator.is_set("blocks")
    assert not generator.is_set("downsampling")
    with pytest.raises(UserError, match=r'widht.*Did you mean "width"'):
        ResnetConfig(widht=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("text", ["[method", "\xff", '{"a": '])
def test_broken_files_are_one_message(tmp_path: Path, text: str) -> None:
    for name in ("a.toml", "a.json"):
        file = tmp_path / name
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=name):
            read_file(file)
    with pytest.raises(UserError, match="no such file"):
        read_file(tmp_path / "missing.toml")


@pytest.mark.parametrize("assignment", ["", "=3", "training.epochs", " = "])
def test_broken_assignments_are_one_message(assignment: str) -> None:
    with pytest.raises(UserError, match=r"section\.name=value"):
        read_overrides([assignment])


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["method", "data", "training", "x"]).flatmap(
    lambda section: st.sampled_from(
        ["epochs", "generator", "generator.width", "crop_size", "range_a", "betas", "init.gain", "", "no such"]
    ).map(lambda name: f"{section}.{name}")
)


@given_by(st.dictionaries(_names, _values, max_size=4))
def test_anything_else_is_a_user_error(values: dict[str, Any]) -> None:
    try:
        resolve([Given(values, "given {name}")])
    except UserError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["data.labels_a.knd=index"], r'labels_a\.knd: unknown setting.*Did you mean "kind".*void'),
        (["data.labels_a.kind=indx"], r'received .indx.; allowed: index or colour.*Did you mean "index"'),
        (["data.labels_a.void=[11]"], r"labels_a\.void: data\.labels_a\.kind is missing.*palette, names"),
        (["data.labels_a=index"], r"where a table of settings belongs, such as data\.labels_a\.kind"),
        (
            ["data.labels_b.kind=index", "data.labels_b.palette=[[0, 0, 256]]"],
            r"labels_b\.palette\[1\]\[3\]: received 256",
        ),
        (["data.labels_b.kind=colour", "data.labels_b.void=[0]"], "follow the order of the palette"),
        (["data.side_by_side=left"], r"side_by_side: received .left.; allowed: ab or ba"),
    ],
)
def test_mistakes_in_settings_of_label_maps(assignments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve([read_overrides(assignments)])


def test_label_maps_are_set_name_by_name() -> None:
    given = ["data.labels_a.kind=index", "data.labels_a.void=[11]", 'data.labels_b={kind="colour", feed="one_hot"}']
    data = resolve([read_overrides(given)]).data
    assert data.labels_a == LabelsConfig(kind="index", void=(11,))
    assert data.labels_b == LabelsConfig(kind="colour", feed="one_hot")


def test_one_section_alone() -> None:
    """As `resolve` joins them, for what is no run: later ones win, a whole table forgets what was in it."""
    given = [
        Given({"data.crop_size": [64, 96], "data.labels_a": {"kind": "index", "void": [3]}, "other.x": 1}, "{name}"),
        Given({"data.labels_a.kind": "colour", "data.flip": False}, "--set {name}"),
    ]
    found: DataConfig = settings_of("data", DataConfig, given[:1])
    assert found == DataConfig(crop_size=(64, 96), labels_a=LabelsConfig(kind="index", void=(3,)))
    assert settings_of("data", DataConfig, [Given({"data.flip": True}, "{name}"), given[1]]) == DataConfig(
        flip=False, labels_a=LabelsConfig(kind="colour")
    )
    with pytest.raises(UserError, match=r'--set data\.flpi: unknown setting of data\. Did you mean "flip"'):
        settings_of("data", DataConfig, [Given({"data.flpi": 1}, "--set {name}")])


def test_a_recipe_sets_what_nothing_else_sets(tmp_path: Path) -> None:
    published, fast = _resolve(), _resolve("training.recipe=fast")
    assert fast.training.recipe == "fast"
    assert fast.training.batch_size > published.training.batch_size
    assert fast.settings.generator == UnetConfig(depth=3)
    assert fast.settings.discriminator == published.settings.discriminator
    assert fast.chosen == {"training.recipe"}, "what a recipe sets is no choice"
    resnet = ("training.batch_size=2", "training.ema=none", "method.generator.family=resnet")
    own = _resolve("training.recipe=fast", *resnet)
    assert (own.training.batch_size, own.training.ema) == (2, None)
    assert own.settings.generator == published.settings.generator, "another family takes nothing of the recipe's"
    file = tmp_path / "config.json"
    file.write_text(own.to_file())
    again = resolve([read_file(file)])
    assert (again.settings, again.training) == (own.settings, own.training), "the recipe is not read again"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("method.name=cut", "training.recipe=best"), "cut has no recipe 'best'. Allowed: published"),
        (("training.recipe=bets",), "received 'bets'; allowed: published, fast or best. Did you mean \"best\""),
    ],
)
def test_a_recipe_that_there_is_not_is_refused(assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _resolve(*assignments)


def test_a_recipe_below_a_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(_resolve().to_file())
    with pytest.raises(UserError, match="a run's own file sets everything"):
        resolve([read_file(file), read_overrides(["training.recipe=fast"])])
