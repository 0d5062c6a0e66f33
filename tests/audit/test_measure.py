"""What comes back is measured against the input, beside what needs no model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audits import Affine, Forgetful, Stored, both, copying, hiding, random_images, recolouring
from unpaired.audit.disturb import LEVEL, noisy
from unpaired.audit.measure import Reconstructions, faint_detail, measure, partner_of
from unpaired.core.errors import UserError
from unpaired.data.labels import Labels
from unpaired.data.values import Domain


def effect(measured: Reconstructions, title: str):  # type: ignore[no-untyped-def]
    return next(each for each in measured.effects if each.disturbance.title == title)


def test_errors_are_means_in_levels() -> None:
    there, back = both(Affine(torch.eye(3)), Affine(torch.eye(3), 10 * LEVEL))
    images = Stored(torch.zeros(2, 3, 8, 8))
    images.images[1] += 0.5
    measured = measure(there, back, images, seed=0)
    assert measured.clean.error == pytest.approx([10, 10], rel=1e-4)
    assert measured.clean.squared == pytest.approx([100, 100], rel=1e-4)
    assert measured.clean.change == pytest.approx([0, 0])
    # The other image's reconstruction: 0.5 away in one direction, and 10 levels on top of it.
    assert measured.chance == pytest.approx([0.5 / LEVEL + 10, 0.5 / LEVEL - 10], rel=1e-4)


def test_an_honest_copy_loses_what_the_disturbance_takes_of_the_input() -> None:
    images = random_images()
    measured = measure(*copying(), images, seed=5)
    for each in measured.effects:
        assert each.copy == pytest.approx(each.error)
    found = effect(measured, "noise of 2 levels")
    wanted = (noisy(images.images, 2.0, range(6), 5) - images.images).abs().mean((1, 2, 3)) / LEVEL
    assert found.error == pytest.approx(wanted.numpy(), rel=1e-4)
    assert np.sqrt(found.change.mean()) == pytest.approx(2, rel=0.05)


def test_batches_do_not_matter() -> None:
    images = random_images(11)
    all_at_once = measure(*recolouring(), images, seed=0)
    first = measure(*recolouring(), Stored(images.images[:3]), seed=0)
    for one, other in zip(all_at_once.effects, first.effects, strict=True):
        assert one.error[:3] == pytest.approx(other.error)


def test_a_partner_is_another_image_and_everybody_is_one() -> None:
    for count in range(2, 9):
        partners = [partner_of(number, count) for number in range(count)]
        assert sorted(partners) == list(range(count))
        assert all(partner != number for number, partner in enumerate(partners))


def test_faint_detail_is_faint() -> None:
    images = random_images().images
    detail = faint_detail(images)
    assert float(detail.abs().max()) == pytest.approx(2 * LEVEL)
    assert float(faint_detail(torch.full((1, 3, 9, 9), 0.7)).abs().max()) < 1e-6


def test_exchanged_detail_carries_what_is_hidden_in_it_and_little_of_what_is_visible() -> None:
    coarse = random_images(coarse=3)
    for there_and_back, images, low, high in (
        (hiding(), random_images(), 0.9, 1.02),  # of white noise, nearly all lies in detail
        (copying(), coarse, -0.02, 0.05),
        (recolouring(), coarse, -0.02, 0.05),
    ):
        measured = measure(*there_and_back, images, seed=0)
        faint = measured.exchanges[0]
        assert faint.name == "faint"
        assert low < faint.follows.mean() < high
        assert np.sqrt(faint.change.mean()) <= 4
    assert faint.copy is not None


def test_what_a_copy_carries_is_measured_by_the_same_formula() -> None:
    measured = measure(*copying(), random_images(), seed=0)
    assert [each.name for each in measured.exchanges] == ["faint", "jpeg"]
    for each in measured.exchanges:
        assert each.copy == pytest.approx(each.follows)


def test_one_image_has_no_other_to_be_compared_with() -> None:
    measured = measure(*copying(), random_images(1), seed=0)
    assert measured.chance is None
    assert measured.exchanges == []


def test_different_channels_and_deep_values() -> None:
    deep = Domain(channels=1, dtype="uint16")
    there, back = both(Affine(torch.full((1, 3), 1 / 3)), Affine(torch.ones(3, 1)), Domain(channels=3), deep)
    measured = measure(there, back, random_images(), seed=0)
    assert "jpeg" not in {each.disturbance.family for each in measured.effects}
    assert [each.name for each in measured.exchanges] == ["faint"]
    assert "JPEG is left out" in measured.notices[0]
    other_way = measure(back, there, random_images(channels=1), seed=0)
    jpeg = effect(other_way, "JPEG of quality 75")  # the translation can be a JPEG, the input cannot
    assert jpeg.copy is None
    assert np.isfinite(jpeg.error).all()
    assert other_way.exchanges[1].copy is None


def test_label_maps_are_snapped_and_photos_are_not() -> None:
    labels = Domain(channels=3, labels=Labels(kind="index", palette=((255, 255, 255), (0, 0, 0))))
    there, back = both(Affine(torch.eye(3)), Affine(torch.eye(3)), Domain(channels=3), labels)
    grey = Stored(torch.tensor([0.2, -0.6]).reshape(2, 1, 1, 1).expand(2, 3, 8, 8))
    snapped = measure(there, back, grey, seed=0).effects[-1]
    assert snapped.disturbance.family == "snap"
    assert snapped.copy is None
    assert snapped.error == pytest.approx([0.8 / LEVEL, 0.4 / LEVEL], rel=1e-5)


def test_a_translator_that_forgets_leaves_nothing_to_follow() -> None:
    measured = measure(*both(Forgetful(), Forgetful()), random_images(), seed=0)
    assert np.isnan(measured.exchanges[0].follows).all()
    assert measured.clean.error == pytest.approx(measured.chance)


def test_a_network_that_broke_down_is_told() -> None:
    there, back = both(Affine(torch.full((3, 3), torch.nan)), Affine(torch.eye(3)))
    with pytest.raises(UserError, match="not a finite number"):
        measure(there, back, random_images(2), seed=0)
    with pytest.raises(UserError, match="not a finite number"):
        measure(*both(Affine(torch.eye(3)), Affine(torch.full((3, 3), torch.nan))), random_images(2), seed=0)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    measure(*copying(), random_images(11), seed=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(8, 11), (11, 11)]
