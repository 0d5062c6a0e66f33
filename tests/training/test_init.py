"""Starting from weights, and freezing: what is taken is exactly what the model holds, and what is frozen stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import unpaired as package
from runs import TINY, arguments, unpaired, write_images
from unpaired.core.errors import UserError
from unpaired.models.folder import checkpoints_of, read_card, read_tensors, write_model
from unpaired.report.run_log import read_metrics

WITHOUT_GENERATOR = {name: value for name, value in TINY.items() if not name.startswith("method.generator")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 3, "trainB": 3, "testA": 2, "testB": 2})


@pytest.fixture(scope="module")
def source(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints after 3 and 6 images."""
    settings = {**TINY, "training.max_images": 6}
    return package.train(data=data, out=tmp_path_factory.mktemp("runs") / "first", settings=settings, quiet=True).run


def _train(data: Path, out: Path, init: Path, **settings: Any) -> package.Result:
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    merged = {**WITHOUT_GENERATOR, "training.max_images": 3, "training.init_from": str(init), **dotted}
    return package.train(data=data, out=out, settings=merged, quiet=True)


def _translator(folder: Path, direction: str) -> dict[str, torch.Tensor]:
    return read_tensors(folder, f"{direction}.safetensors")


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, bool]:
    assert one.keys() == other.keys()
    return {name: torch.equal(value, other[name]) for name, value in one.items()}


def test_a_method_with_a_generator_of_its_own_takes_what_fits(data: Path, source: Path, tmp_path: Path) -> None:
    settings = {"generator.width": 4, "generator.blocks": 1, "discriminator.layers": 1, "nce_layers": [0, 4]}
    dotted = {f"method.{name}": value for name, value in settings.items()}
    shared = {name: value for name, value in TINY.items() if not name.startswith("method.")}
    merged = {**shared, **dotted, "training.max_images": 4, "training.init_from": str(source)}
    result = package.train("unsb", data=data, out=tmp_path / "bridge", settings=merged, quiet=True)
    fits = {fit.network: fit for fit in result.initialized}
    assert 0 < fits["a2b"].taken < fits["a2b"].count
    assert any(name.startswith("residual.0.time") for name in fits["a2b"].misfits)
    with pytest.raises(UserError, match="this model translates in one step"):
        package.Translator.load(source, steps=2)
    assert package.Translator.load(tmp_path / "bridge", steps=1, device="cpu").network.last == 0


def test_a_new_run_takes_all_networks_and_frozen_ones_stay(data: Path, source: Path, tmp_path: Path) -> None:
    checkpoint = checkpoints_of(source)[0]
    result = _train(data, tmp_path / "run", source, training__init_checkpoint="last", training__freeze=["generators"])
    fits = {fit.network: fit for fit in result.initialized}
    assert fits.keys() == {"a2b", "b2a", "D_X", "D_Y"}
    assert all(fit.taken == fit.count > 0 and not fit.misfits and not fit.unused for fit in fits.values())
    for direction in ("a2b", "b2a"):
        assert all(_equal(_translator(result.checkpoint, direction), _translator(checkpoint, direction)).values())
    name = "method.D_X.model.0.weight"
    before, now = (read_tensors(folder, "training.safetensors") for folder in (checkpoint, result.checkpoint))
    name = next(key for key in before if key.startswith("method.D_X.") and key.endswith("weight"))
    assert not torch.equal(before[name], now[name])
    assert not any(key.startswith("optimizer.generators") for key in now)
    stored = json.loads((result.run / "config.json").read_text())
    assert stored["method"]["generator"]["width"] == 4, "the generator's settings follow the model"
    assert stored["training"]["init_from"] == str(source)
    told = next(record for record in read_metrics(result.run) if record.get("event") == "initialized")
    assert {each["network"]: each["taken"] for each in told["networks"]} == {n: f.taken for n, f in fits.items()}


def test_a_part_of_a_network_can_be_frozen_and_the_run_resumes_exactly(
    data: Path, source: Path, tmp_path: Path
) -> None:
    whole = _train(data, tmp_path / "whole", source, training__freeze=["a2b.down", "discriminators"])
    names = _equal(_translator(whole.checkpoint, "a2b"), _translator(source / "best", "a2b"))
    if not any(name.startswith("down") for name in names):
        pytest.fail(f"no such part: {list(names)}")
    assert {name for name, same in names.items() if same} == {name for name in names if name.startswith("down")}
    part = _train(
        data, tmp_path / "part", source, training__freeze=["a2b.down", "discriminators"], training__max_images=1
    )
    rest = package.train(resume=part.run, settings={"training.max_images": 3}, quiet=True)
    assert rest.images_seen == whole.images_seen
    for direction in ("a2b", "b2a"):
        assert all(_equal(_translator(rest.checkpoint, direction), _translator(whole.checkpoint, direction)).values())


