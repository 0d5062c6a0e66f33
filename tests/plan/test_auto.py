"""`unpaired train auto`: one command plans, probes, trains and evaluates, and goes on from wherever it was killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from processes import Asked
from runs import TINY, write_images
from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.core.given import Given
from unpaired.evaluation.options import Options
from unpaired.plan import auto, probes
from unpaired.plan.auto import ASKED, OPEN, PLAN, PROBES, train_auto
from unpaired.plan.document import read_plan
from unpaired.plan.probes import RECORD, Probes
from unpaired.plan.start import train
from unpaired.training.result import Callback

LEFT = ("training.epochs", "training.decay_epochs", "method.pool_size")  # the plan's, and CycleGAN's own
SMALL = {name: value for name, value in TINY.items() if name not in LEFT}
SMALL |= {"training.max_images": 20, "training.num_samples": 0, "training.batch_size": 1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the evaluation at the end with one metric, and make one step of each candidate enough."""
    monkeypatch.setattr(probes, "ENOUGH", 1)
    monkeypatch.setattr(auto, "Options", partial(Options, metrics="swd"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", {"trainA": 6, "trainB": 6, "testA": 4, "testB": 4})


def _given(data: Path, **more: Any) -> list[Given]:
    return [Given({**SMALL, "data.root": str(data), **more}, "--set {name}")]


def _weights(run: Path, images: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"{images:09d}" / "a2b.safetensors")


def test_probes_choose_and_the_winner_goes_on_exactly(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train_auto(_given(data), run, share=0.5, quiet=True)
    plan = read_plan(run / PLAN)
    by = {one.setting: one for one in plan.decisions}
    assert by["method"].by == "probe"
    assert by["method"].value in OPEN.values()
    assert all(name in by["method"].reason for name in OPEN if OPEN[name] != by["method"].value)
    assert by["data.crop_size"].by == "user"
    assert {path.name for path in (run / PROBES / "runs").iterdir()} == {*OPEN}
    assert result.state == "finished"
    record = Probes.model_validate_json((run / PROBES / RECORD).read_text())
    lost = sum(each.images for name, each in record.tried.items() if name != record.left[0])
    assert result.images_seen == 20 - lost, "the budget includes the probes that lost"
    assert 3 <= record.spent <= 10
    assert (run / "evaluations").is_dir()
    again = train(out=tmp_path / "again", config=run / PLAN, quiet=True)
    assert again.images_seen == result.images_seen
    ours, theirs = (_weights(each, result.images_seen) for each in (run, tmp_path / "again"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs), "a probe is the beginning of the run"


def _killed(at: int, run: str, data: str) -> list[Any]:
    """Train in a process that is killed at the renaming of this number; return how many there are."""
    seen = 0

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += event == "os.rename" and run in os.fsdecode(args[1])
        if event == "os.rename" and seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    probes.ENOUGH = 1
    auto.OPEN = {"CycleGAN": "cyclegan", "FastCUT": "fastcut"}
    auto.Options = partial(Options, metrics="swd")  # type: ignore[assignment, misc]
    result = train_auto(_given(Path(data)), Path(run), share=0.5, go_on=True, quiet=True)
    return [result.images_seen, seen]


def test_it_goes_on_from_wherever_it_was_killed(data: Path, tmp_path: Path) -> None:
    whole, count = Asked(_killed, at=0, run=str(tmp_path / "whole"), data=str(data)).answer()
    run = tmp_path / "run"
    killed = Asked(_killed, at=count // 3, run=str(run), data=str(data))
    killed.wait()
    assert killed.returncode == -signal.SIGKILL
    result = train_auto([], run, go_on=True, quiet=True)
    assert (result.state, result.images_seen) == ("finished", whole)
    assert (run / PLAN).read_bytes().replace(b"/run", b"/whole") == (tmp_path / "whole" / PLAN).read_bytes()
    theirs = _weights(tmp_path / "whole", whole)
    assert all(torch.equal(weight, theirs[name]) for name, weight in _weights(run, whole).items())


def test_the_rules_alone_choose_without_probes(data: Path, tmp_path: Path) -> None:
    result = train_auto(_given(data), tmp_path / "run", share=0.0, quiet=True)
    assert result.images_seen == 20
    assert not (tmp_path / "run" / PROBES / "runs").exists()
    assert {one.by for one in read_plan(tmp_path / "run" / PLAN).decisions} == {"rule", "user"}


def test_a_budget_too_short_for_probes_leaves_the_choice_to_the_rules(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probes, "ENOUGH", 5)
    result = train("auto", data=data, out=tmp_path / "run", settings=SMALL)
    decided = next(one for one in read_plan(tmp_path / "run" / PLAN).decisions if one.setting == "method")
    assert (result.images_seen, decided.by, decided.value) == (20, "rule", "cyclegan")
    assert "too short" in decided.reason
    assert "No probes" in capsys.readouterr().err


def test_python_calls_it_and_settings_of_one_method_leave_that_one(data: Path, tmp_path: Path) -> None:
    seen = list[str]()

    class Saw(Callback):
        def on_start(self, run: Path, settings: Mapping[str, Any]) -> None:
            seen.append(settings["method"]["name"])

    out, settings = tmp_path / "run", {**SMALL, "method.cycle_weight": 3.0}
    result = train("auto", data=data, out=out, settings=settings, log_every_images=7, callbacks=[Saw()], quiet=True)
    assert (result.state, result.images_seen, seen) == ("finished", 20, ["cyclegan"])
    assert read_plan(out / PLAN).settings["training.log_every_images"] == 7
    assert train(resume=out, quiet=True).images_seen == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "auto", "budget": "soon"}, "such as 90s"),
        ({"method": "auto", "epoch": 3}, "epochs"),
        ({"method": "auto", "cycle_weight": 3.0}, "method.cycle_weight"),
        ({"method": "cyclegan", "budget": "30m"}, "belongs to method="),
        ({"method": "cyclegan", "probe": False}, "probe=False belongs"),
    ],
)
def test_what_python_refuses(arguments: dict[str, Any], message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(data=data, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["auto", "--budget", "soon"], "soon"),
        (["auto", "--budget", "0s"], "0s"),
        (["auto", "--budget", "30m", "--epochs", "5"], "both say how long to train"),
        (["auto", "--budget", "30m", "--images", "5"], "both say how long to train"),
        (["auto", "--set", "training.evaluate_images=0"], "--no-probe"),
        (["auto", "--set", "method.no_such=1"], "no_such"),
        (["cyclegan", "--budget", "30m"], "unpaired train auto"),
        (["cyclegan", "--no-probe"], "unpaired train auto"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_written(
    tokens: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *tokens, "--data", str(data), "--out", str(out)])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_what_was_begun_with_other_settings_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    asked = {"seconds": None, "share": 0.15, "settings": {"data.root": str(data), "data.crop_size": 16}}
    (run / ASKED).write_text(json.dumps(asked))
    with pytest.raises(UserError, match="begun without it"):
        train_auto([Given({"data.crop_size": 32}, "--set {name}")], run, go_on=True, quiet=True)
    with pytest.raises(UserError, match=r"30m.*begun without it"):
        train_auto([], run, budget="30m", go_on=True, quiet=True)
