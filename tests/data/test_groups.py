"""Groups: held-out images never share a patient, a pattern's group or a file with training ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runs import write_images
from scans import phantom, write_nifti, write_series
from unpaired.core.errors import UserError
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.data.folders import in_frames, list_images
from unpaired.data.groups import Group, groups_of, selection_part
from unpaired.data.held_out import open_dataset
from unpaired.data.training import Part, open_training_data


def pictures(folder: Path, names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)


def config(root: Path, **given: Any) -> DataConfig:
    return DataConfig(root=str(root), crop_size=8, load_size=8, cache="none", **given)


@pytest.mark.parametrize(
    ("rule", "name", "group"),
    [
        ("{group}_*", "p1_slice_3.png", "p1"),
        ("{group}/*", "p1/3.png", "p1"),
        ("scan-{group}-*.png", "scan-7-2.png", "7"),
        ("{group}.png", "p1.png", "p1"),
    ],
)
def test_patterns_name_the_group(tmp_path: Path, rule: str, name: str, group: str) -> None:
    pictures(tmp_path / "x", [name.removesuffix(".png")], 0)
    assert groups_of(check_images(list_images(tmp_path)).good, rule) == [Group(group)]


def test_what_has_no_group_is_listed(tmp_path: Path) -> None:
    pictures(tmp_path, ["a"], 0)
    infos = check_images(list_images(tmp_path)).good
    for rule, reason in (("{group}_*", "a.png: does not end like"), ("patient", "a.png: names no patient")):
        with pytest.raises(UserError, match=reason):
            groups_of(infos, rule)
    for rule in ("p_*", "{group}{group}", ""):
        with pytest.raises(UserError, match="group"):
            DataConfig(group=rule)


def test_files_that_say_nothing_are_groups_of_their_own(tmp_path: Path) -> None:
    volume = write_nifti(tmp_path / "x.nii", phantom(3, 16, 16))
    patients = write_series(tmp_path / "dicom", phantom(2, 16, 16))
    infos = check_images(in_frames([volume, *patients])).good
    assert groups_of(infos, None) == [*[Group("", str(volume))] * 3, *[Group("P-17")] * 2]


def test_whole_groups_are_held_out_and_always_the_same(tmp_path: Path) -> None:
    for seed, side in enumerate("AB"):
        pictures(tmp_path / f"train{side}", [f"p{n}_{image}" for n in range(8) for image in range(3)], seed)
    given = config(tmp_path, group="{group}_*", held_out=0.25)
    data = open_training_data(given)
    assert data.held_out_from == "test"
    names = {part: {group.name for group in groups_of(found, given.group)} for part, found in data.files.items()}
    assert len(names[Part(True, "a")]) == 2
    assert names[Part(True, "a")] == names[Part(True, "b")]  # the same patients in both domains
    assert names[Part(True, "a")].isdisjoint(names[Part(False, "a")] | names[Part(False, "b")])
    assert len(data.a) == 18
    assert len(data.held_out_a) == 6
    test = open_dataset(given).test
    assert test.taken_from == "test"
    assert [info.path for info in test.a.files] == [info.path for info in data.files[Part(True, "a")]]
    for index in range(3):
        (tmp_path / "trainA" / f"p0_{index}.png").unlink()
    fewer = open_training_data(given)
    kept = {group.name for group in groups_of(fewer.files[Part(True, "b")], given.group)}
    assert kept >= names[Part(True, "b")] - {"p0"}


def test_pairs_stay_pairs(tmp_path: Path) -> None:
    for seed, side in enumerate("AB"):
        pictures(tmp_path / f"train{side}", [f"p{n}_{image}" for n in range(6) for image in range(2)], seed)
    data = open_training_data(config(tmp_path, group="{group}_*", held_out=0.3), paired=True)
    for test in (False, True):
        stems = [[Path(info.path).stem for info in data.files[Part(test, side)]] for side in ("a", "b")]
        assert stems[0] == stems[1]


def test_nothing_is_held_out_where_nothing_would_be_left(tmp_path: Path) -> None:
    write_images(tmp_path, {"trainA": 3, "trainB": 1})
    with pytest.raises(UserError, match="domain B has 1 group"):
        open_training_data(config(tmp_path, held_out=0.5))
    write_images(tmp_path, {"trainB": 3, "testA": 1}, seed=1)
    with pytest.raises(UserError, match="test images already"):
        open_training_data(config(tmp_path, held_out=0.5))


def test_a_patient_in_training_and_in_tests_is_told(tmp_path: Path) -> None:
    for seed, (folder, patient) in enumerate((("trainA", "P1"), ("trainB", "P2"), ("testA", "P1"), ("testB", "P3"))):
        write_series(tmp_path / folder, phantom(2, 16, 16, seed), patient)
    data = open_training_data(config(tmp_path, range_a=(-1024, 3071), range_b=(-1024, 3071)))
    assert any('"P1"' in notice and "too good" in notice for notice in data.notices)
    assert data.domain_a.spacing == pytest.approx((0.7, 0.6, 2.5))


def test_files_of_one_name_are_no_group(tmp_path: Path) -> None:
    for seed, folder in enumerate(("trainA", "trainB", "testA", "testB")):
        (tmp_path / folder).mkdir()
        image = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        tifffile.imwrite(tmp_path / folder / "0.ome.tif", image, photometric="rgb", metadata={"axes": "YXS"})
    assert not any("too good" in notice for notice in open_training_data(config(tmp_path)).notices)


@given(
    st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 3), min_size=2),
    st.dictionaries(st.sampled_from("fghijklmno"), st.integers(1, 3), min_size=2),
    st.integers(1, 6),
)
def test_the_selection_part_is_whole_groups_and_the_same_wherever_they_stand(
    a: dict[str, int], b: dict[str, int], most: int
) -> None:
    names = {"a": [name for name, count in a.items() for _ in range(count)], "b": [*b]}
    chosen = {side: {names[side][place] for place in places} for side, places in selection_part(names, most).items()}
    turned = {side: found[::-1] for side, found in names.items()}
    again = selection_part(turned, most)
    assert chosen == {side: {turned[side][place] for place in places} for side, places in again.items()}
    assert sum(map(len, selection_part(names, most).values())) == sum(
        sum(name in chosen["a"] | chosen["b"] for name in found) for found in names.values()
    ), "no group is in both parts, in either domain"


def test_partners_of_equal_names_stay_together_and_half_is_kept() -> None:
    names = [f"{number:03d}" for number in range(30)]
    chosen = selection_part({"a": names, "b": names}, 50)
    assert chosen["a"] == chosen["b"]
    assert len(chosen["a"]) == 15
    assert len(selection_part({"a": names, "b": names}, 4)["a"]) == 4
    assert selection_part({"a": ["one"] * 9, "b": names}, 50)["a"] == [], "a group is never divided"
