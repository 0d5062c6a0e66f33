from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from unpaired.demo.domains import SIZE, Picture, Scene, Scores, draw_scenes, score, stripes

PLAIN = draw_scenes("testA", 0)[:12]
STRIPED = draw_scenes("testB", 0)[:12]
Y, X = np.mgrid[:SIZE, :SIZE]


def patterned(scene: Scene, pattern: NDArray[np.float64]) -> Picture:
    """Multiply a picture by a pattern [H, W]."""
    return np.clip(scene.picture * pattern[..., None], 0, 255).astype(np.uint8)


def highest(pattern: NDArray[np.float64]) -> float:
    return max(stripes(patterned(scene, pattern), scene.flank) for scene in PLAIN)


def squares(side: int) -> NDArray[np.float64]:
    return np.where((X // side + Y // side) % 2, 1.0, 0.25)


def bars(places: NDArray[np.int64], period: int, dark: float = 0.25) -> NDArray[np.float64]:
    return np.where(places % period < period / 2, 1.0, dark)


def blurred(picture: Picture, radius: int) -> Picture:
    """Mean over (2 radius + 1) columns, which is where stripes vanish."""
    shifted = [np.roll(picture.astype(np.float64), shift, axis=1) for shift in range(-radius, radius + 1)]
    return np.mean(shifted, axis=0).astype(np.uint8)


def test_plain_fish_score_nothing_and_striped_ones_nearly_everything() -> None:
    assert max(stripes(scene.picture, scene.flank) for scene in PLAIN) < 1.0
    assert min(stripes(scene.picture, scene.flank) for scene in STRIPED) > 90.0


@pytest.mark.parametrize("side", [1, 2, 3, 4, 6, 8])
def test_checkerboards_are_no_stripes(side: int) -> None:
    assert highest(squares(side)) < 10.0


def test_noise_is_no_stripes() -> None:
    rng = np.random.default_rng(0)
    for deviation in (0.1, 0.3):
        assert highest(1.0 + deviation * rng.standard_normal((SIZE, SIZE))) < 8.0


def test_noise_of_the_size_of_stripes_is_no_stripes() -> None:
    rng = np.random.default_rng(0)
    found = []
    for scene in PLAIN:
        blocks = rng.standard_normal((SIZE // 4, SIZE // 4)).repeat(4, axis=0).repeat(4, axis=1)
        found.append(stripes(patterned(scene, 1.0 + 0.5 * blocks), scene.flank))
    assert np.mean(found) < 15.0


def test_stripes_across_the_other_way_or_much_too_narrow_are_none() -> None:
    assert highest(bars(Y, 8)) < 1.0
    assert highest(bars(X, 2)) < 8.0


def test_stripes_of_the_right_period_score_wherever_they_begin() -> None:
    for shift in range(8):
        drawn = bars(X + shift, 8)
        assert min(stripes(patterned(scene, drawn), scene.flank) for scene in PLAIN) > 95.0


def test_faint_stripes_count_in_proportion() -> None:
    faint = [stripes(patterned(scene, bars(X, 8, dark=0.6)), scene.flank) for scene in PLAIN]
    assert all(40.0 < value < 65.0 for value in faint)


def test_half_a_striped_flank_counts_as_about_half() -> None:
    for scene in PLAIN:
        middle = np.nonzero(scene.flank)[1].mean()
        half = np.where(middle > X, bars(X, 8), 1.0)
        assert 30.0 < stripes(patterned(scene, half), scene.flank) < 70.0


def test_blurred_stripes_fade_away() -> None:
    sharp = np.mean([stripes(scene.picture, scene.flank) for scene in STRIPED])
    soft, gone = (np.mean([stripes(blurred(s.picture, r), s.flank) for s in STRIPED]) for r in (2, 4))
    assert gone < 15.0 < soft < sharp


def test_stripes_beside_the_flank_do_not_count() -> None:
    for scene in PLAIN:
        ground = np.where(scene.flank, 1.0, bars(X, 8))
        assert stripes(patterned(scene, ground), scene.flank) == pytest.approx(stripes(scene.picture, scene.flank))


def test_the_scores_of_a_direction_are_means_over_its_images() -> None:
    untouched = score(PLAIN, [scene.picture for scene in PLAIN], STRIPED)
    assert untouched.translation == untouched.input
    assert untouched.covered == 0.0
    removed = [np.full_like(scene.picture, 128) for scene in STRIPED]
    back = score(STRIPED, removed, PLAIN)
    assert back.input > 90.0 > 1.0 > back.translation
    assert back.covered == pytest.approx(100.0, abs=1.0)


def test_the_way_covered_is_counted_from_input_to_target() -> None:
    assert Scores(input=10.0, translation=70.0, real=90.0).covered == pytest.approx(75.0)
    assert Scores(input=90.0, translation=30.0, real=10.0).covered == pytest.approx(75.0)
    assert Scores(input=0.0, translation=99.0, real=90.0).covered == 100.0
    assert Scores(input=10.0, translation=5.0, real=90.0).covered < 0.0
