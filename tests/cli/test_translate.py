"""The command says what computes, and does what it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired import Translator, cli
from unpaired.data.values import Domain
from unpaired.models.engines import choice
from unpaired.models.folder import ModelCard, TranslatorCard, read_card, write_model
from unpaired.networks import BridgeResnetConfig, ResnetConfig, build_generator, describe_generator


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_generator(ResnetConfig(width=4, blocks=1), 3, 3)
    card = ModelCard(
        origin="made by a test",
        domains={"a": Domain(channels=3), "b": Domain(channels=3)},
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="a2b.safetensors")},
    )
    write_model(tmp_path / "model", card, {"a2b.safetensors": network.state_dict()})
    return tmp_path / "model"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 7 + number, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def translate(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["translate", *map(str, tokens)])
    assert (stopped.value.code or 0) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_the_engine_is_named_with_its_exactness(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "fast_bf16", lambda device: True)
    monkeypatch.setattr(choice, "SUFFICIENT_PSNR", 0.0)
    options = (model, photos, "--device", "cpu", "--existing", "overwrite", "--out", tmp_path / "out")
    shown, _ = translate(capsys, *options)
    assert "engine: PyTorch, bf16; differs from float32 by at most 0." in shown
    assert "3 written" in shown
    shown, _ = translate(capsys, *options, "--precision", "fp32")
    assert "engine: PyTorch, fp32; equals float32\n" in shown
    shown, _ = translate(capsys, *options, "--bit-depth", "16")
    assert "PyTorch, fp32" in shown, "bf16 has too few digits for 16 bits"
    shown, _ = translate(capsys, *options, "--quiet")
    assert shown == ""


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_steps_and_seed_of_a_bridge(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = build_generator(BridgeResnetConfig(width=4, blocks=1, steps=3), 3, 3)
    card = replace(
        read_card(model),
        translators={"a2b": TranslatorCard(network=describe_generator(network), weights="n.safetensors")},
    )
    write_model(tmp_path / "bridge", card, {"n.safetensors": network.state_dict()})
    made = {}
    for name, options in {"all": [], "3": ["--steps", 3], "1": ["--steps", 1], "other": ["--seed", 5]}.items():
        place = tmp_path / name
        translate(capsys, tmp_path / "bridge", photos / "0.png", "--device", "cpu", "--out", place, *options)
        with Image.open(place / "0.png") as image:
            made[name] = np.asarray(image)
    assert (made["all"] == made["3"]).all()
    assert not (made["all"] == made["1"]).all()
    assert not (made["all"] == made["other"]).all()
    two = Translator.load(tmp_path / "bridge", steps=2, seed=7)
    two.save_pretrained(tmp_path / "two")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", str(tmp_path / "bridge"), "--steps", "2", "--seed", "7", "--out", str(tmp_path / "two.pt")])
    assert not stopped.value.code
    with Image.open(photos / "0.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    kept = Translator.load(tmp_path / "two")
    assert (kept(pixels) == two(pixels)).all(), "a saved model keeps the steps and the seed that were chosen"
    assert not (two(pixels) == made["all"]).all()
    scaled = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    exported = torch.jit.load(tmp_path / "two.pt")(scaled)
    with torch.no_grad():
        assert (exported - kept.network(scaled)).abs().max() < 1e-3
    wrong = {
        (tmp_path / "bridge", "--steps", 4): "--steps 4: this model has 3 steps. Choose a number from 1 to 3",
        (tmp_path / "bridge", "--steps", 0): "from 1 to 3",
        (tmp_path / "bridge", "--seed", -1): "--seed -1",
        (model, "--steps", 1): "--steps 1: this model translates in one step",
        (model, "--seed", 1): "--seed 1: this model translates in one step, without noise",
    }
    for (where, *options), words in wrong.items():
        _, error = translate(capsys, where, photos, "--out", tmp_path / "no", *options, code=2)
        assert words in error
    assert not (tmp_path / "no").exists()


def test_half_of_side_by_side_files(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    translate(capsys, model, photos / "1.png", "--device", "cpu", "--half", "right", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "1.png") as written:
        assert written.size == (4, 9)


def test_a_large_folder_makes_the_graph(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "WORTH_MAKING", 3)
    options = (model, "--device", "cpu", "--precision", "fp32")
    shown, _ = translate(capsys, *options, photos, "--out", tmp_path / "out")
    assert "engine: OpenVINO, fp32" in shown
    shown, _ = translate(capsys, *options, photos / "0.png", "--out", tmp_path / "one")
    assert "engine: PyTorch, fp32" in shown


def test_what_an_engine_cannot_do_is_said_before_anything_is_written(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = translate(
        capsys, model, photos, "--engine", "onnxruntime", "--precision", "bf16", "--out", tmp_path / "out", code=2
    )
    assert "--engine onnxruntime does not compute in bf16" in error
    assert not (tmp_path / "out").exists()
