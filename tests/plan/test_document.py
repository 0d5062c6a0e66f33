"""The plan as a file: what is written is read back, training takes it, and what a user changed is the user's."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.core.errors import UserError
from unpaired.plan.document import Decision, Finding, Plan, check_plan_out, is_untouched, read_plan
from unpaired.training.settings import read_file, resolve

PLAN = Plan(
    title="scans",
    findings=(Finding(kind="few-images", text="A has 40 images", severity="warning"),),
    decisions=(
        Decision(setting="method", value="cyclegan", reason="A and B are not pairs"),
        Decision(setting="method.generator.blocks", value=6, reason="images below 256"),
        Decision(setting="data.root", value="scans", by="user"),
        Decision(setting="data.crop_size", value=(128, 256), reason='as in "Zhu et al.", 2 x wide'),
        Decision(setting="data.flip", value=False, reason="text"),
        Decision(setting="training.learning_rate", value=1e-05, reason="the probe was better", by="probe"),
    ),
)


def test_a_plan_is_read_back_and_training_takes_its_file(tmp_path: Path) -> None:
    path = PLAN.write(tmp_path / "plan.toml")
    assert read_plan(path) == PLAN
    config = resolve([read_file(path)])
    assert (config.method, config.settings.generator.blocks) == ("cyclegan", 6)
    assert (config.data.crop_size, config.data.flip, config.training.learning_rate) == ((128, 256), False, 1e-5)
    assert config == PLAN.config()


def test_every_reason_is_a_comment_on_its_line(tmp_path: Path) -> None:
    lines = PLAN.to_toml().splitlines()
    for each in PLAN.decisions:
        name = "name" if each.setting == "method" else each.setting.partition(".")[2]
        assert next(line for line in lines if line.startswith(f"{name} = ")).endswith(each.reason)
    assert "# warning: A has 40 images" in lines


def test_changes_by_hand_are_the_users(tmp_path: Path) -> None:
    path = PLAN.write(tmp_path / "plan.toml")
    text = path.read_text().replace("[128, 256]  #", "512  #", 1).replace("flip = false", "#", 1)
    path.write_text(text.replace("[training]\n", "[training]\nepochs = 7\n", 1))
    found = {each.setting: each for each in read_plan(path).decisions}
    assert (found["data.crop_size"].value, found["data.crop_size"].by) == (512, "user")
    assert (found["training.epochs"].value, found["training.epochs"].by) == (7, "user")
    assert "data.flip" not in found
    assert found["method.generator.blocks"].by == "rule"
    assert resolve([read_file(path)]).data.crop_size == 512


def test_what_the_user_decided_is_not_decided_again() -> None:
    plan = PLAN.decided(
        Decision(setting="data.root", value="other"),
        Decision(setting="method", value="cut", reason="better", by="probe"),
    )
    assert plan.settings["data.root"] == "scans"
    assert plan.method == "cut"
    assert PLAN.method == "cyclegan"


def test_an_edited_plan_is_never_replaced(tmp_path: Path) -> None:
    path = PLAN.write(tmp_path / "plan.toml")
    assert is_untouched(path)
    PLAN.write(path)
    path.write_text(path.read_text().replace("flip = false", "flip = true", 1))
    before = path.read_bytes()
    with pytest.raises(UserError, match="edited"):
        PLAN.write(path)
    assert path.read_bytes() == before
    (tmp_path / "own.toml").write_text("[data]\ncrop_size = 3\n")
    for name, reason in (("own.toml", "is none"), ("plan.txt", "toml")):
        with pytest.raises(UserError, match=reason):
            check_plan_out(tmp_path / name)


def test_any_file_of_settings_is_a_plan_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[data]\ncrop_size = 64\n")
    (decision,) = read_plan(tmp_path / "own.toml").decisions
    assert (decision.setting, decision.value, decision.by) == ("data.crop_size", 64, "user")


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[plan]\ndecisions = [3]\n")
    with pytest.raises(UserError, match=r"plan\.decisions.*delete"):
        read_plan(tmp_path / "plan.toml")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(value=values, reason=texts, title=texts)
def test_whatever_is_decided_is_valid_toml(value: Any, reason: str, title: str) -> None:
    decision = Decision(setting="data.x y", value=value, reason=reason)
    plan = Plan(title=title, decisions=(decision,), findings=(Finding(kind="odd", text=reason),))
    document = tomllib.loads(plan.to_toml())
    assert document["data"]["x y"] == value
    assert Plan.model_validate(document["plan"]) == plan
