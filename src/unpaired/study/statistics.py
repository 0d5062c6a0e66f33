"""Shares with intervals, tests between methods, and how many people a difference needs. Participants are the unit.

All random numbers come from the generator that is passed in, so that a report says the same twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""[participants], each participant's share of generated pictures taken for real."""

LEVEL = 0.95
RESAMPLES = 10_000
_MOST_SPLITS = 20_000
"""Up to this many ways to split two groups, a permutation test counts all of them in place of drawing some."""
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, and how it was made."""

    low: float
    high: float
    kind: str
    """`bootstrap`; `Wilson` (difference: `Newcombe`) where all shares are equal, which leaves nothing to draw from."""


def share_interval(shares: Shares, answers: int, random: Generator, *, level: float = LEVEL) -> Interval | None:
    """Return the interval of the mean share; None for fewer than two participants.

    Bootstrap over participants, bias-corrected and accelerated (BCa; Efron, 1987), because shares near zero are skewed,
    with the normal quantile widened to what a t interval of as many participants has (Hesterberg, 2015), because it is
    too narrow for few people. Where all shares are equal it is the Wilson interval over all `answers`.
    """
    if len(shares) < 2:
        return None
    if np.ptp(shares) < _ROUNDING:
        return _wilson(float(shares[0]), answers, level)
    low, high = _percentiles(_means(shares, random), float(shares.mean()), _influence(shares), len(shares), level)
    return Interval(low, high, "bootstrap")


def difference_interval(
    a: Shares, b: Shares, answers: tuple[int, int], random: Generator, *, level: float = LEVEL
) -> Interval | None:
    """Return the interval of mean(a) - mean(b), both resampled; None for fewer than two participants in either.

    Where all shares of a are equal, and all of b, it is Newcombe's (1998, method 10), of both Wilson intervals over all
    `answers`: the bootstrap would claim to know the difference exactly.
    """
    if min(len(a), len(b)) < 2:
        return None
    if max(np.ptp(a), np.ptp(b)) < _ROUNDING:
        first, second = (float(shares[0]) for shares in (a, b))
        one, other = (_wilson(share, count, level) for share, count in zip((first, second), answers, strict=True))
        below, above = (
            math.hypot(first - one.low, other.high - second),
            math.hypot(one.high - first, second - other.low),
        )
        return Interval(first - second - below, first - second + above, "Newcombe")
    means, influence = _means(a, random) - _means(b, random), np.concatenate([_influence(a), -_influence(b)])
    low, high = _percentiles(means, float(a.mean() - b.mean()), influence, min(len(a), len(b)), level)
    return Interval(low, high, "bootstrap")


def permutation_p(a: Shares, b: Shares, random: Generator, *, resamples: int = RESAMPLES) -> float:
    """Return the two-sided p of the difference of means when people are dealt to the two groups at random.

    All splits where they are few, else `resamples` of them, the one that happened counted among them (so p is never 0).
    Neither group may be empty.
    """
    everyone = np.concatenate([a, b])
    observed = abs(float(a.mean() - b.mean())) - _ROUNDING
    total = float(everyone.sum())
    if math.comb(len(everyone), len(a)) <= _MOST_SPLITS:
        sums = np.array([everyone[list(chosen)].sum() for chosen in combinations(range(len(everyone)), len(a))])
        extreme = np.abs(sums / len(a) - (total - sums) / len(b)) >= observed
        return float(extreme.mean())
    drawn = random.permuted(np.broadcast_to(everyone, (resamples, len(everyone))), axis=1)
    sums = drawn[:, : len(a)].sum(axis=1)
    extreme = np.abs(sums / len(a) - (total - sums) / len(b)) >= observed
    return float((extreme.sum() + 1) / (resamples + 1))


def holm(values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number (Holm, 1979), in the order given."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def participants_needed(a: Shares, b: Shares, tests: int, *, power: float = 0.8, level: float = LEVEL) -> int | None:
    """Return the participants per method that separate two methods, were the difference seen the true one.

    Two-sided, at the given power, alpha shared by all `tests` (Bonferroni, a little more careful than Holm). None where
    there is no difference, no spread to reckon with, or fewer than two participants.
    """
    if min(len(a), len(b)) < 2:
        return None
    difference = abs(float(a.mean() - b.mean()))
    if difference < _ROUNDING:
        return None
    certain, able = _quantiles(tests, power, level)
    spread = float(a.var(ddof=1) + b.var(ddof=1))
    if spread < _ROUNDING:
        return None
    plain = (certain + able) ** 2 * spread / difference**2
    return max(2, math.ceil(plain + certain**2 / 4))  # the last term: what not knowing the spread costs


def detectable(a: Shares, b: Shares, tests: int, *, power: float = 0.8, level: float = LEVEL) -> float | None:
    """Return the smallest true difference that as many participants as there are would show at the given power.

    None where there is no spread to reckon with, or fewer than two participants.
    """
    if min(len(a), len(b)) < 2 or max(np.ptp(a), np.ptp(b)) < _ROUNDING:
        return None
    certain, able = _quantiles(tests, power, level)
    return (certain + able) * math.sqrt(float(a.var(ddof=1)) / len(a) + float(b.var(ddof=1)) / len(b))


def t_quantile(share: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution for a share between 0.5 and 1."""
    angles = np.linspace(0.0, math.pi / 2, 20_001)  # x = sqrt(freedom) tan(angle) makes the integral a finite one
    density = np.cos(angles) ** (freedom - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(2 * share - 1, area / area[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)


def _quantiles(tests: int, power: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    return normal.inv_cdf(1 - (1 - level) / 2 / max(tests, 1)), normal.inv_cdf(power)


def _means(shares: Shares, random: Generator) -> Shares:
    drawn = random.integers(len(shares), size=(RESAMPLES, len(shares)))
    means: Shares = shares[drawn].mean(axis=1)
    return means


def _influence(shares: Shares) -> Shares:
    influence: Shares = (shares - shares.mean()) / len(shares)
    return influence


def _percentiles(means: Shares, observed: float, influence: Shares, people: int, level: float) -> tuple[float, float]:
    """Return the BCa interval of resampled means (Efron and Tibshirani, 1993, section 14.3), widened for few people."""
    spread = float((influence**2).sum())
    if spread < _ROUNDING:
        return observed, observed
    normal, most = NormalDist(), 1 - 1 / len(means)
    below = float(
        ((means < observed - _ROUNDING).mean() + (means <= observed + _ROUNDING).mean()) / 2
    )  # ties count half
    bias = normal.inv_cdf(min(max(below, 1 - most), most))
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    widened = math.sqrt(people / (people - 1)) * t_quantile((1 + level) / 2, people - 1)
    shifted = [bias + sign * widened for sign in (-1, 1)]
    tails = [normal.cdf(bias + shift / max(1 - acceleration * shift, _ROUNDING)) for shift in shifted]
    low, high = np.quantile(means, tails)
    return float(low), float(high)


def _wilson(share: float, answers: int, level: float) -> Interval:
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * answers)) / (1 + z * z / answers)
    half = z / (1 + z * z / answers) * math.sqrt(share * (1 - share) / answers + z * z / (4 * answers**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "Wilson")
