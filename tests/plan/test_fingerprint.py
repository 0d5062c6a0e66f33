"""Facts of small drawn sets: groups, duplicates, pairs, ranges, what a domain has that the other lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unpaired.core.errors import UserError
from unpaired.data.check import check_images
from unpaired.data.config import DataConfig
from unpaired.plan.fingerprint import Fingerprint, find_group_rule, take_fingerprint

RANDOM = np.random.default_rng(0)


def picture(size: int = 64) -> NDArray[np.uint8]:
    """Return clouds of eight pixels, grey in three channels."""
    coarse = Image.fromarray(RANDOM.integers(0, 256, (size // 8, size // 8), dtype=np.uint8))
    return np.repeat(np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))[:, :, None], 3, axis=2)


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def facts(root: Path, **settings: object) -> Fingerprint:
    return take_fingerprint(DataConfig(root=str(root), **settings), device="cpu")  # type: ignore[arg-type]


def test_copies_are_found_within_and_between_parts(tmp_path: Path) -> None:
    for number in range(12):
        one = picture()
        save(tmp_path / f"trainA/{number}.png", one)
        save(tmp_path / f"trainB/b{number}.png", one if number < 3 else picture())
        if number < 4:  # compressed again, so that the files differ
            save(tmp_path / f"testA/{number}.jpg", one if number < 2 else picture())
            save(tmp_path / f"testB/{number}.png", picture())
    save(tmp_path / "trainA/12.png", one)
    found = facts(tmp_path)
    assert (found.a.images, found.a.test_images, found.b.images) == (13, 4, 12)
    assert (found.overlap, found.a.in_test, found.b.in_test) == (3, 2, 0)
    assert (found.a.duplicates, found.b.duplicates) == (1, 0)
    assert (found.a.grey, found.a.channels, found.a.lost[0] < 0.01) == (True, {3: 17}, True)
    assert (found.pairs, found.group_rule, found.distance) == (None, None, None)


@pytest.mark.parametrize("aligned", [True, False])
def test_pairs_are_what_shows_the_same_and_not_what_is_called_the_same(aligned: bool, tmp_path: Path) -> None:
    for number in range(12):
        one = picture()
        save(tmp_path / f"trainA/{number}.png", one)
        save(tmp_path / f"trainB/{number}.png", 255 - one if aligned else picture())
    found = facts(tmp_path)
    assert found.pairs == "name"
    assert found.alignment is not None
    assert (found.alignment > 0.9) == aligned
    assert found.overlap == 0


def test_files_with_both_images_side_by_side_are_recognised(tmp_path: Path) -> None:
    for number in range(6):
        one = picture()
        save(tmp_path / f"train/{number}.png", np.concatenate([one, 255 - one], axis=1))
    found = facts(tmp_path)
    assert (found.side_by_side, found.pairs, found.a.width, found.a.images) == ("ab", "file", 64, 6)
    assert found.alignment == 1
    save(tmp_path / "train/high.png", picture())
    with pytest.raises(UserError, match="no known layout"):
        facts(tmp_path)


def test_what_a_part_of_one_domain_shows_alone(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"trainA/{number}.png", picture() // (8 if number < 4 else 1))
        save(tmp_path / f"trainB/b{number}.png", picture())
    dark = [each for each in facts(tmp_path).outside if each.property == "brightness"]
    assert [(each.side, each.more, each.share) for each in dark] == [("a", False, 0.4)]


def test_left_and_right(tmp_path: Path) -> None:
    for number in range(16):
        one = picture() // 4
        one[:, :20] += 120
        save(tmp_path / f"trainA/{number}.png", one)
        save(tmp_path / f"trainB/b{number}.png", picture())
    found = facts(tmp_path)
    assert found.a.orientation > 0.5
    assert found.b.orientation == 0


def test_values_labels_and_bad_files(tmp_path: Path) -> None:
    for number in range(4):
        values = RANDOM.integers(0, 3000, (32, 32)).astype(np.uint16)
        save(tmp_path / f"trainA/{number}.png", values)  # type: ignore[arg-type]
        classes = np.repeat(np.repeat(RANDOM.integers(0, 5, (4, 4), dtype=np.uint8), 8, 0), 8, 1)
        save(tmp_path / f"trainB/b{number}.png", classes)
    (tmp_path / "trainA/bad.png").write_bytes(b"no image")
    found = facts(tmp_path)
    assert (found.a.suggested_range, found.a.dtypes, found.a.unusable) == ((0, 4095), {"uint16": 4}, 1)
    assert found.b.labels == (0, 1, 2, 3, 4)
    assert found.b.suggested_range is None
    for path in tmp_path.glob("trainB/*"):
        path.write_bytes(b"none")
    with pytest.raises(UserError, match="no image of B"):
        facts(tmp_path)


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ([f"patient{n:02}_slice{m:03}" for n in range(4) for m in range(5)], "{group}_*"),
        ([f"scan_{n}_{m}" for n in range(4) for m in range(5)], "scan_{group}_*"),
        ([f"0{n}TP-{m:04}" for n in range(4) for m in range(5)], "{group}-*"),
        ([f"p{n}/{m}" for n in range(4) for m in range(5)], "{group}/*"),
        ([f"{n}" for n in range(20)], None),
        ([f"image_{n}" for n in range(20)], None),
        ([f"{kind}_{n}" for kind in ("cat", "dog", "cow") for n in range(6)], None),
        ([f"n0238_{n}" for n in range(18)] + ["n0239_1", "n0237_1"], None),
    ],
)
def test_groups_by_names(names: list[str], rule: str | None, tmp_path: Path) -> None:
    for name in names:
        save(tmp_path / f"{name}.png", np.zeros((4, 4), np.uint8))
    infos = check_images(sorted(tmp_path.rglob("*.png")), value_range=(0, 1)).good
    assert find_group_rule(infos) == rule


def test_groups_of_which_there_are_training_and_test_images(tmp_path: Path) -> None:
    for side in "AB":
        for patient in range(4):
            for number in range(3):
                part = "test" if number == 2 and patient < 2 else "train"
                save(tmp_path / f"{part}{side}/p{patient}_{number}.png", picture(16))
    found = facts(tmp_path)
    assert (found.group_rule, found.shared_groups, found.a.groups) == ("{group}_*", 2, 4)
