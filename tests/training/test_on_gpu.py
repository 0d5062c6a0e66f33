"""What only a GPU shows: every method in every precision, resuming, and the same pictures as on the CPU.

`UNPAIRED_TEST_DEVICE=cpu` runs the same on a CPU, which shows that the tests themselves are sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unpaired
from contract import batches
from runs import TINY, write_images
from unpaired.core.given import Given
from unpaired.methods import METHODS, Batch, ImageShapes
from unpaired.models.folder import checkpoints_of
from unpaired.training.config import TrainingConfig
from unpaired.training.settings import resolve
from unpaired.training.trainer import Trainer

DEVICE = os.environ.get("UNPAIRED_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "")
needs_device = pytest.mark.skipif(not DEVICE, reason="needs a CUDA device, or UNPAIRED_TEST_DEVICE=cpu")
SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(32, 32))
SMALL: dict[str, Any] = {"method.generator.width": 8, "method.discriminator.width": 8}
OF: dict[str, dict[str, Any]] = {
    **{key: {**SMALL, "method.generator.blocks": 2} for key in ("cyclegan", "stegogan", "bigan", "simgan")},
    **{key: {**SMALL, "method.generator.blocks": 2, "method.nce_layers": [0, 4, 8]} for key in ("cut", "fastcut")},
    **{key: {**SMALL, "method.generator.blocks": 2, "method.nce_layers": [4, 8]} for key in ("dclgan", "unsb")},
    "pix2pix": {**SMALL, "method.generator.depth": 4, "method.generator.dropout": False},
    "cogan": {**SMALL, "method.generator.latent": 8},
    "masked": {"method.generator.width": 8, "method.generator.tokens": 24, "method.patch": 8},
}
"""Of every method but feature_gan, which needs weights."""


def test_none_is_left_out() -> None:
    assert {*OF, "feature_gan"} == set(METHODS)


def _on_device() -> Iterator[Batch]:
    for x, y in batches(3, 3, 32, rows=2):
        yield Batch(x.to(DEVICE), y.to(DEVICE))


@needs_device
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", OF)
def test_every_method_trains(name: str, precision: str) -> None:
    torch.manual_seed(0)
    if precision == "fp16" and DEVICE == "cpu":
        pytest.skip("fp16 is for GPUs")
    config = resolve([Given({"method.name": name, **OF[name]}, "{name}")])
    method = METHODS[name](config.settings, SHAPES)
    trainer = Trainer(method, TrainingConfig(precision=precision), torch.device(DEVICE))  # type: ignore[arg-type]
    stream = _on_device()
    for _ in range(6):
        losses = trainer.step(stream)
    assert all(torch.isfinite(value) for value in losses.values())
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}
    assert all(torch.isfinite(parameter).all() for parameter in method.parameters())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), {"trainA": 8, "trainB": 8, "testA": 2, "testB": 2})


def _weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    files = sorted(checkpoints_of(run)[0].glob("?2?.safetensors"))
    return {f"{file.stem}.{name}": value for file in files for name, value in load_file(file).items()}


@needs_device
def test_a_resumed_training_ends_as_one_that_was_not_stopped(data: Path, tmp_path: Path) -> None:
    """Batches, pools, rates and random numbers agree; on a GPU convolutions may add in another order."""
    settings = {**TINY, "training.device": DEVICE, "training.max_images": 16, "training.precision": "fp32"}
    unpaired.train("cyclegan", data=data, out=tmp_path / "whole", settings=settings, quiet=True)
    half = {**settings, "training.max_images": 8}
    unpaired.train("cyclegan", data=data, out=tmp_path / "halves", settings=half, quiet=True)
    unpaired.train(resume=tmp_path / "halves", settings={"training.max_images": 16}, quiet=True)
    whole, halves = _weights(tmp_path / "whole"), _weights(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    differences = [float((whole[name] - halves[name]).abs().max()) for name in whole if name.endswith("weight")]
    assert max(differences) <= (0 if DEVICE == "cpu" else 2e-3)


@needs_device
def test_pictures_are_those_of_the_cpu(data: Path, tmp_path: Path) -> None:
    settings = {**TINY, "training.device": DEVICE, "training.max_images": 8}
    unpaired.train("cyclegan", data=data, out=tmp_path / "run", settings=settings, quiet=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 37, 3), dtype=np.uint8))
    exact = np.asarray(unpaired.Translator.load(tmp_path / "run", device="cpu", precision="fp32")(picture), np.int16)
    most = {"fp32": 2, "bf16": 24} if DEVICE == "cpu" else {"fp32": 2, "bf16": 24, "fp16": 6}
    for precision, levels in most.items():
        translator = unpaired.Translator.load(tmp_path / "run", device=DEVICE, precision=precision)  # type: ignore[arg-type]
        assert np.abs(np.asarray(translator(picture), np.int16) - exact).max() <= levels, precision


@needs_device
def test_a_recorded_step_is_that_of_the_training_command(data: Path, tmp_path: Path) -> None:
    """`training.graph = on` for a whole run, and its log says nothing of falling back."""
    if DEVICE == "cpu":
        pytest.skip("graphs need a CUDA device")
    settings = {**TINY, "training.device": DEVICE, "training.max_images": 16, "training.graph": "on"}
    result = unpaired.train("cyclegan", data=data, out=tmp_path / "run", settings=settings, quiet=True)
    assert result.images_seen == 16
    assert "graph" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert all(np.isfinite([*result.losses.values()]))
