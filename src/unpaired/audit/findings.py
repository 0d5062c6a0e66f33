"""Figures and table of an audit: how much of what comes back relies on detail that a disturbance destroys.

With E_0 the error of the undisturbed reconstruction, E_d that after a disturbance d, C the error of another image's
reconstruction (chance) and B what d does to a plain copy of the input, the share lost to d is

    (E_d - sqrt(E_0^2 + B^2)) / (C - E_0),

about 0 where the translation loses no more than a plain copy (independent errors add in squares), and 1 where nothing
comes back any more. It is no probability: above 1 the disturbance misleads the way back, so that it does worse than
from another image's translation; slightly below 0 the way back removes the disturbance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.audit.disturb import DEFAULT_JPEG, DEFAULT_QUALITY, HEADLINE, INVISIBLE_DB, Disturbance
from unpaired.audit.measure import CUTOFF, DRAWS, STEPS, Effect, Exchange, Reconstructions, Response, Spectrum, Values
from unpaired.core.text import plural
from unpaired.report.results import Cell, Figure, Protocol, Table, Value

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


LEVELS = "levels of 255"
_Add = Callable[..., None]
FEW = 10
"""With fewer images a warning is given: bootstrap errors of so few images are rough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that was measured of one direction."""

    names: tuple[str, str]
    """The source and target domains, such as `A` and `B`."""
    reconstructions: Reconstructions
    shares: Shares
    translated: Spectrum
    real: Spectrum
    """Of real images of the target."""
    sensitivity: tuple[Response, Response]
    """Of the translator, and of the way back at translations."""
    protocol: Protocol
    """What all figures depend on."""

    @property
    def heading(self) -> str:
        """Such as `A to B`."""
        return " to ".join(self.names)

    @property
    def ratio(self) -> Share | None:
        """High-frequency energy of translations relative to real images; None where those have none."""
        translated, real = mean_of(self.translated.high), mean_of(self.real.high)
        if translated is None or real is None or real.value <= 0:
            return None
        error = None
        if translated.error is not None and real.error is not None:  # of two independent means, to first order
            error = float(np.hypot(translated.error / real.value, translated.value * real.error / real.value**2))
        return Share(translated.value / real.value, error)


def figures_of(found: Findings) -> tuple[Figure, ...]:
    """Return every figure of one direction."""
    figures = list[Figure]()

    def add(name: str, title: str, share: Share | None, facts: Protocol | None = None, **more: Any) -> None:
        value, error = (None, None) if share is None else (share.value, share.error)
        more = {"better": "lower", "group": "audit", "protocol": {**found.protocol, **(facts or {})}, **more}
        figures.append(Figure(name=name, title=title, value=value, error=error, **more))

    _add_shares(add, found.shares, found.reconstructions)
    _add_exchanges(add, found.reconstructions)
    _add_networks(add, found)
    return tuple(figures)


def table_of(found: Findings) -> Table:
    """Return the effect of every disturbance, that of none first; another image's reconstruction comes last."""
    measured, lost = found.reconstructions, found.shares.lost
    rows: list[tuple[Cell, ...]] = [
        (
            each.disturbance.title,
            Value(value=_rounded(psnr(each.change)), unit="dB"),
            Value(value=float(each.error.mean()), error=standard_error(each.error)),
            Value(value=_rounded(reconstruction_psnr(each)), unit="dB"),
            None if each.copy is None else _rounded(float(each.copy.mean())),
            _percent(lost.get(each.disturbance)),
        )
        for each in measured.effects
    ]
    if measured.chance is not None:
        error = Value(value=float(measured.chance.mean()), error=standard_error(measured.chance))
        rows.append(("another image's reconstruction", None, error, None, None, None))
    return Table(
        title=f"Reconstruction after a disturbance, {found.heading}",
        columns=("disturbance", "change", "error", "PSNR", "plain copy", "lost"),
        rows=tuple(rows),
        references=() if measured.chance is None else (-1,),
        notes=(
            f"change, PSNR: of the disturbed translations and of their reconstructions. Errors are in {LEVELS}. plain "
            "copy: the error of the same disturbance of the inputs. lost: share of the reconstruction.",
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _percent(share: Share | None) -> Value | None:
    if share is None:
        return None
    return Value(value=100 * share.value, error=None if share.error is None else 100 * share.error, unit="%")


def few_images(found: Findings) -> str | None:
    """Return a warning where shares come of few images; None where they do not, or are not defined."""
    count = len(found.reconstructions.clean.error)
    if found.shares.reason is not None or count >= FEW:
        return None
    return f"measured on {plural(count, 'image')}: too few for reliable standard errors; use more (--images)"


def reconstruction_psnr(effect: Effect) -> float | None:
    """Return the mean PSNR of the reconstructions in dB; None where one of them is exact."""
    if not effect.squared.all():
        return None
    return float((10 * np.log10(255.0**2 / effect.squared)).mean())


def _add_shares(add: _Add, shares: Shares, found: Reconstructions) -> None:
    title = f"Share of the reconstruction lost to invisible {HEADLINE.title}"
    add("hidden_share", title, shares.headline, note=shares.reason, facts={"disturbance": HEADLINE.title})
    most = most_invisible(shares, found)
    note = f"{most[0].title}; the largest of several, so biased upwards" if most else shares.reason
    title = f"Largest share lost to a disturbance of {INVISIBLE_DB:g} dB or more"
    add("hidden_share_most", title, most and most[1], note=note)
    if shares.jpeg is not None:
        title = f"JPEG file of quality {DEFAULT_QUALITY}"
        add("lost_to_jpeg", f"Share lost to a {title}", shares.jpeg, facts={"disturbance": title})
    half = None if shares.half_at is None else Share(shares.half_at, None)
    note = None if half else shares.reason or "the strongest noise measured destroys less than half"
    title = "Noise that destroys half of the reconstruction"
    add("half_lost_at", title, half, unit=LEVELS, better="higher", note=note)


def _add_exchanges(add: _Add, found: Reconstructions) -> None:
    for exchange in found.exchanges:
        share, copy = carried(exchange)
        change = psnr(exchange.change)
        # What was found of these images and this model is a note, not protocol.
        notes = [
            None if copy is None else f"in the inputs themselves that detail carries {copy:.3f}",
            None if change is None else f"the exchange is a change of {change:.1f} dB (PSNR)",
        ]
        note = "; ".join(filter(None, notes)) or None
        if share is None:
            note = "two translations have the same reconstruction, so nothing can be exchanged"
        title = f"Share of the reconstruction that follows {exchange.title} of another translation"
        add(f"carried_by_{exchange.name}_detail", title, share, note=note, facts={"detail": exchange.title})


def _add_networks(add: _Add, found: Findings) -> None:
    measured, (source, target) = found.reconstructions, found.names
    clean = mean_of(measured.clean.error)
    add("reconstruction_error", "Error of the undisturbed reconstruction", clean, unit=LEVELS)
    if measured.chance is not None:
        title = "Error of another image's reconstruction"
        add("chance_error", title, mean_of(measured.chance), unit=LEVELS, better=None)
    share, real = f"Share of the energy above {CUTOFF:g} of the Nyquist frequency", f"real images of {target}"
    ratio = f"High-frequency energy of translations relative to {real}"
    for name, title, value in (
        ("share", f"{share}, translations", mean_of(found.translated.high)),
        ("share_real", f"{share}, {real}", mean_of(found.real.high)),
        ("ratio", ratio, found.ratio),
    ):
        note = "the images do not vary, so there is no energy" if value is None else None
        add(f"high_frequency_{name}", title, value, better=None, note=note, facts={"cutoff": CUTOFF})
    ways = (("", f"{source} to {target}"), ("_back", f"the way back, at translations, {target} to {source}"))
    for response, (suffix, way) in zip(found.sensitivity, ways, strict=True):
        each: tuple[tuple[str, str, Values, Protocol], ...] = (
            ("random", "random signs", response.random, {"draws": DRAWS}),
            ("worst", "the most effective signs found", response.worst, {"gradient_steps": STEPS}),
        )
        for kind, how, values, facts in each:
            title = f"Change of the output for a change of one level of the input, {how}: {way}"
            facts = {**facts, "images_probed": len(values)}
            add(f"sensitivity{suffix}_{kind}", title, mean_of(values), unit=LEVELS, facts=facts)