def test_what_fits_in_part_is_listed_and_what_does_not_fit_is_refused(
    data: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"none of its weights fits.*there: 4 x 3 x 7 x 7"):
        _train(data, tmp_path / "wide", source, method__generator={"width": 8, "blocks": 1})
    assert not (tmp_path / "wide").exists()
    settings = {**TINY, "method.generator.blocks": 2, "training.max_images": 1, "training.init_from": str(source)}
    result = package.train(data=data, out=tmp_path / "deep", settings=settings)
    fits = {fit.network: fit for fit in result.initialized}
    assert 0 < fits["a2b"].taken < fits["a2b"].count
    assert len(fits["a2b"].misfits) == fits["a2b"].count - fits["a2b"].taken
    told = " ".join(capsys.readouterr().err.split())
    assert f"a2b {fits['a2b'].taken} of {fits['a2b'].count} tensors" in told
    assert "D_X whole" in told


def test_a_model_of_one_direction_gives_that_one(data: Path, source: Path, tmp_path: Path) -> None:
    card = read_card(source / "best")
    translators = {"b2a": card.translators["b2a"]}
    one_way = package.models.folder.ModelCard(  # type: ignore[attr-defined]
        origin="a test", domains=card.domains, translators=translators
    )
    write_model(tmp_path / "model", one_way, {"b2a.safetensors": _translator(source / "best", "b2a")})
    result = _train(data, tmp_path / "run", tmp_path / "model", training__freeze=["b2a"])
    assert {fit.network: fit.taken > 0 for fit in result.initialized} == {
        "a2b": False,
        "b2a": True,
        "D_X": False,
        "D_Y": False,
    }
    assert all(_equal(_translator(result.checkpoint, "b2a"), _translator(source / "best", "b2a")).values())
    other = package.train(
        "cut",
        data=data,
        out=tmp_path / "cut",
        settings={
            **{name: value for name, value in TINY.items() if "pool" not in name and "method.generator" not in name},
            "training.init_from": str(source),
            "training.max_images": 1,
            "method.nce_layers": [0, 4],
        },
        quiet=True,
    )
    assert {fit.network: fit.taken > 0 for fit in other.initialized}["a2b"], "of another method, its translator"


def test_a_run_that_stopped_before_its_first_checkpoint_takes_the_weights_again(
    data: Path, source: Path, tmp_path: Path
) -> None:
    whole = _train(data, tmp_path / "run", source)
    kept = _translator(whole.checkpoint, "a2b")
    shutil.rmtree(whole.run / "checkpoints")
    again = package.train(resume=whole.run, quiet=True)
    assert all(_equal(_translator(again.checkpoint, "a2b"), kept).values())
    assert again.initialized


def test_mistakes_are_told_before_anything_is_written(data: Path, source: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    card = read_card(source / "best")
    broken = {name: torch.full_like(value, torch.nan) for name, value in _translator(source / "best", "a2b").items()}
    write_model(bad, card, {"a2b.safetensors": broken, "b2a.safetensors": _translator(source / "best", "b2a")})
    for init, settings, match in (
        (source, {"training__freeze": ["a2b.down", "discriminatorz"]}, r'Did you mean "discriminators"'),
        (source, {"training__freeze": ["generators", "discriminators"]}, "nothing to train"),
        (source, {"training__init_checkpoint": 5}, "no checkpoint after 5 images. It has 3 and 6"),
        (tmp_path / "nowhere", {}, r"training.init_from: there is no model"),
        (bad, {}, "not finite"),
    ):
        with pytest.raises(UserError, match=match):
            _train(data, tmp_path / "run", init, **settings)
        assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="no meaning without"):
        package.train(data=data, out=tmp_path / "run", init_checkpoint="best")


def test_the_command_line_starts_from_a_checkpoint(data: Path, source: Path, tmp_path: Path) -> None:
    settings = arguments({**WITHOUT_GENERATOR, "training.max_images": 1, "training.freeze": ["a2b"]})
    run = tmp_path / "run"
    tokens = ("--data", data, "--out", run, "--init-from", source, "--init-checkpoint", "3")
    done = unpaired("train", "cyclegan", *tokens, *settings)
    assert "3 images" in " ".join(done.stderr.split())
    third = source / "checkpoints" / "000000003"
    assert all(_equal(_translator(checkpoints_of(run)[0], "a2b"), _translator(third, "a2b")).values())
