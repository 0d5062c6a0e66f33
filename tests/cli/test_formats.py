"""`unpaired formats`, and what a folder holds that nothing here reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from unpaired.cli import app
from unpaired.cli.formats import tables
from unpaired.cli.info import describe
from unpaired.data.config import DataConfig
from unpaired.data.encode import FORMATS
from unpaired.data.formats import READERS
from unpaired.data.training import open_training_data


def test_every_reader_and_format_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    app("formats --json", result_action="return_value")
    read, written, left = json.loads(capsys.readouterr().out).values()
    assert [row["kind"] for row in read] == list(READERS)
    assert {suffix for row in written for suffix in row["files"].split(", ")} == {suffix[1:] for suffix in FORMATS}
    assert any("nef" in row["files"] for row in left)
    app("formats", result_action="return_value")
    assert "heic" in capsys.readouterr().out


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READERS["heif"], "libraries", ("a_library_that_is_not_there",), raising=False)
    rows = {row[0]: row for row in tables()[0].rows}
    assert rows["heif"][1] == "pip install 'unpaired[heif]'"
    assert rows["pillow"][1] == "yes"


def test_what_is_left_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READERS["video"], "libraries", ("a_library_that_is_not_there",), raising=False)
    for domain, colour in (("A", "red"), ("B", "blue")):
        (tmp_path / domain).mkdir()
        for number in range(2):
            image = PillowImage.new("RGB", (32, 32), colour)
            image.putpixel((0, 0), (number, 7, len(colour)))
            image.save(tmp_path / domain / f"{number}.jpg")
    for name in ("a.oib", "b.oib", "clip.mp4", "notes.txt", "Thumbs.db", "table.csv"):
        (tmp_path / "A" / name).write_bytes(b"x")
    data = open_training_data(DataConfig(a=str(tmp_path / "A"), b=str(tmp_path / "B"), crop_size=16))
    told = [notice for notice in data.notices if "left out" in notice]
    assert len(told) == 2
    assert any("2 .oib" in notice for notice in told)
    assert any("1 .mp4" in notice and "unpaired[video]" in notice for notice in told)
    found = describe(tmp_path / "A")["folders"]["images"]
    assert found["left_out"] == {".oib": 2, ".mp4": 1}
    assert found["images"] == 2


def test_info_counts_the_images_of_files_that_hold_several(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((9, 20, 20)).astype(np.float32))
    found = describe(tmp_path)["folders"]["images"]
    assert (found["images"], found["formats"]) == (9, {"npy": 1})
    assert "9 images" in found["remarks"][0]


def test_info_describes_images_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    tile = np.zeros((256, 256), np.uint8)
    tiles = (tile for _ in range(79 * 79))
    tifffile.imwrite(path, tiles, shape=(20_000, 20_000), dtype=np.uint8, tile=(256, 256), compression="zlib")
    found = describe(path)
    assert (found["height"], found["width"], found["lowest"]) == (20_000, 20_000, None)
