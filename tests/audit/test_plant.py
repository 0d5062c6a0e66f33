"""Structures: what they look like, where they stand, and what of a user's own is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unpaired.audit.plant import box, drawn, plan_for, read_structure, sizes_for
from unpaired.core.errors import UserError
from unpaired.data.values import Domain


def test_sizes_follow_the_shorter_side() -> None:
    assert sizes_for(256, 512) == [16, 32]
    assert sizes_for(28, 28) == [4, 4]
    assert [one.title for one in drawn([8, 4, 8])][:3] == ["disc, 4 px", "disc, 8 px", "line, 4 px"]


@pytest.mark.parametrize("size", [3, 4, 7, 16])
def test_kinds_differ_and_fill_their_box(size: int) -> None:
    disc, line, texture = (one.profile for one in drawn([size]))
    assert disc.shape == (size, size)
    assert disc.max() == 1
    assert 0 < line.sum() < disc.sum()
    assert texture.abs().sum() > 0
    assert abs(float(texture.mean())) < 0.1
    assert texture.min() < 0


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_structure_has_its_contrast_and_stays_in_range(channels: int) -> None:
    disc = drawn([8])[0]
    for value, sign in ((-0.5, 1), (0.5, -1)):
        made = disc.put(torch.full((channels, 8, 8), value), 0.25)
        assert made[:, 4, 4].tolist() == pytest.approx([value + sign * 0.5] * channels)
    assert disc.put(torch.full((channels, 8, 8), 0.9), 1.0).min() == -1


def test_structures_stand_apart_at_places_drawn_by_the_seed() -> None:
    structures = drawn([4, 8])
    plan = plan_for((64, 80), structures, 3)
    x = torch.zeros(2, 3, 64, 80)
    planted = plan.plant(x, [5, 6], 0.2)
    assert not x.any(), "the inputs are left as they are"
    changed = (planted != 0).any(1)
    total = sum(int((one.put(torch.zeros(1, one.size, one.size), 0.2) != 0).sum()) for one in structures)
    assert changed.sum((1, 2)).tolist() == [total, total]
    assert len(plan.cells) > len(structures)
    for number in (5, 6):
        for one, centre in zip(structures, plan.places(number), strict=False):
            assert changed[number - 5][box(centre, one.profile.shape)[1:]].any()
    assert plan.places(5) != plan.places(6)
    assert plan_for((64, 80), structures, 4).places(5) != plan.places(5)
    alone = plan.plant(x[:1], [6], 0.2)
    assert torch.equal(alone[0], planted[1]), "the same in any batch"


def test_images_without_room_are_refused() -> None:
    with pytest.raises(UserError, match="no room for 6 structures of at most 32 pixels"):
        plan_for((64, 64), drawn([16, 32]), 0)


def test_ones_own_picture_and_mask(tmp_path: Path) -> None:
    picture = np.full((6, 8, 3), 200, np.uint8)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:5, 2:6] = 1  # any two values
    Image.fromarray(picture).save(tmp_path / "lesion.png")
    Image.fromarray(mask).save(tmp_path / "shape.png")
    Image.fromarray(mask[:3]).save(tmp_path / "other.png")
    Image.fromarray(mask * 0).save(tmp_path / "empty.png")
    colour = Domain(channels=3)
    both = read_structure(tmp_path / "lesion.png", tmp_path / "shape.png", colour)
    made = both.put(torch.zeros(3, 6, 8), 0.5)
    assert made[:, 2, 3].tolist() == pytest.approx([200 / 255 - 0.5] * 3)
    assert made[:, 0, 0].tolist() == [0, 0, 0]
    assert both.title == "lesion, 8 px"
    shape = read_structure(None, tmp_path / "shape.png", colour)
    assert shape.picture is None
    assert shape.profile.sum() == 16
    whole = read_structure(tmp_path / "lesion.png", None, Domain(channels=1, dtype="uint8"))
    assert whole.put(torch.zeros(1, 6, 8), 1.0).unique().numel() == 1
    for picture_name, mask_name, said in (
        ("lesion", "other", "of the size of the picture"),
        (None, "empty", "Give a mask that varies"),
        ("nowhere", None, "plant"),
    ):
        files = [None if name is None else tmp_path / f"{name}.png" for name in (picture_name, mask_name)]
        with pytest.raises(UserError, match=said):
            read_structure(*files, colour)


def test_deep_pictures_are_read_by_the_range_of_the_domain(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 5), 4095, np.uint16)).save(tmp_path / "deep.png")
    own = read_structure(tmp_path / "deep.png", None, Domain(channels=1, dtype="uint16", range=(0, 4095)))
    assert own.picture is not None
    assert own.picture.unique().tolist() == [1.0]
