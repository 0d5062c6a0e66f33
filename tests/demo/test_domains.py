from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unpaired.core.errors import UserError
from unpaired.demo.domains import (
    FOLDERS,
    SIZE,
    STRIPE_BRIGHTNESS,
    Scene,
    draw_scene,
    draw_scenes,
    write_domains,
)


def test_pictures_are_small_rgb_images_with_a_flank_of_some_size() -> None:
    for scene in draw_scenes("testA", 3) + draw_scenes("testB", 3):
        assert scene.picture.shape == (SIZE, SIZE, 3)
        assert scene.picture.dtype == np.uint8
        assert scene.flank.shape == (SIZE, SIZE)
        assert scene.flank.dtype == np.bool_
        assert scene.flank.sum() > 150
        assert not scene.flank[[0, -1]].any()
        assert not scene.flank[:, [0, -1]].any()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    first, again, other = (draw_scenes("testB", seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.picture, b.picture) for a, b in zip(first, other, strict=True))


def test_no_image_is_a_copy_of_another_with_or_without_stripes() -> None:
    pictures = [scene.picture for folder in ("testA", "testB") for scene in draw_scenes(folder, 0)]
    corners = {picture[:4].tobytes() for picture in pictures}
    assert len(corners) == len(pictures) == FOLDERS["testA"] + FOLDERS["testB"]


def test_stripes_are_the_only_difference_between_the_domains() -> None:
    for seed in range(5):
        plain = draw_scene(np.random.default_rng(seed), striped=False)
        striped = draw_scene(np.random.default_rng(seed), striped=True)
        changed = (plain.picture != striped.picture).any(axis=2)
        assert np.array_equal(plain.flank, striped.flank)
        assert 0.35 < changed[plain.flank].mean() < 0.8
        # Beside the flank only its outermost pixels, which belong to it in part.
        assert changed[~plain.flank].sum() < 0.25 * plain.flank.sum()
        share = striped.picture[plain.flank].astype(float).sum(1) / plain.picture[plain.flank].astype(float).sum(1)
        assert share.min() == pytest.approx(STRIPE_BRIGHTNESS, abs=0.02)
        assert share.max() == 1.0


def test_domains_are_written_as_ordinary_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = {folder: [draw_scene(rng, striped=False) for _ in range(2)] for folder in FOLDERS}
    write_domains(scenes, tmp_path / "images")
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["testA", "testB", "trainA", "trainB"]
    for folder, drawn in scenes.items():
        for number, scene in enumerate(drawn):
            with Image.open(tmp_path / "images" / folder / f"{number:03d}.png") as image:
                assert np.array_equal(np.asarray(image), scene.picture)


def test_a_place_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    scene: dict[str, list[Scene]] = {"trainA": [draw_scene(np.random.default_rng(0), striped=False)]}
    with pytest.raises(UserError, match="Choose another --out"):
        write_domains(scene, tmp_path / "file" / "images")
