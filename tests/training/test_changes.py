"""What has changed when a run is resumed: settings, images, edited and forged files, code, divergence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import unpaired as package
from runs import TINY, unpaired, write_images
from unpaired.core.errors import UserError
from unpaired.models.folder import checkpoints_of
from unpaired.report.run_log import read_metrics

LENGTHS = {"training.epochs": 1, "training.decay_epochs": 3, "training.checkpoint_every_images": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", {"trainA": 3, "trainB": 4, "testA": 2, "testB": 2})


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    return _train(data, tmp_path / "run")


def _train(data: Path, out: Path, **settings: Any) -> Path:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    merged = {**TINY, **LENGTHS, "training.max_images": 8, **dotted}
    return package.train(data=data, out=out, settings=merged, quiet=True).run


def _resume(run: Path, data_changed: Any = "refuse", **settings: Any) -> package.Result:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    return package.train(resume=run, settings=dotted, data_changed=data_changed, quiet=True)


def _events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_metrics(run) if record.get("event") == kind]


# ----------------------------------------------------------------------------------------------------------- settings


def test_a_longer_training_says_how_epoch_and_rate_move(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package.train(resume=run, settings={"training.decay_epochs": 7, "training.max_images": 9})
    told = " ".join(capsys.readouterr().err.split())
    assert "training.decay_epochs: 3 -> 7" in told
    assert "epoch 2.00 of 4 -> 2.00 of 8" in told
    assert "learning rate 0.0001 -> 0.00015" in told
    (event,) = _events(run, "changed")
    assert event["settings"]["training.decay_epochs"] == [3, 7]


def test_repeating_what_a_run_has_is_no_change(data: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    same = {
        "data.root": "data",
        "data.crop_size": [16, 16],
        "training.precision": "auto",
        "training.step_epochs": 50,  # chosen, it would contradict the schedule
        "method.name": "cyclegan",
        "method.generator": {"family": "resnet", "width": 4},
        "training.max_images": 9,
    }
    package.train(resume=run, settings=same, quiet=True)
    (event,) = _events(run, "changed")
    assert event["settings"] == {"training.max_images": [8, 9]}
    with pytest.raises(UserError, match=r"method.generator.width.*cannot be changed"):
        package.train(resume=run, settings={"method.generator": {"width": 5}}, quiet=True)


def test_a_run_keeps_its_method(run: Path) -> None:
    told = unpaired("train", "cut", "--resume", run, check=2).stderr
    assert "METHOD" in told
    assert "run of cyclegan" in told


def test_images_may_be_given_as_one_folder_or_as_two(data: Path, run: Path) -> None:
    package.train(resume=run, a=data / "trainA", b=data / "trainB", max_images=9, quiet=True)
    stored = json.loads((run / "config.json").read_text())["data"]
    assert ("root" in stored, stored["a"]) == (False, str(data / "trainA"))
    done = unpaired("train", "--resume", run, "--data", data, "--max-images", "10")
    assert "A (test): 2 images added" in " ".join(done.stderr.split())
    stored = json.loads((run / "config.json").read_text())["data"]
    assert (stored["root"], "a" in stored) == (str(data), False)
    assert checkpoints_of(run)[0].name == "000000010"


def test_a_limit_can_be_lifted(run: Path) -> None:
    unpaired("train", "--resume", run, "--max-images", "none")
    assert checkpoints_of(run)[0].name == "000000016"
    assert "max_images" not in json.loads((run / "config.json").read_text())["training"]
    again = package.train(resume=run, settings={"training.max_images": None, "training.epochs": 2}, quiet=True)
    assert again.images_seen == 20


@pytest.mark.parametrize(
    "setting",
    ["training.threads=100000", "training.batch_size=1000000000", f"training.epochs={10**23}", "training.keep_last=0"],
)
def test_absurd_sizes_are_refused(data: Path, tmp_path: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    with pytest.raises(UserError, match=rf"{name}.*received {value}; allowed: a whole number from \d+ to \d+"):
        package.train(data=data, out=tmp_path / "new", settings={name: int(value)})


# ------------------------------------------------------------------------------------------------------------- images


def test_changed_training_images_are_refused_until_allowed(data: Path, run: Path, tmp_path: Path) -> None:
    kept = {path.name: path.read_bytes() for path in checkpoints_of(run)[0].iterdir()}
    write_images(tmp_path / "more", {"trainB": 6}, seed=5)
    for name in ("4.png", "5.png"):
        shutil.copy(tmp_path / "more" / "trainB" / name, data / "trainB" / name)
    shutil.copy(tmp_path / "more" / "trainB" / "0.png", data / "trainA" / "0.png")
    with pytest.raises(UserError) as caught:
        _resume(run, training__max_images=9)
    told = str(caught.value)
    for part in ("A: 1 image changed (0.png)", "B: 2 images added (4.png, 5.png)", "data_changed = continue"):
        assert part in told
    assert "epoch 2.00 of 4 -> 1.33 of 4" in told
    assert "learning rate 0.0001 -> 0.00015" in told
    assert {path.name: path.read_bytes() for path in checkpoints_of(run)[0].iterdir()} == kept
    refused = unpaired("train", "--resume", run, check=2)
    assert "--data-changed continue" in " ".join(refused.stderr.split())

    assert _resume(run, "continue", training__max_images=9).images_seen == 9
    (event,) = _events(run, "changed")
    assert "B: 2 images added" in event["text"]
    _resume(run, training__max_images=10)  # the new images are now those of the run


def test_changed_test_images_are_told_and_change_no_weight(data: Path, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    _resume(copy, training__max_images=10)
    write_images(data, {"testA": 3}, seed=9)
    _resume(run, training__max_images=10)
    (event,) = _events(run, "changed")
    assert "A (test): 1 image added" in event["text"]
    assert (run / "checkpoints/000000010/a2b.safetensors").read_bytes() == (
        copy / "checkpoints/000000010/a2b.safetensors"
    ).read_bytes()


def test_of_an_earlier_version_it_is_known_that_images_changed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = package.training.run.Run.parts  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        old = lambda self: {k: v for k, v in parts(self).items() if k not in ("images", "config")}  # noqa: E731
        patch.setattr("unpaired.training.run.Run.parts", old)
        run = _train(data, tmp_path / "run")
        (run / "config.json").write_text((run / "config.json").read_text().replace('"sha256"', '"unused"'))
        config = json.loads((run / "config.json").read_text())
        del config["unused"]
        (run / "config.json").write_text(json.dumps(config))
    assert _resume(run, training__max_images=9).images_seen == 9
    with monkeypatch.context() as patch:
        patch.setattr("unpaired.training.run.Run.parts", old)
        _resume(run, training__max_images=10)
    write_images(data, {"trainA": 3}, seed=3)
    with pytest.raises(UserError, match="other images than before"):
        _resume(run, training__max_images=11)
    assert _resume(run, "continue", training__max_images=11).images_seen == 11


# ---------------------------------------------------------------------------------------------- edited and forged files


def test_an_edited_setting_is_noticed_and_named(run: Path) -> None:
    path = run / "config.json"
    content = path.read_text()
    config = json.loads(content)
    path.write_text(json.dumps(config))  # another layout is no change
    _resume(run, training__max_images=9)
    config = json.loads(path.read_text())
    config["training"]["learning_rate"] = 0.5
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"was edited.*training.learning_rate is 0.5; it was 0.0002.*--set NAME=VALUE"):
        _resume(run, training__max_images=10)
    config["training"]["learning_rate"] = 2e-4
    path.write_text(json.dumps(config))
    assert _resume(run, training__max_images=10).images_seen == 10


def test_code_that_only_the_folder_names_is_not_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unpaired.training.settings import checksum

    (tmp_path / "harmful.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef features(x): return x\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.pt2").write_bytes(b"never opened")
    for spec in ("harmful:features", str(tmp_path / "code.pt2")):
        config = json.loads((run / "config.json").read_text())
        config["training"]["evaluate_features"] = spec
        config["sha256"] = checksum(config)
        (run / "config.json").write_text(json.dumps(config))
        for given in ((), ("--max-images", "9")):
            refused = unpaired("train", "--resume", run, *given, check=2, cwd=tmp_path)
            assert f"--set training.evaluate_features={spec}" in " ".join(refused.stderr.split())
        tokens = ("train", "--config", run / "config.json", "--out", tmp_path / "new", "cyclegan")
        assert "is code" in " ".join(unpaired(*tokens, check=2, cwd=tmp_path).stderr.split())
        assert not (tmp_path / "ran").exists()
    named = unpaired("train", "--resume", run, "--set", f"training.evaluate_features={spec}", check=2, cwd=tmp_path)
    assert "is code" not in named.stderr, "named by the user it is opened"
    unpaired("train", "--resume", run, "--set", "training.evaluate_features=harmful:features", check=None, cwd=tmp_path)
    assert (tmp_path / "ran").exists()


def test_what_lies_in_the_way_is_one_message(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "metrics.jsonl").unlink()
    (copy / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        _resume(copy, training__max_images=9)
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        _resume(run, training__max_images=9)


def test_a_run_that_is_deleted_while_it_trains_ends_with_a_message(data: Path, tmp_path: Path) -> None:
    class Deleting(package.Callback):
        def on_checkpoint(self, checkpoint: Path, images: int) -> None:
            shutil.rmtree(checkpoint.parents[1])

    settings = {**TINY, **LENGTHS}
    with pytest.raises(UserError, match="was deleted or moved"):
        package.train(data=data, out=tmp_path / "run", settings=settings, callbacks=[Deleting()], quiet=True)
    assert not (tmp_path / "run").exists(), "half a run would be worse than none"


# --------------------------------------------------------------------------------------------------------- divergence


def _exploding(monkeypatch: pytest.MonkeyPatch, above: float, step: int) -> None:
    """Let losses be NaN from a step on, where the learning rate is above a value."""
    import torch

    from unpaired.training.trainer import Trainer

    take = Trainer.take_step
    count = {"steps": 0}

    def exploding(self: Trainer, batches: Any) -> Mapping[str, torch.Tensor]:
        count["steps"] += 1
        losses = take(self, batches)
        if count["steps"] >= step and self.config.learning_rate > above:
            return {name: value * torch.nan for name, value in losses.items()}
        return losses

    monkeypatch.setattr(Trainer, "take_step", exploding)


def test_a_diverged_run_is_rescued_by_what_the_message_names(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _exploding(monkeypatch, above=1e-4, step=3)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"checkpoint after 2 images is intact.*--set training.learning_rate=0.0001"):
        _train(data, run)
    capsys.readouterr()
    with pytest.raises(UserError, match="stopped at step"):
        package.train(resume=run)
    assert "the same steps diverged before" in " ".join(capsys.readouterr().err.split())
    rescued = package.train(resume=run, settings={"training.learning_rate": 1e-4, "training.clip_norm": 1.0})
    assert rescued.images_seen == 8
    told = " ".join(capsys.readouterr().err.split())
    assert "training.learning_rate: 0.0002 -> 0.0001" in told
    assert "diverged before" not in told
    (event,) = _events(run, "changed")
    assert event["settings"]["training.clip_norm"] == [None, 1.0]


def test_where_nothing_was_kept_the_message_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _exploding(monkeypatch, above=0, step=1)
    with pytest.raises(UserError, match="No checkpoint was written yet") as caught:
        _train(data, tmp_path / "run")
    assert "intact" not in str(caught.value)


def test_the_precision_may_change(run: Path) -> None:
    assert _resume(run, training__precision="bf16", training__max_images=9).images_seen == 9
    assert _resume(run, training__precision="fp32", training__max_images=10).images_seen == 10
