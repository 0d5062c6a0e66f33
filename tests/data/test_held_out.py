"""The images that are measured on: which, how prepared, which belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import write_labelled
from evaluations import pictures, write_data, write_pictures
from unpaired.core.errors import UserError
from unpaired.data.check import BadFiles
from unpaired.data.config import DataConfig, LabelsConfig
from unpaired.data.held_out import evenly, open_dataset


def test_test_images_whole_at_the_size_of_training(tmp_path: Path) -> None:
    config = DataConfig(root=str(write_data(tmp_path)), crop_size=(16, 24), load_size=40, workers=1)
    found = open_dataset(config, paired=False)
    assert (found.test.taken_from, found.size, found.part) == ("test", (16, 24), "whole, at that size")
    assert (len(found.test.a), len(found.test.b)) == (6, 7)
    assert found.test.a[0].shape == (16, 24, 3)
    assert found.test.pairs == ()  # names that agree say nothing here
    assert [info.path.name for info in found.test.a.files] == [Path(found.test.a.name(n)).name for n in range(6)]
    assert not any("cache" in notice for notice in found.notices)


def test_images_keep_sizes_of_their_own_where_training_leaves_them(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    write_pictures(root / "testA", pictures(1, (21, 35)), "odd.png")
    config = DataConfig(root=str(root), preprocess="none", workers=1)
    exact = open_dataset(config, paired=False, size_multiple=1)
    assert exact.size is None
    assert {exact.test.a[n].shape[:2] for n in range(7)} == {(32, 32), (21, 35)}
    rounded = open_dataset(config, paired=False)
    assert {rounded.test.a[n].shape[:2] for n in range(7)} == {(32, 32), (20, 36)}


def test_training_images_stand_in_and_pairs_are_found(tmp_path: Path) -> None:
    for seed, part in enumerate(("trainA", "trainB")):
        write_pictures(tmp_path / "plain" / part, pictures(3, seed=seed))
    found = open_dataset(DataConfig(root=str(tmp_path / "plain"), crop_size=16, workers=1), paired=True)
    assert found.test.taken_from == "train"
    assert found.test.pairs == ((0, 0), (1, 1), (2, 2))
    labelled = DataConfig(
        root=str(write_labelled(tmp_path / "labelled")), crop_size=32, labels_a=LabelsConfig(kind="index"), workers=1
    )
    assert len(open_dataset(labelled, paired=False).test.pairs) == 3


def test_a_digest_of_contents_follows_the_files_and_not_their_place(tmp_path: Path) -> None:
    root = write_data(tmp_path / "one")
    config = DataConfig(root=str(root), crop_size=16, workers=1)
    first = open_dataset(config, paired=False).test.contents("a")
    root.rename(tmp_path / "two")
    moved = DataConfig(root=str(tmp_path / "two"), crop_size=16, workers=1)
    assert open_dataset(moved, paired=False).test.contents("a") == first
    write_pictures(tmp_path / "two" / "testA", pictures(1, seed=77))
    assert open_dataset(moved, paired=False).test.contents("a") != first


def test_training_images_are_prepared_like_the_held_out_ones(tmp_path: Path) -> None:
    data = open_dataset(DataConfig(root=str(write_data(tmp_path)), crop_size=16, workers=1), one_size="a test")
    assert (data.train.taken_from, data.test.taken_from) == ("train", "test")
    assert data.train.a[0].shape == data.test.a[0].shape == (16, 16, 3)
    assert set(data.train.b.sizes) == {(16, 16)}
    with pytest.raises(UserError, match="a test needs images of one size"):
        open_dataset(DataConfig(root=str(tmp_path), preprocess="none"), one_size="a test")


def test_aligned_data_are_pairs_row_by_row(tmp_path: Path) -> None:
    config = DataConfig(
        root=str(write_labelled(tmp_path)), crop_size=32, labels_a=LabelsConfig(kind="index"), workers=1
    )
    data = open_dataset(config, aligned=True)
    assert data.train.pairs == tuple((row, row) for row in range(len(data.train.a)))
    (tmp_path / "trainA").mkdir(exist_ok=True)
    plain = DataConfig(root=str(write_data(tmp_path / "plain")), crop_size=16, workers=1)
    write_pictures(tmp_path / "plain" / "trainA", pictures(1), "alone.png")
    with pytest.raises(BadFiles, match=r"alone\.png"):
        open_dataset(plain, aligned=True)


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(5, None, [0, 1, 2, 3, 4]), (9, 3, [0, 3, 6]), (2, 5, [0, 1]), (0, None, [])]
)
def test_positions_are_spread_evenly(count: int, most: int | None, expected: list[int]) -> None:
    assert evenly(count, most) == expected
