from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

import unpaired.demo
from unpaired import cli
from unpaired.core.errors import UserError
from unpaired.core.files import new_folder
from unpaired.demo import SETTINGS, run_demo
from unpaired.training.result import Result
from unpaired.training.settings import RunConfig


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="Choose another --out"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_impossible_seed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seed"):
        run_demo(tmp_path / "out", seed=-1)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_demo_says_so_and_scores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(config: RunConfig, folder: Path, *, quiet: bool) -> Result:
        return Result(
            run=folder,
            checkpoint=folder,
            directions=("a2b", "b2a"),
            state="interrupted",
            images_seen=7,
            seconds=1.0,
            losses={},
            device="cpu",
            signal=15,
        )

    monkeypatch.setattr(unpaired.demo, "start_run", stopped)
    assert run_demo(tmp_path / "out", quiet=True) == 128 + 15
    assert f"unpaired train --resume {tmp_path / 'out' / 'run'}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "demo.png").exists()


def test_a_training_that_learned_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = {"method.generator": {"family": "unet", "depth": 2, "width": 4}, "training.max_images": 4}
    monkeypatch.setattr(unpaired.demo, "SETTINGS", {**SETTINGS, **tiny})
    assert run_demo(tmp_path / "out", quiet=True) == 1
    printed = capsys.readouterr()
    assert "a2b" in printed.err
    assert "did not cover 80 % of the way" in printed.err
    assert len(read_scores(printed.out)) == 2
    assert "best checkpoint (4 images)" in printed.out
    assert (tmp_path / "out" / "demo.png").is_file()


@pytest.mark.slow
def test_the_demo_translates_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sixth of its images, and so not as far; the documentation says what all of them reach."""
    some = {"training.max_images": 480}
    monkeypatch.setattr(unpaired.demo, "SETTINGS", {**SETTINGS, **some})
    monkeypatch.setattr(unpaired.demo, "ENOUGH", 50.0)
    out = tmp_path / "the demo"
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--out", str(out)])
    done = capsys.readouterr()
    assert not ended.value.code, done.out + done.err
    scores = read_scores(done.out)
    before, after, real, covered = scores["A to B"]
    assert before < 5.0 < 45.0 < after
    assert real > 90.0
    assert covered >= 50.0
    before, after, real, covered = scores["B to A"]
    assert before > 90.0 > 50.0 > after
    assert real < 5.0
    assert covered >= 50.0

    assert "warning" not in done.err
    with Image.open(out / "demo.png") as picture:
        assert picture.width > 700
        assert picture.height > 600
    # It is an ordinary run over ordinary folders.
    assert (out / "run" / "index.html").is_file()
    assert json.loads((out / "run" / "config.json").read_text())["method"]["name"] == "cyclegan"
    assert len(list((out / "images" / "testA").glob("*.png"))) == 24
    assert f"--out '{out / 'translated'}'" in done.out


def read_scores(printed: str) -> dict[str, tuple[float, ...]]:
    """Return (input, translation, real target, per cent covered) of each direction."""
    number = r"(-?\d+(?:\.\d+)?)"
    line = rf"^([AB] to [AB]):.*? {number} +{number} +{number} .*covers {number} % of the way$"
    return {found[0]: tuple(map(float, found[1:])) for found in re.findall(line, printed, re.MULTILINE)}


def test_of_two_demos_in_one_folder_one_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_folder(out), pytest.raises(UserError, match="another process is writing"):
        run_demo(out)
    assert [path.name for path in out.iterdir()] == [".lock"]
