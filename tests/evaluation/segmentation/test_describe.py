"""`unpaired info` of a segmenter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unpaired import cli
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.evaluation.segmentation.model import Description, write_segmenter
from unpaired.networks.fcn import Fcn8s, FcnConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = FcnConfig(width=2, fc_width=6)
    description = Description(
        network=network,
        labels=Labels(kind="index", palette=((1, 0, 0), (0, 1, 0)), names=("sky", "road"), void=(9,)),
        photos=Domain(channels=3),
        size=(32, 48),
        origin="none",
        training={"pairs": 367, "images_seen": 1200},
        held_out={"photos": 233, "from": "test", "pixel_accuracy": 0.8, "class_accuracy": 0.5, "class_iou": 0.4},
    )
    write_segmenter(tmp_path / "run" / "best", Fcn8s(network, 3, 2), description)
    return tmp_path / "run"


def info(*tokens: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["info", *map(str, tokens)])
    assert (stopped.value.code or 0) == code


def test_what_it_is_in_words_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(folder)
    shown = capsys.readouterr().out
    assert "trained on 367 photos of 2 classes at 32 x 48 for 1,200 images" in shown
    assert "Classes: sky, road; void: 9" in shown
    assert "On 233 held-out photos (test): per-pixel 0.800, per-class 0.500, class IoU 0.400" in shown
    info(folder / "best", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "segmenter"
    assert document["size"] == [32, 48]


def test_a_damaged_one_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder / "best" / "segmenter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    info(folder, code=2)
    assert "segmenter.safetensors has" in capsys.readouterr().err
