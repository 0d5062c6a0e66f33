"""The plans of five made-up sets: what they must notice, and that training carries them out."""

from __future__ import annotations

import importlib.util
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import unpaired
from unpaired import cli
from unpaired.plan.document import read_plan

REPOSITORY = Path(__file__).resolve().parents[2]
EXPECTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "grey12": (
        {"data.range_a": [0, 4095], "data.channels_a": 1, "data.flip": False, "data.group": "{group}_*"},
        {"no-tests", "few-images"},
    ),
    "few": ({"training.augment": ["colour", "translation", "cutout"], "data.held_out": 0.2}, {"few-images"}),
    "panoramas": ({"data.preprocess": "scale_width_and_crop", "data.crop_size": 128}, {"few-images", "no-tests"}),
    "pairs": ({"method.name": "pix2pix", "method.generator.family": "unet", "data.held_out": None}, {"pairs"}),
    "overlap": ({"method.name": "cyclegan"}, {"overlap", "test-in-train"}),
}
SMALL = {"method.generator.width": 2, "method.discriminator.width": 2, "training.evaluate_images": 1}
SHORT = {"training.max_images": 2, "training.num_samples": 0, "training.tensorboard": False}


def _sets() -> Any:
    spec = importlib.util.spec_from_file_location("plan_sets", REPOSITORY / "benchmarks" / "plan_sets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", EXPECTED)
def test_plans_of_made_up_sets(name: str, tmp_path: Path) -> None:
    root = _sets().draw(name, tmp_path, 12)
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        cli.main(["plan", "--data", str(root), "--out", str(tmp_path / "plan.toml"), "--device", "cpu", "--quiet"])
    assert ended.value.code == 0
    plan, (decided, kinds) = read_plan(tmp_path / "plan.toml"), EXPECTED[name]
    assert {setting: plan.settings.get(setting) for setting in decided} == decided
    assert kinds <= {each.kind for each in plan.findings}
    assert all(len(line) <= 80 for line in printed.getvalue().splitlines())
    result = unpaired.train(
        plan.method, config=tmp_path / "plan.toml", out=tmp_path / "run", settings=SMALL | SHORT, quiet=True
    )
    assert (result.state, result.images_seen) == ("finished", 2)
