"""Callbacks hear of everything, and none of them can harm a training; the loggers of `examples/` are callbacks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import unpaired
from runs import TINY, write_images
from unpaired.report.run_log import means_among, read_metrics

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SETTINGS = {**TINY, "training.max_images": 8, "training.log_every_images": 4, "training.checkpoint_every_images": 4}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", {"trainA": 4, "trainB": 4, "testA": 2, "testB": 2})


class Recorder(unpaired.Callback):
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_start(self, run: Path, settings: Any) -> None:
        self.calls.append(("start", settings["data"]["crop_size"]))

    def on_log(self, record: Any) -> None:
        self.calls.append(("log", record))

    def on_sample(self, picture: Path, images: int) -> None:
        assert picture.is_file()
        self.calls.append(("sample", images))

    def on_checkpoint(self, checkpoint: Path, images: int) -> None:
        assert unpaired.Translator.load(checkpoint).card.images_seen == images
        self.calls.append(("checkpoint", images))

    def on_end(self, result: unpaired.Result | None) -> None:
        self.calls.append(("end", result))

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.calls if name == kind]


def test_a_callback_hears_of_everything(data: Path, tmp_path: Path) -> None:
    heard = Recorder()
    result = unpaired.train(data=data, out=tmp_path / "run", settings=SETTINGS, callbacks=[heard], quiet=True)
    assert heard.of("start") == [16]
    assert [one["images"] for one in means_among(heard.of("log"))] == [4, 8]
    assert len(heard.of("log")) == len(read_metrics(result.run))
    assert heard.of("sample") == [0, 4, 8]
    assert heard.of("checkpoint") == [4, 8]
    assert heard.of("end") == [result]


def test_a_failing_callback_is_reported_and_the_training_is_the_same(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(unpaired.Callback):
        def on_log(self, record: Any) -> None:
            raise ConnectionError("no network")

        def on_end(self, result: object) -> None:
            raise AssertionError("called again")

    heard = Recorder()
    result = unpaired.train(data=data, out=tmp_path / "run", settings=SETTINGS, callbacks=[Broken(), heard], quiet=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "Broken failed in on_log (ConnectionError: no network)" in told
    assert "called again)" not in told
    assert result.state == "finished"
    assert heard.of("end") == [result]


def test_a_failed_training_ends_with_no_result(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise unpaired.UserError("the disk is full")

    monkeypatch.setattr("unpaired.training.run.save_checkpoint", lambda *_, **__: fail())
    heard = Recorder()
    with pytest.raises(unpaired.UserError, match="disk"):
        unpaired.train(data=data, out=tmp_path / "run", settings=SETTINGS, callbacks=[heard], quiet=True)
    assert heard.of("end") == [None]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class StandIn(ModuleType):
    """A module that notes every call of its functions."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.summary: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def called(*values: Any, **named: Any) -> Any:
            self.calls.append((name, values, named))
            return SimpleNamespace(values=values)

        return called

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(values, named) for called, values, named in self.calls if called == name]


def test_the_logger_of_weights_and_biases(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = StandIn("wandb")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logger = example("wandb_logger").WandbLogger()
    unpaired.train(data=data, out=tmp_path / "run", settings=SETTINGS, callbacks=[logger], quiet=True)
    ((_, begun),) = wandb.of("init")
    assert (begun["id"], begun["config"]["data"]["crop_size"]) == ("run", 16)
    logged = [values[0] for values, _ in wandb.of("log")]
    assert [one["images"] for one in logged if "losses/cycle_a" in one] == [4, 8]
    assert any("evaluation/swd_a2b" in one for one in logged) == bool(wandb.summary)
    assert [one["images"] for one in logged if "samples" in one] == [0, 4, 8]
    assert wandb.of("finish") == [((), {"exit_code": 0})]


def test_the_logger_of_mlflow(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = StandIn("mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    logger = example("mlflow_logger").MlflowLogger()
    unpaired.train(data=data, out=tmp_path / "run", settings=SETTINGS, callbacks=[logger], quiet=True)
    parameters = {name: value for (values, _) in mlflow.of("log_params") for name, value in values[0].items()}
    assert parameters["data.crop_size"] == 16
    steps = [named["step"] for (values, named) in mlflow.of("log_metrics") if "cycle_a" in values[0]]
    assert steps == [4, 8]
    assert len(mlflow.of("log_artifact")) == 3
    assert mlflow.of("end_run") == [((), {"status": "FINISHED"})]
