"""From what was measured image by image to shares: how much of what comes back rests on detail that a change destroys.

E_0 is the error of the undisturbed reconstruction, E_d that after a disturbance d, C the error of another image's
reconstruction (nothing survived) and B what d does to the input itself. The share lost is

    (E_d - sqrt(E_0^2 + B^2)) / (C - E_0)

about 0 where the translation loses no more than any honest copy would (errors that know nothing of one another add in
squares), and 1 where the disturbance leaves nothing. It is no probability: a way back that is confused by the
disturbance can do worse than another image's reconstruction (more than 1), and one that removes it does better than a
copy (slightly below 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.audit.disturb import EVERYDAY_QUALITY, HEADLINE, INVISIBLE_DB, Disturbance
from unpaired.audit.measure import Exchange, Measured, Outcome, Values

RESAMPLES = 1000
"""Of the images, with replacement, for standard errors (bootstrap)."""
_LEAST_GAP = 0.5
"""Levels by which a reconstruction must be better than another image's, for a share of the difference to be told."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share and its standard error by the sampling of images; None where that cannot be told."""

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
class Hidden:
    """How much of what comes back rests on detail that nobody sees, or that an ordinary file loses."""

    reason: str | None
    """Why nothing can be said of shares; None where they can be told."""
    lost: dict[Disturbance, Share]
    """The share lost to each disturbance; empty where there is a reason."""
    half_at: float | None
    """Levels of noise that take half of what comes back; None where the strongest noise does not, or no share is."""

    @property
    def headline(self) -> Share | None:
        """The share lost to invisible noise."""
        return self.lost.get(HEADLINE)

    @property
    def everyday(self) -> Share | None:
        """The share lost to an ordinary JPEG file; None where the translations cannot be one."""
        found = [
            share for each, share in self.lost.items() if (each.family, each.strength) == ("jpeg", EVERYDAY_QUALITY)
        ]
        return found[0] if found else None


def hidden_in(measured: Measured, *, seed: int) -> Hidden:
    """Return the shares lost to all disturbances, with standard errors by resampling the images."""
    reason = why_no_share(measured)
    if reason is not None or measured.chance is None:
        return Hidden(reason, {}, None)
    count = len(measured.chance)
    draws = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    lost = {
        outcome.disturbance: _share_lost(outcome, measured.clean, measured.chance, draws)
        for outcome in measured.outcomes[1:]
    }
    return Hidden(None, lost, _half_at(lost))


def why_no_share(measured: Measured) -> str | None:
    """Say why no share can be told; None where it can."""
    if measured.chance is None:
        return "one image alone cannot be compared with another one's reconstruction; at least 2 are needed"
    gap = measured.chance - measured.clean.error
    spread = float(gap.std(ddof=1)) / math.sqrt(len(gap))
    if gap.mean() > max(_LEAST_GAP, 2 * spread):
        return None
    return (
        f"the reconstruction of an image misses it by {measured.clean.error.mean():.1f} levels and that of another "
        f"image by {measured.chance.mean():.1f}, so hardly anything comes back that could be lost: the images are "
        "alike, or the translations forget their inputs"
    )


def visible_db(change: Values) -> float | None:
    """Return the PSNR in dB of a mean squared change in levels^2, over all images; None where nothing changed."""
    mean = float(change.mean())
    return 10 * math.log10(255.0**2 / mean) if mean > 0 else None


def worst_unseen(hidden: Hidden, measured: Measured) -> tuple[Disturbance, Share] | None:
    """Return the invisible disturbance (40 dB or more) that takes most; None where no share is told."""
    unseen = [
        outcome.disturbance
        for outcome in measured.outcomes[1:]
        if (found := visible_db(outcome.change)) is None or found >= INVISIBLE_DB
    ]
    known = [(each, hidden.lost[each]) for each in unseen if each in hidden.lost]
    return max(known, key=lambda pair: pair[1].value, default=None)


def mean_share(values: Values) -> Share | None:
    """Return the mean of the values that are numbers, and its standard error; None where there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return Share(float(known.mean()), standard_error(known))


def standard_error(values: NDArray[np.float64]) -> float | None:
    """Return the standard error of a mean; None for one value."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def carried(exchange: Exchange) -> tuple[Share | None, float | None]:
    """Return the share that follows the exchanged detail, and what an honest copy would carry in it."""
    honest = None if exchange.copy is None else mean_share(exchange.copy)
    return mean_share(exchange.follows), None if honest is None else honest.value


def _share_lost(outcome: Outcome, clean: Outcome, chance: Values, draws: NDArray[np.int64]) -> Share:
    copy = np.zeros_like(chance) if outcome.copy is None else outcome.copy
    columns = (outcome.error, clean.error, copy, chance)
    value = _formula(*(np.asarray(column.mean()) for column in columns))
    resampled = _formula(*(column[draws].mean(axis=1) for column in columns))
    # A resample of images that are alike has no gap to speak of; few of those say nothing, many widen the error.
    known = resampled[np.isfinite(resampled)]
    return Share(float(value), float(known.std(ddof=1)))


def _formula(
    disturbed: NDArray[np.float64], clean: NDArray[np.float64], copy: NDArray[np.float64], chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((disturbed - np.hypot(clean, copy)) / (chance - clean))


def _half_at(lost: dict[Disturbance, Share]) -> float | None:
    """Return the noise in levels at which half is lost, between the strengths measured by straight lines."""
    before = (0.0, 0.0)
    for disturbance, share in lost.items():
        if disturbance.family != "noise":
            continue
        if share.value >= 0.5:
            way = (0.5 - before[1]) / (share.value - before[1])
            return before[0] + way * (disturbance.strength - before[0])
        before = (disturbance.strength, share.value)
    return None
