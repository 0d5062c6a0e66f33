"""Flicker of clips that lie in files, and of those that a model translates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import LOSSLESS, drawn, make_clip
from unpaired.core.errors import UserError
from unpaired.evaluation.options import Options
from unpaired.evaluation.start import evaluate
from unpaired.report.results import Evaluation


def _evaluate(folder: Path, name: str) -> Evaluation:
    return evaluate(
        Options(
            real=str(folder / "real"), fake=str(folder / name), input=str(folder / "in.mkv"), metrics="flicker,input_l1"
        )
    )


def test_flicker_of_a_clip_and_its_translation(tmp_path: Path) -> None:
    lossless = {"codec": "libx264rgb", "pix_fmt": "rgb24", "options": LOSSLESS, "tags": (1, 1, 0, 2)}
    rng, still = np.random.default_rng(0), drawn(20)
    inputs = [np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8) for _ in range(4)]
    steady = [(image * 0.5 + 40).astype(np.uint8) for image in inputs]
    flickering = [image + np.uint8(20 * (number % 2)) for number, image in enumerate(steady)]
    (tmp_path / "real").mkdir()
    for number in range(2):
        Image.fromarray(drawn(number)).save(tmp_path / "real" / f"{number}.png")
    make_clip(tmp_path / "in.mkv", inputs, **lossless)
    found = {}
    for name, frames in (("steady", steady), ("flickering", flickering)):
        make_clip(tmp_path / name / "in.mp4", frames, **lossless)
        evaluation = _evaluate(tmp_path, f"{name}/in.mp4")
        figures = {figure.name: figure for one in evaluation.directions.values() for figure in one.figures}
        assert figures["flicker"].protocol["pairs"] == 3
        found[name] = figures["flicker"].value
        assert figures["flicker_translations"].value == pytest.approx(
            found[name] * figures["flicker_inputs"].value, rel=1e-6
        )
    assert found["steady"] == pytest.approx(0.5, abs=0.1)
    assert found["flickering"] > 5


def test_pictures_have_no_flicker(tmp_path: Path) -> None:
    for folder in ("real", "fake", "in.mkv"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.fromarray(drawn(number)).save(tmp_path / folder / f"{number}.png")
    with pytest.raises(UserError, match="neighbouring frames of a clip"):
        _evaluate(tmp_path, "fake")
