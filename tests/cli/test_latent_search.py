"""The commands with a model that translates by a search: what they show, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired import cli
from unpaired.core.terminal import counting
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.folder import ModelCard, TranslatorCard, write_model
from unpaired.models.translator import Translator
from unpaired.networks import (
    CoupledGeneratorConfig,
    InitConfig,
    LatentSearch,
    LatentSearchConfig,
    SearchConfig,
    describe_generator,
    initialize,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = LatentSearchConfig(
        source="a",
        size=(16, 16),
        generator=CoupledGeneratorConfig(width=4, latent=5),
        search=SearchConfig(steps=6, restarts=2, starts=8),
    )
    network = LatentSearch(config, 1, 3)
    initialize(network, InitConfig(scheme="kaiming"))
    card = ModelCard(
        method="cogan",
        origin="made by a test",
        domains={"a": Domain(channels=1), "b": Domain(channels=3)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
    )
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    return tmp_path / "model"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number, height in enumerate((16, 9, 16)):
        pixels = np.random.default_rng(number).integers(0, 256, (height, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def run(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*map(str, tokens)])
    assert (stopped.value.code or 0) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_translate_says_what_the_search_left_over(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, _ = run(capsys, "translate", model, photos, "--out", tmp_path / "out", "--device", "cpu")
    assert "engine: PyTorch, fp32; a latent search of 6 steps from 2 starts" in shown
    assert "3 written" in shown
    translator = Translator.load(model, device="cpu")
    report = translate_files(translator, [photos], tmp_path / "again")
    assert [path.name for path, _ in report.search_errors] == ["0.png", "1.png", "2.png"]
    errors = [error.l1 for _, error in report.search_errors]
    line = next(line for line in shown.splitlines() if "reconstruction error" in line)
    assert f"{np.mean(errors):.3f} on average" in line
    assert f"worst {photos / f'{np.argmax(errors)}.png'}: {max(errors):.3f}" in line
    for name in ("0.png", "1.png", "2.png"):  # alone or with others, an image has one translation
        with Image.open(photos / name) as photo, Image.open(tmp_path / "out" / name) as translated:
            assert translated.size == photo.size
            assert np.array_equal(np.asarray(translator(photo)), np.asarray(translated))
    quiet, _ = run(capsys, "translate", model, photos, "--out", tmp_path / "third", "--quiet")
    assert quiet == ""


def test_the_step_and_the_error_are_shown(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translator = Translator.load(model, device="cpu")
    assert translator.search is not None
    from unpaired.cli.translate import _show_search

    shown: list[str] = []
    with counting("Translating", quiet=True) as progress:
        monkeypatch.setattr(progress, "detail", shown.append)
        _show_search(translator, progress)
        translator(torch.zeros(2, 1, 16, 16))
    assert shown[0].startswith("step 0 of 12, remaining error ")
    assert shown[-1].startswith("step 12 of 12, remaining error ")
    with counting("Translating", quiet=True) as progress:
        progress(1, 3)
        progress.detail("step 1")


@pytest.mark.parametrize("engine", ["torch-compile", "onnxruntime", "openvino"])
def test_other_engines_are_refused(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    _, told = run(capsys, "translate", model, photos, "--out", tmp_path / "out", "--engine", engine, code=2)
    assert f"--engine {engine}" in told
    assert "optimisation" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_other_precisions_are_refused(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    _, told = run(capsys, "translate", model, photos, "--out", tmp_path / "out", "--precision", precision, code=2)
    assert f"--precision {precision}" in told
    assert "--precision fp32" in told
    assert not (tmp_path / "out").exists()


def test_auto_takes_pytorch_in_float32_and_measures_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatentSearch, "forward", None)
    translator = Translator.load(model, device="cpu", precision="auto", engine="auto", images=10_000)
    assert str(translator.engine) == "PyTorch, fp32"
    assert translator.exactness.largest == 0
    assert "latent search" in translator.describe_engine()


def test_export_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told = run(capsys, "export", model, "--out", tmp_path / "new" / "model.onnx", code=2)
    assert "cannot be exported" in told
    assert "optimisation" in told
    assert not (tmp_path / "new").exists()


def test_info(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, _ = run(capsys, "info", model)
    words = " ".join(shown.split())
    assert "latent_search" in words
    assert "size (16, 16)" in words
    assert "1 to 3 channels" in words


def test_an_evaluation_says_that_a_search_takes_long(
    capsys: pytest.CaptureFixture[str], model: Path, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    photos.rename(data / "testA")
    (data / "testB").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(data / "testB" / f"{number}.png")
    tokens = ("evaluate", model, "--data", data, "--size", "16", "--device", "cpu", "--out", tmp_path / "out")
    _, said = run(capsys, *tokens)
    assert "A to B: this model translates by a search" in said
    assert "--images measures fewer" in said
    _, said = run(capsys, *tokens, "--measures", "reconstruction", code=2)
    assert "by a search" in said
