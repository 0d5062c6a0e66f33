"""The images that are measured on: which, how prepared, which belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparisons import write_labelled
from evaluations import pictures, write_data, write_pictures
from unpaired.data.config import DataConfig
from unpaired.data.held_out import evenly, open_held_out, open_material
from unpaired.data.labels_config import LabelsConfig


def test_test_images_whole_at_the_size_of_training(tmp_path: Path) -> None:
    config = DataConfig(root=str(write_data(tmp_path)), crop_size=(16, 24), load_size=40, workers=1)
    found = open_held_out(config, paired=False)
    assert (found.taken_from, found.size, found.part) == ("test", (16, 24), "whole, at that size")
    assert (len(found.images.a), len(found.images.b)) == (6, 7)
    assert found.images.a[0].shape == (16, 24, 3)
    assert found.images.pairs == ()  # names that agree say nothing here
    assert [info.path.name for info in found.files["a"]] == [Path(found.images.a.name(n)).name for n in range(6)]
    assert not any("cache" in notice for notice in found.notices)


def test_images_keep_sizes_of_their_own_where_training_leaves_them(tmp_path: Path) -> None:
    root = write_data(tmp_path)
    write_pictures(root / "testA", pictures(1, (21, 35)), "odd.png")
    config = DataConfig(root=str(root), preprocess="none", workers=1)
    exact = open_held_out(config, paired=False, size_multiple=1)
    assert exact.size is None
    assert {exact.images.a[n].shape[:2] for n in range(7)} == {(32, 32), (21, 35)}
    rounded = open_held_out(config, paired=False)
    assert {rounded.images.a[n].shape[:2] for n in range(7)} == {(32, 32), (20, 36)}


def test_training_images_stand_in_and_pairs_are_found(tmp_path: Path) -> None:
    for seed, part in enumerate(("trainA", "trainB")):
        write_pictures(tmp_path / "plain" / part, pictures(3, seed=seed))
    found = open_held_out(DataConfig(root=str(tmp_path / "plain"), crop_size=16, workers=1), paired=True)
    assert found.taken_from == "train"
    assert found.images.pairs == ((0, 0), (1, 1), (2, 2))
    labelled = DataConfig(
        root=str(write_labelled(tmp_path / "labelled")), crop_size=32, labels_a=LabelsConfig(kind="index"), workers=1
    )
    assert len(open_held_out(labelled, paired=False).images.pairs) == 3


def test_a_digest_of_contents_follows_the_files_and_not_their_place(tmp_path: Path) -> None:
    root = write_data(tmp_path / "one")
    config = DataConfig(root=str(root), crop_size=16, workers=1)
    first = open_held_out(config, paired=False).contents("a")
    root.rename(tmp_path / "two")
    moved = DataConfig(root=str(tmp_path / "two"), crop_size=16, workers=1)
    assert open_held_out(moved, paired=False).contents("a") == first
    write_pictures(tmp_path / "two" / "testA", pictures(1, seed=77))
    assert open_held_out(moved, paired=False).contents("a") != first


def test_a_comparison_sees_the_same_images(tmp_path: Path) -> None:
    config = DataConfig(root=str(write_data(tmp_path)), crop_size=16, workers=1)
    material, held_out = open_material(config, paired=False), open_held_out(config, paired=False)
    assert (material.test.a[3] == held_out.images.a[3]).all()
    assert material.part == held_out.part


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(5, None, [0, 1, 2, 3, 4]), (9, 3, [0, 3, 6]), (2, 5, [0, 1]), (0, None, [])]
)
def test_positions_are_spread_evenly(count: int, most: int | None, expected: list[int]) -> None:
    assert evenly(count, most) == expected
