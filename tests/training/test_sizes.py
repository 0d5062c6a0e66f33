"""Images that keep sizes of their own, and images with transparency, through training, samples and translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tests.runs import TINY, arguments
from tests.runs import unpaired as command

import unpaired

SHORT = {
    name: value
    for name, value in (TINY | {"training.epochs": 1, "training.decay_epochs": 0}).items()
    if not name.endswith((".blocks", ".load_size", ".crop_size", ".pool_size"))
}


def write(root: Path, shape: tuple[int, int, int]) -> Path:
    rng = np.random.default_rng(0)
    for domain in "AB":
        (root / f"train{domain}").mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"train{domain}/{number}.png")
    return root


def test_a_unet_learns_images_that_it_pads(tmp_path: Path) -> None:
    data, run = write(tmp_path / "data", (40, 70, 3)), tmp_path / "run"
    unet = {"data.preprocess": "none", "method.generator.depth": 5, "method.generator.dropout": False}
    done = command("train", "pix2pix", "--data", data, "--out", run, *arguments(SHORT | unet))
    assert "2 images are padded by reflection to multiples of 32" in done.stdout + done.stderr
    with Image.open(data / "trainA/0.png") as picture:
        assert unpaired.Translator.load(run)(picture).size == (70, 40)
    with Image.open(next((run / "samples").glob("*.png"))) as sample:
        assert sample.width > 70


def test_transparent_images_become_transparent_images(tmp_path: Path) -> None:
    data, run = write(tmp_path / "data", (20, 20, 4)), tmp_path / "run"
    given = {**TINY, **SHORT, "data.channels_a": 4, "data.channels_b": 4}
    command("train", "cyclegan", "--data", data, "--out", run, *arguments(given))
    translator = unpaired.Translator.load(run)
    assert translator.source.alpha
    with Image.open(data / "trainA/0.png") as picture:
        assert translator(picture).mode == "RGBA"
    for suffix in ("png", "tiff"):
        command("translate", run, data / "trainA", "--out", tmp_path / suffix, "--format", suffix)
        with Image.open(tmp_path / suffix / f"0.{suffix}") as made:
            assert (made.mode, made.size) == ("RGBA", (20, 20))
