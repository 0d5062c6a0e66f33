"""`RUN/best`: whole or not there, described by itself, and brought back after a crash."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from unpaired.core.errors import UserError
from unpaired.models.best import BestCheckpoint, describe_best, keep_best, read_best, recover_best, restore_best
from unpaired.models.folder import BEST, CHECKPOINTS, DamagedError, read_document, verify, write_folder

COUNTS = {"a": 3, "b": 4}


def _checkpoint(run: Path, images: int) -> Path:
    folder = run / CHECKPOINTS / f"{images:09d}"
    write_folder(folder, {}, {"model.json": {"images": images}, "training.json": {}})
    return folder


def _best(run: Path, *values: float) -> BestCheckpoint:
    """Return the best of evaluations after every 100 images."""
    place = values.index(min(values)) + 1
    of = f"of the first {place} evaluations" if place > 1 else "at the first evaluation"
    return BestCheckpoint(
        path=run / BEST,
        measure="swd",
        directions=("a2b",),
        value=min(values),
        better="lower",
        images_seen=100 * place,
        why=f"lowest SWD (a2b) {of}",
        evaluations=place,
        images=COUNTS,
        held_out_from="test",
    )


def test_the_best_is_a_checkpoint_that_says_why(tmp_path: Path) -> None:
    assert read_best(tmp_path) is None
    assert describe_best(tmp_path) is None
    for images in (100, 200):
        _checkpoint(tmp_path, images)
    keep_best(_best(tmp_path, 12.5))
    keep_best(_best(tmp_path, 12.5, 11.25))
    best = read_best(tmp_path)
    assert best is not None
    assert (best.path, best.measure, best.directions) == (tmp_path / BEST, "swd", ("a2b",))
    assert (best.value, best.images_seen) == (11.25, 200)
    assert describe_best(tmp_path) == (
        f"{tmp_path / BEST}, after 200 images: 11.25, the lowest SWD (a2b) of the first 2 evaluations"
    )
    verify(tmp_path / BEST)
    document = json.loads((tmp_path / BEST / "best.json").read_text())
    assert (document["images"], document["held_out_from"], document["better"]) == (COUNTS, "test", "lower")
    assert read_document(tmp_path / BEST, "model.json") == {"images": 200}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_outlives_its_checkpoint_and_takes_no_room_beside_it(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path, 100)
    keep_best(_best(tmp_path, 1.0))
    assert os.path.samefile(folder / "model.json", tmp_path / BEST / "model.json")
    shutil.rmtree(folder)
    verify(tmp_path / BEST)


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = _checkpoint(tmp_path, 100)
    keep_best(_best(tmp_path, 1.0))
    assert not os.path.samefile(folder / "model.json", tmp_path / BEST / "model.json")
    verify(tmp_path / BEST)


def test_a_full_disk_leaves_the_best_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for images in (100, 200):
        _checkpoint(tmp_path, images)
    keep_best(_best(tmp_path, 2.0))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="the disk is full"):
        keep_best(_best(tmp_path, 2.0, 1.0))
    verify(tmp_path / BEST)
    assert read_document(tmp_path / BEST, "model.json") == {"images": 100}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_document_is_told(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 100)
    keep_best(_best(tmp_path, 1.0))
    (tmp_path / BEST / "best.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"best\.json"):
        read_best(tmp_path)
    assert "damaged" in str(describe_best(tmp_path))


@pytest.mark.parametrize("moved", ["replaced", "writing"])
def test_a_kill_between_the_two_moves_loses_nothing(tmp_path: Path, moved: str) -> None:
    _checkpoint(tmp_path, 100)
    keep_best(_best(tmp_path, 1.0))
    (tmp_path / BEST).rename(tmp_path / f".{BEST}.{moved}-123")
    if moved == "replaced":  # beside what was not complete yet
        (tmp_path / f".{BEST}.writing-123").mkdir()
    recover_best(tmp_path)
    verify(tmp_path / BEST)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_leftovers_beside_a_best_that_is_there_are_deleted(tmp_path: Path) -> None:
    for images in (100, 200):
        _checkpoint(tmp_path, images)
    keep_best(_best(tmp_path, 1.0))
    shutil.copytree(tmp_path / CHECKPOINTS / "000000200", tmp_path / f".{BEST}.writing-9")
    recover_best(tmp_path)
    assert read_document(tmp_path / BEST, "model.json") == {"images": 100}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_killed_before_the_best_was_replaced_it_is_replaced_when_resumed(tmp_path: Path) -> None:
    for images in (100, 200):
        _checkpoint(tmp_path, images)
    keep_best(_best(tmp_path, 2.0))
    restore_best(_best(tmp_path, 2.0, 1.0))
    assert read_document(tmp_path / BEST, "model.json") == {"images": 200}
    before = (tmp_path / BEST).stat().st_ino
    restore_best(_best(tmp_path, 2.0, 1.0))
    assert (tmp_path / BEST).stat().st_ino == before, "nothing is written where nothing differs"


def test_a_best_of_later_than_the_resumed_point_stays_until_it_is_reached_again(tmp_path: Path) -> None:
    _checkpoint(tmp_path, 200)
    keep_best(_best(tmp_path, 2.0, 1.0))
    shutil.rmtree(tmp_path / CHECKPOINTS)  # the best of 100 images is gone as well
    restore_best(_best(tmp_path, 2.0))
    assert read_document(tmp_path / BEST, "model.json") == {"images": 200}


def test_a_best_of_later_gives_way_where_the_earlier_one_still_exists(tmp_path: Path) -> None:
    for images in (100, 200):
        _checkpoint(tmp_path, images)
    keep_best(_best(tmp_path, 2.0, 1.0))
    shutil.rmtree(tmp_path / CHECKPOINTS / "000000200")
    restore_best(_best(tmp_path, 2.0))
    assert read_document(tmp_path / BEST, "model.json") == {"images": 100}
