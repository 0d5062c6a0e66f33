"""The model that returns what it gets goes through the commands like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from identity import EXTENSION, write_identity
from runs import unpaired
from unpaired.data.values import Domain
from unpaired.models.translator import Translator


def test_it_changes_no_value(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "x.png")
    model = write_identity(tmp_path / "model", Domain(channels=3))
    done = unpaired("translate", model, tmp_path / "x.png", "--out", tmp_path / "out", "--extension", EXTENSION)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "x.png")), image)


def test_deep_values_return_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-1024, 3072, (16, 24, 1)).astype(np.int16)
    hounsfield = Domain(channels=1, dtype="int16", range=(-1024, 3071))
    translator = Translator.load(write_identity(tmp_path / "model", hounsfield), device="cpu")
    np.testing.assert_array_equal(translator(values), values)
