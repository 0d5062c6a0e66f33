from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from report.examples import evaluation, put, write_run
from unpaired.report import embedding as album_room
from unpaired.report.embedding import WIDEST, chosen_grids, embed
from unpaired.report.runs import read_runs


def test_moments_are_chosen_evenly_with_the_first_and_the_last(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path / "a", records=2, grids=9)])
    assert [images for images, _ in chosen_grids(run, 1)] == [0, 2000, 3000, 5000, 6000, 8000]
    assert [images for images, _ in chosen_grids(run, 2)] == [0, 3000, 5000, 8000]
    (none,) = read_runs([write_run(tmp_path / "b", records=2, grids=0)])
    assert chosen_grids(none, 1) == []


def test_a_grid_is_embedded_by_direction_and_a_large_picture_smaller(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", records=2, grids=1)
    place = put(folder, "evaluation", "best", evaluation()) / "worst.png"
    Image.fromarray(np.zeros((200, 4000, 3), np.uint8)).save(place)
    (run,) = read_runs([folder])
    album = embed([run])
    assert len(album.parts[run.grids[0][1]]) == 2
    (part,) = album.parts[place]
    assert (part.width, part.height) == (WIDEST, 60)
    content = base64.b64decode(part.url.partition(",")[2], validate=True)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (WIDEST, 60)


def test_what_matters_most_is_taken_first_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [write_run(tmp_path / name, records=2, grids=5) for name in ("a", "b")]
    put(folders[0], "evaluation", "best", evaluation())
    runs = read_runs(folders)
    monkeypatch.setattr(album_room, "MOST_PICTURES", 5)
    album = embed(runs)
    expected = [run.grids[-1][1] for run in runs] + [folders[0] / "evaluations" / "best" / "worst.png"]
    assert list(album.parts) == expected
    assert len(album.left_out) == 6
    monkeypatch.setattr(album_room, "MOST_BYTES", 1)
    assert not embed(runs).parts


def test_nothing_is_written_into_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", records=2, grids=2)
    before = sorted(folder.rglob("*"))
    embed(read_runs([folder]))
    assert sorted(folder.rglob("*")) == before


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "a", records=2, grids=3)
    (run,) = read_runs([folder])
    first, second, third = (path for _, path in run.grids)
    first.write_bytes(b"no picture")
    second.write_bytes(second.read_bytes()[:200])
    assert list(embed([run]).unreadable) == [first, second]
    monkeypatch.setattr(album_room, "MOST_PIXELS", 1000)
    assert third in embed([run]).unreadable
