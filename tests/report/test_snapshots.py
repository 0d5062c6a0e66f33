from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unpaired.report import embedding
from unpaired.report.embedding import WIDEST_SNAPSHOT, snapshots_of
from unpaired.report.embedding import Image as Part
from unpaired.report.image_grid import Picture, grid, save_grid, stack


def direction(seed: int, side: int = 64, rows: int = 2) -> Picture:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (rows, 2, side, side, 3), np.uint8)
    return grid([{"input": pair[0], "translation": pair[1]} for pair in images], ["input", "translation"], "A to B")


def decoded(part: Part) -> Picture:
    kind, _, content = part.url.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
        assert image.size == (part.width, part.height)
        return np.asarray(image.convert("RGB"))


def test_two_directions_become_two_parts(tmp_path: Path) -> None:
    a, b = direction(1), direction(2)
    save_grid(tmp_path, 100, stack([a, b]))
    (snapshot,), count = snapshots_of(tmp_path)
    assert (snapshot.images, count) == (100, 1)
    for part, picture in zip(snapshot.parts, (a, b), strict=True):
        shown = decoded(part).astype(int)
        assert shown.shape == picture.shape
        assert np.abs(shown - picture).mean() < 30  # noise is what JPEG is worst at


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_one_direction_stays_whole(tmp_path: Path, rows: int) -> None:
    save_grid(tmp_path, 100, direction(1, rows=rows))
    (snapshot,), _ = snapshots_of(tmp_path)
    assert len(snapshot.parts) == 1


def test_magnified_pixels_stay_exact(tmp_path: Path) -> None:
    picture = direction(1, side=8)
    save_grid(tmp_path, 100, picture)
    (snapshot,), _ = snapshots_of(tmp_path)
    assert (decoded(snapshot.parts[0]) == picture).all()


def test_large_grids_are_reduced(tmp_path: Path) -> None:
    save_grid(tmp_path, 100, np.zeros((3000, 2500, 3), np.uint8))
    (snapshot,), _ = snapshots_of(tmp_path)
    assert max(part.width for part in snapshot.parts) <= WIDEST_SNAPSHOT


def test_thinning_keeps_the_first_and_the_last_and_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(23):
        save_grid(tmp_path, number * 10, direction(number))
    everything, _ = snapshots_of(tmp_path)
    assert [snapshot.images for snapshot in everything] == [number * 10 for number in range(23)]
    size = sum(len(part.url) for part in everything[0].parts) * 3 // 4
    monkeypatch.setattr(embedding, "MOST_SNAPSHOT_BYTES", 8 * size)
    some, count = snapshots_of(tmp_path)
    assert count == 23
    assert [snapshot.images for snapshot in some] == [0, 40, 80, 120, 160, 200, 220]
    assert sum(len(part.url) for snapshot in some for part in snapshot.parts) * 3 // 4 <= 8.2 * size
    monkeypatch.setattr(embedding, "MOST_SNAPSHOT_BYTES", 1)
    ends, _ = snapshots_of(tmp_path)
    assert [snapshot.images for snapshot in ends] == [0, 220]


def test_the_number_of_snapshots_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MOST_SNAPSHOTS", 5)
    for number in range(9):
        save_grid(tmp_path, number, np.full((8, 8, 3), number, np.uint8))
    chosen, _ = snapshots_of(tmp_path)
    assert [snapshot.images for snapshot in chosen] == [0, 2, 4, 6, 8]
    assert len({file.name.split("-")[0] for file in (tmp_path / "samples" / ".page").iterdir()}) == 5


def test_a_grid_is_encoded_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = save_grid(tmp_path, 100, direction(1))
    before = snapshots_of(tmp_path)
    cached = {file: file.stat().st_mtime_ns for file in (tmp_path / "samples" / ".page").iterdir()}
    assert snapshots_of(tmp_path) == before
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "samples" / ".page").iterdir()} == cached
    save_grid(tmp_path, 100, direction(2))
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert snapshots_of(tmp_path) != before


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    whole = save_grid(tmp_path, 100, direction(1)).read_bytes()
    (tmp_path / "samples" / "000000200.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "samples" / "000000300.png").write_bytes(b"")
    (tmp_path / "samples" / "000000400.png").mkdir()
    found, _ = snapshots_of(tmp_path)
    assert [snapshot.images for snapshot in found] == [100]


def test_a_run_without_samples(tmp_path: Path) -> None:
    assert snapshots_of(tmp_path) == ([], 0)
    assert list(tmp_path.iterdir()) == []
