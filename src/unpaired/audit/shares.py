"""From errors image by image to shares: how much of what comes back relies on detail that a disturbance destroys.

With E_0 the error of the undisturbed reconstruction, E_d that after a disturbance d, C the error of another image's
reconstruction (chance) and B what d does to a plain copy of the input, the share lost to d is

    (E_d - sqrt(E_0^2 + B^2)) / (C - E_0),

about 0 where the translation loses no more than a plain copy (independent errors add in squares), and 1 where nothing
comes back any more. It is no probability: above 1 the disturbance misleads the way back, so that it does worse than
from another image's translation; slightly below 0 the way back removes the disturbance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.audit.disturb import DEFAULT_JPEG, HEADLINE, INVISIBLE_DB, Disturbance
from unpaired.audit.measure import Effect, Exchange, Reconstructions, Values

RESAMPLES = 1000
"""Bootstrap resamples of the images for standard errors."""
_LEAST_GAP = 0.5
"""Levels by which a reconstruction must be better than another image's for shares to be defined."""


@dataclass(frozen=True, slots=True)
class Share:
    """A value and its standard error by the sampling of images; None where that is not known."""

    value: float
    error: float | None

    @property
    def low(self) -> float:
        """The value less two standard errors."""
        return self.value - 2 * (self.error or 0.0)

    @property
    def high(self) -> float:
        """The value plus two standard errors."""
        return self.value + 2 * (self.error or 0.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of the reconstruction that each disturbance destroys."""

    reason: str | None
    """Why shares are not defined; None where they are."""
    lost: dict[Disturbance, Share]
    """Empty where there is a reason."""
    half_at: float | None
    """Levels of noise that destroy half; None where the strongest noise does not, or shares are not defined."""

    @property
    def headline(self) -> Share | None:
        """The share lost to invisible noise."""
        return self.lost.get(HEADLINE)

    @property
    def jpeg(self) -> Share | None:
        """The share lost to a JPEG file of the usual quality; None where translations cannot be one."""
        return self.lost.get(DEFAULT_JPEG)


def shares_of(found: Reconstructions, *, seed: int) -> Shares:
    """Return the shares lost to all disturbances, with standard errors by resampling the images."""
    reason = why_undefined(found)
    if reason is not None or found.chance is None:
        return Shares(reason, {}, None)
    count = len(found.chance)
    draws = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    lost = {each.disturbance: _share_lost(each, found.clean, found.chance, draws) for each in found.effects[1:]}
    return Shares(None, lost, _half_at(lost))


def why_undefined(found: Reconstructions) -> str | None:
    """Return why shares are not defined; None where they are."""
    if found.chance is None:
        return "one image alone cannot be compared with another one's reconstruction; at least 2 are needed"
    gap = found.chance - found.clean.error
    if gap.mean() > max(_LEAST_GAP, 2 * float(gap.std(ddof=1)) / math.sqrt(len(gap))):
        return None
    return (
        f"the reconstruction of an image differs from it by {found.clean.error.mean():.1f} levels and that of another "
        f"image by {found.chance.mean():.1f}, so hardly anything comes back that could be lost: the images are "
        "alike, or the translations do not depend on their inputs"
    )


def psnr(squared: Values) -> float | None:
    """Return the PSNR in dB of a mean squared change in levels^2, over all images; None where nothing changed."""
    mean = float(squared.mean())
    return 10 * math.log10(255.0**2 / mean) if mean > 0 else None


def most_invisible(shares: Shares, found: Reconstructions) -> tuple[Disturbance, Share] | None:
    """Return the invisible disturbance (40 dB or more) with the largest share; None where shares are not defined."""
    known = [
        (each.disturbance, shares.lost[each.disturbance])
        for each in found.effects[1:]
        if each.disturbance in shares.lost and ((decibel := psnr(each.change)) is None or decibel >= INVISIBLE_DB)
    ]
    return max(known, key=lambda pair: pair[1].value, default=None)


def mean_of(values: Values) -> Share | None:
    """Return the mean of the finite values and its standard error; None where there are none."""
    known = values[np.isfinite(values)]
    return Share(float(known.mean()), standard_error(known)) if len(known) else None


def standard_error(values: NDArray[np.float64]) -> float | None:
    """Return the standard error of a mean; None for one value."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def carried(exchange: Exchange) -> tuple[Share | None, float | None]:
    """Return the share of the reconstruction that follows exchanged detail, and what a plain copy carries in it."""
    copy = None if exchange.copy is None else mean_of(exchange.copy)
    return mean_of(exchange.follows), None if copy is None else copy.value


def _share_lost(effect: Effect, clean: Effect, chance: Values, draws: NDArray[np.int64]) -> Share:
    copy = np.zeros_like(chance) if effect.copy is None else effect.copy
    columns = (effect.error, clean.error, copy, chance)
    value = _formula(*(np.asarray(column.mean()) for column in columns))
    resampled = _formula(*(column[draws].mean(axis=1) for column in columns))
    # A resample of images that are alike has no gap and no share: few of those change nothing, many widen the error.
    return Share(float(value), float(resampled[np.isfinite(resampled)].std(ddof=1)))


def _formula(
    disturbed: NDArray[np.float64], clean: NDArray[np.float64], copy: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((disturbed - np.hypot(clean, copy)) / (chance - clean))


def _half_at(lost: dict[Disturbance, Share]) -> float | None:
    """Return the noise in levels that destroys half, interpolated linearly between the strengths measured."""
    before = (0.0, 0.0)
    for disturbance, share in lost.items():
        if disturbance.family != "noise":
            continue
        if share.value >= 0.5:
            return before[0] + (0.5 - before[1]) / (share.value - before[1]) * (disturbance.strength - before[0])
        before = (disturbance.strength, share.value)
    return None
