"""`unpaired segment` as a person meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comparisons import COLOURS, write_labelled
from unpaired import cli
from unpaired.evaluation.segmentation.score import SegmenterScore

TINY = [
    *("--size", "32", "--weights", "none", "--batch-size", "4", "--device", "cpu"),
    *("--set", "segmenter.width=4", "--set", "segmenter.fc_width=16", "--set", "segmenter.evaluate_every=8"),
    *("--set", "segmenter.learning_rate=0.003", "--set", "segmenter.precision=fp32", "--set", "data.workers=1"),
]
INDEX = ["--set", "data.labels_a.kind=index", "--set", "data.labels_a.void=[3]"]
NAMED = ["--set", 'data.labels_a.names=["sky","road","tree"]']


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def segment(capsys: pytest.CaptureFixture[str], *tokens: str | Path, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["segment", *map(str, tokens)])
    shown = capsys.readouterr()
    assert (stopped.value.code or 0) == code, shown.out + shown.err
    return shown.out, shown.err


def test_trained_measured_and_gone_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "run", tmp_path / "report.json"
    shown, error = segment(capsys, "train", "--data", data, "--out", out, "--images", "16", *TINY, *INDEX, *NAMED)
    assert "Finished: 16 images. The best was that of" in shown
    assert f"unpaired segment score {out} --data DATA" in shown
    assert "16 images: per-pixel 0." in error
    assert "every weight began at random" in error
    shown, error = segment(capsys, "score", out, "--data", data, "--out", report, "--device", "cpu")
    assert "3 test photos at 32 x 32" in shown
    assert "best checkpoint" in " ".join(shown.split())
    assert re.search(r"Class IoU +0\.\d+", shown)
    assert re.search(r"road +0\.\d+ +\S+ +\S+", shown), "each class has a row"
    document = SegmenterScore.model_validate_json(report.read_text())
    found = document.directions["photos"]
    protocol = found.figures[0].protocol
    assert (protocol["photos"], protocol["split"], protocol["labelled_at"]) == (3, "test", "32 x 32")
    best = json.loads((out / "best" / "segmenter.json").read_text())
    assert [figure.name for figure in found.figures] == ["pixel_accuracy", "class_accuracy", "class_iou"]
    for figure, bound in zip(found.figures, found.bounds["shuffled_labels"], strict=True):
        assert figure.value == pytest.approx(best["held_out"][figure.name], abs=1e-9)
        assert bound.name == figure.name
    assert document.command.startswith("unpaired ")
    assert document.model is not None
    assert document.model.fingerprints["segmenter"] == best["fingerprint"]
    shown, error = segment(capsys, "score", out, "--data", data, "--size", "24x40", "--most", "2")
    assert "note: the photos are 24 x 40 and the segmenter was trained at 32 x 32" in error
    assert "2 test photos at 24 x 40" in shown
    _, error = segment(capsys, "train", "--resume", out, "--seed", "3", code=2)
    assert "--seed" in error
    assert "cannot be changed" in error
    shown, _ = segment(capsys, "train", "--resume", out)
    assert "Finished: 16 images" in shown


def test_photos_and_label_maps_in_folders_of_their_own(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--photos", data / "train", "--labels", data / "trainannot"]
    options = ["--out", tmp_path / "run", "--images", "4", *TINY, *INDEX, "--quiet"]
    shown, error = segment(capsys, "train", *places, *options)
    assert shown == error == ""
    _, error = segment(capsys, "score", tmp_path / "run", "--photos", data / "test", "--labels", data / "testannot")
    assert "were they trained on?" in error


def test_label_maps_in_colours_on_the_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side, the photo left; a class that is black is told from others all the same."""
    rng = np.random.default_rng(0)
    palette = np.array([[0, 0, 0], [255, 255, 0], [0, 0, 255]], np.uint8)
    for part, count in (("train", 3), ("test", 2)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for index in range(count):
            classes = np.kron(rng.integers(0, 3, (4, 4)), np.ones((8, 8), int))
            Image.fromarray(np.hstack([COLOURS[classes], palette[classes]])).save(
                tmp_path / "data" / part / f"{index}.png"
            )
    out = tmp_path / "run"
    side = ["--side-by-side", "ab"]
    kind = ["--set", "data.labels_b.kind=colour", "--set", "data.labels_b.palette=[[0,0,0],[255,255,0],[0,0,255]]"]
    segment(capsys, "train", "--data", tmp_path / "data", *side, "--out", out, "--images", "8", *TINY, *kind)
    shown, _ = segment(capsys, "score", out, "--data", tmp_path / "data", *side)
    assert "class 0" in shown
    assert re.search(r"Class IoU +\d", shown)


MISTAKES = [
    (["train", "--data", "{data}", "--out", "{out}"], ["which images are label maps is not known", "kind=index"]),
    (["train", "--data", "{data}", *INDEX], ["--out is missing"]),
    (["train", "--out", "{out}", *INDEX], ["--data"]),
    (["train", "--data", "{data}", "--out", "{data}", *INDEX], ["not an empty folder"]),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--size", "big"], ["--size", "big"]),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--images", "0"], ["--images", "0"]),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--device", "gpu"], ["gpu"]),
    (
        ["train", "--data", "{data}", "--out", "{out}", *INDEX, "--size", "32", "--weights", "{data}/nothing.pth"],
        ["There is no file", "nothing.pth", "--weights FILE"],
    ),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "segmenter.optimiser=sgd"], ["optimizer"]),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "method.width=4"], ["data.* and segmenter.*"]),
    (
        ["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "data.labels_b.kind=index"],
        ["data.labels_a and data.labels_b are both given"],
    ),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "data.preprocess=none"], ["images of one size"]),
    (
        ["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "data.load_size=40"],
        ["data.load_size is not a setting of segmenters", "segmenter.zoom"],
    ),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "data.flip=false"], ["segmenter.flip"]),
    (["train", "--data", "{data}", "--out", "{out}", *INDEX, "--set", "data.cache=disk"], ["data.cache", "2 GiB"]),
    (["train", "--resume", "{data}"], ["no segmenter's training"]),
    (["train", "--resume", "{data}", "--out", "{out}"], ["leave out --out"]),
    (["score", "{data}", "--data", "{data}"], ["is not a segmenter"]),
    (["score", "{data}/nowhere", "--data", "{data}"], ["there is no segmenter"]),
    (["score", "{data}", "--data", "{data}", "--most", "0"], ["--most: received 0"]),
    (["score", "{data}", "--data", "{data}", "--out", "{data}"], ["--out", "is a folder"]),
]


@pytest.mark.parametrize(("tokens", "words"), MISTAKES, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_clear_message_and_nothing_is_written(
    tokens: list[str], words: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(data.rglob("*"))
    filled = [token.replace("{data}", str(data)).replace("{out}", str(tmp_path / "out")) for token in tokens]
    _, error = segment(capsys, *filled, code=2)
    for word in words:
        assert word in error
    assert error.count("error: ") == 1
    assert not (tmp_path / "out").exists()
    assert sorted(data.rglob("*")) == before


def test_help_explains_every_option_and_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "score"):
        shown, _ = segment(capsys, command, "--help")
        rows = [line for line in shown.splitlines() if line.startswith(("│ --", "│ *"))]
        assert rows
        assert all(len(row.strip("│ ").split()) > 2 for row in rows), rows
