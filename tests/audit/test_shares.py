"""The share that is hidden: near 1 for a network that hides, about 0 for honest ones, no number where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audits import Forgetful, Stored, both, copying, hiding, random_images, recolouring
from unpaired.audit.disturb import HEADLINE, NOISES, Disturbance
from unpaired.audit.findings import mean_of, most_invisible, psnr, shares_of
from unpaired.audit.measure import Effect, Reconstructions, measure


def made(errors: dict[Disturbance, list[float]], chance: list[float], copy: float = 0.0) -> Reconstructions:
    """Return measurements by hand; every disturbance changes the translation by one level."""
    count = len(chance)
    effects = [
        Effect(each, np.array(error), np.array(error) ** 2, np.ones(count), np.full(count, copy))
        for each, error in errors.items()
    ]
    return Reconstructions(effects, np.array(chance), [], [])


CLEAN = Disturbance("none", 0.0, "none")


def noise(level: float) -> Disturbance:
    return Disturbance("noise", level, f"noise of {level:g} levels")


@pytest.mark.parametrize(("levels", "most"), [(0.5, 2.0), (1.0, 1.5), (1.5, 1.4)])
def test_a_network_that_hides_its_input_loses_it(levels: float, most: float) -> None:
    hidden = shares_of(measure(*hiding(levels), random_images(), seed=0), seed=0)
    assert hidden.headline is not None
    assert 0.8 < hidden.headline.value < most  # what remains misleads the faintest most: more than all is lost
    assert hidden.half_at is not None
    assert hidden.half_at < 2


def test_rounding_to_eight_bits_takes_what_is_hidden_below_one_level() -> None:
    hidden = shares_of(measure(*hiding(0.4), random_images(), seed=0), seed=0)
    assert hidden.lost[Disturbance("bits", 8, "8 bits per value")].value > 0.5


@pytest.mark.parametrize("honest", [copying, recolouring])
def test_honest_translators_lose_no_more_than_a_copy(honest) -> None:  # type: ignore[no-untyped-def]
    measured = measure(*honest(), random_images(coarse=6), seed=0)
    hidden = shares_of(measured, seed=0)
    assert hidden.headline is not None
    assert hidden.headline.value == pytest.approx(0, abs=0.005)
    assert hidden.half_at is None
    for effect in measured.effects[1:]:
        assert abs(hidden.lost[effect.disturbance].value) < 0.08, effect.disturbance.title


def test_identity_loses_exactly_what_a_copy_loses() -> None:
    hidden = shares_of(measure(*copying(1), random_images(channels=1), seed=0), seed=0)
    for share in hidden.lost.values():
        assert share.value == pytest.approx(0, abs=1e-9)


def test_the_share_by_hand() -> None:
    measured = made({CLEAN: [3, 3], HEADLINE: [15, 15]}, chance=[23, 23], copy=4)
    hidden = shares_of(measured, seed=0)
    assert hidden.lost[HEADLINE].value == pytest.approx((15 - math.hypot(3, 4)) / (23 - 3))
    assert hidden.lost[HEADLINE].error == pytest.approx(0, abs=1e-12)


def test_its_standard_error_is_that_of_the_mean_over_images() -> None:
    errors = np.random.default_rng(0).uniform(10, 30, 60)
    measured = made({CLEAN: [0.0] * 60, HEADLINE: list(errors)}, chance=[50.0] * 60)
    share = shares_of(measured, seed=1).lost[HEADLINE]
    assert share.value == pytest.approx(errors.mean() / 50)
    assert share.error == pytest.approx(errors.std(ddof=1) / math.sqrt(60) / 50, rel=0.1)


def test_noise_that_takes_half_is_read_between_two_strengths() -> None:
    errors = {key: [20.0, 20.0] for key in [noise(level) for level in NOISES]}
    errors[noise(4.0)] = [40.0, 40.0]
    errors[noise(8.0)] = [60.0, 60.0]
    measured = made({CLEAN: [0.0, 0.0], **errors}, chance=[100.0, 100.0])
    assert shares_of(measured, seed=0).half_at == pytest.approx(4 + 4 * (0.5 - 0.4) / (0.6 - 0.4))


def test_the_worst_that_cannot_be_seen() -> None:
    seen = Effect(noise(16), np.full(2, 90.0), np.ones(2), np.full(2, 16.0**2), np.zeros(2))
    measured = made({CLEAN: [0, 0], noise(1): [10, 10], noise(2): [30, 30]}, chance=[100, 100])
    measured.effects.append(seen)
    worst = most_invisible(shares_of(measured, seed=0), measured)
    assert worst is not None
    assert worst[0] == noise(2)
    assert worst[1].value == pytest.approx(0.3)


def test_where_there_is_nothing_to_lose_there_is_no_share_but_a_reason() -> None:
    alike = Stored(random_images(1).images.expand(4, -1, -1, -1))
    for measured, said in (
        (measure(*copying(), random_images(1), seed=0), "one image alone"),
        (measure(*copying(), alike, seed=0), "the images are alike"),
        (measure(*copying(), Stored(torch.zeros(3, 3, 8, 8)), seed=0), "the images are alike"),
        (measure(*both(Forgetful(), Forgetful()), random_images(), seed=0), "do not depend on their inputs"),
    ):
        hidden = shares_of(measured, seed=0)
        assert hidden.reason is not None
        assert said in hidden.reason
        assert (hidden.headline, hidden.jpeg, hidden.half_at, hidden.lost) == (None, None, None, {})
        assert most_invisible(hidden, measured) is None


def test_visibility_in_decibel() -> None:
    assert psnr(np.array([4.0, 4.0])) == pytest.approx(42.11, abs=0.01)
    assert psnr(np.zeros(2)) is None


def test_means_pass_over_what_is_no_number() -> None:
    found = mean_of(np.array([1.0, math.nan, 3.0]))
    assert found is not None
    assert (found.value, found.error) == (2.0, pytest.approx(1.0))
    assert mean_of(np.array([math.nan])) is None
    assert mean_of(np.array([2.0])).error is None  # type: ignore[union-attr]
