"""An audit's figures, each with what it depends on, and the table of all disturbances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unpaired.audit.disturb import EVERYDAY_QUALITY, HEADLINE, INVISIBLE_DB
from unpaired.audit.hidden import Hidden, Share, carried, mean_share, standard_error, visible_db, worst_unseen
from unpaired.audit.measure import Measured, Outcome, Values
from unpaired.audit.sensitivity import DRAWS, STEPS, Response
from unpaired.audit.spectrum import CUTOFF, Spectrum
from unpaired.evaluation.figures import Better, Fact, Figure, Table

LEVELS = "levels of 255"
FEW = 10
"""With fewer images standard errors are told with a warning: a resample of two or three images varies too little."""
COLUMNS = (
    "disturbance of the translation",
    "change (dB)",
    f"error ({LEVELS})",
    "standard error",
    "PSNR (dB)",
    "honest copy",
    "share lost",
    "standard error of it",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything that was measured of one direction."""

    direction: str
    """`a2b` or `b2a`."""
    measured: Measured
    hidden: Hidden
    translated: Spectrum
    real: Spectrum
    sensitivity: tuple[Response, Response]
    """Of the translator, and of the way back at what it makes."""
    protocol: Mapping[str, Fact]
    """What all figures depend on."""

    @property
    def names(self) -> tuple[str, str]:
        """The domains that the direction comes from and leads to: `A`, `B`."""
        source, target = self.direction.upper().split("2")
        return source, target

    @property
    def ratio(self) -> Share | None:
        """High-frequency energy of the translations against that of real images; None where those have none."""
        translated, real = mean_share(self.translated.high), mean_share(self.real.high)
        if translated is None or real is None or real.value <= 0:
            return None
        return Share(translated.value / real.value, _ratio_error(translated, real))


def figures_of(found: Found) -> tuple[Figure, ...]:
    """Return every figure of one direction."""
    figures = [*_shares(found), *_carried(found), *_errors(found), *_high_frequencies(found), *_sensitivities(found)]
    return tuple(figures)


def table_of(found: Found) -> Table:
    """Return what every disturbance did, the undisturbed translation first and what nothing survives last."""
    rows: list[tuple[str | float | None, ...]] = []
    for outcome in found.measured.outcomes:
        share = found.hidden.lost.get(outcome.disturbance)
        rows.append(
            (
                outcome.disturbance.title,
                visible_db(outcome.change),
                float(outcome.error.mean()),
                standard_error(outcome.error),
                reconstruction_db(outcome),
                None if outcome.copy is None else float(outcome.copy.mean()),
                None if share is None else share.value,
                None if share is None else share.error,
            )
        )
    if found.measured.chance is not None:
        chance = found.measured.chance
        rows.append(
            ("another image's reconstruction", None, float(chance.mean()), standard_error(chance), *(None,) * 4)
        )
    return Table(title=_of(found, "What comes back after a disturbance"), columns=COLUMNS, rows=tuple(rows))


def too_few(found: Found) -> str | None:
    """Say that shares and their errors come of few images; None where they do not, or where none is told."""
    count = len(found.measured.clean.error)
    if found.hidden.reason is not None or count >= FEW:
        return None
    return f"{count} images are few: their standard errors are rough themselves, and so is what is said by them"


def reconstruction_db(outcome: Outcome) -> float | None:
    """Return the mean PSNR of the reconstructions in dB; None where one of them is exact."""
    if not outcome.squared.all():
        return None
    return float((10 * np.log10(255.0**2 / outcome.squared)).mean())


def _of(found: Found, text: str) -> str:
    return f"{text}, {' to '.join(found.names)}"


def _figure(
    found: Found,
    name: str,
    title: str,
    share: Share | None,
    *,
    unit: str = "",
    better: Better | None = "lower",
    note: str | None = None,
    facts: Mapping[str, Fact] | None = None,
) -> Figure:
    return Figure(
        name=name,
        title=title,
        value=None if share is None else share.value,
        error=None if share is None else share.error,
        unit=unit,
        better=better,
        group="audit",
        protocol={**found.protocol, **(facts or {})},
        note=note,
    )


def _mean(values: Values) -> Share:
    return Share(float(values.mean()), standard_error(values))


def _shares(found: Found) -> list[Figure]:
    """Return the shares of the reconstruction that disturbances take."""
    hidden, reason = found.hidden, found.hidden.reason
    worst = worst_unseen(hidden, found.measured)
    most = "" if worst is None else f"{worst[0].title}; the largest of several, so rather high than low"
    figures = [
        _figure(
            found,
            "hidden_share",
            f"Share of the reconstruction lost to {HEADLINE.title}, which nobody sees",
            hidden.headline,
            note=reason,
            facts={"disturbance": HEADLINE.title},
        ),
        _figure(
            found,
            "hidden_share_most",
            f"Largest share lost to a disturbance of {INVISIBLE_DB:g} dB or more",
            None if worst is None else worst[1],
            note=reason if worst is None else most,
        ),
    ]
    if hidden.everyday is not None:
        title = f"JPEG file of quality {EVERYDAY_QUALITY}"
        facts = {"disturbance": title}
        figures.append(_figure(found, "lost_to_jpeg", f"Share lost to a {title}", hidden.everyday, facts=facts))
    half = None if hidden.half_at is None else Share(hidden.half_at, None)
    figures.append(
        _figure(
            found,
            "half_lost_at",
            "Noise that takes half of the reconstruction",
            half,
            unit=LEVELS,
            better="higher",
            note=None if half is not None else reason or "the strongest noise measured takes less than half",
        )
    )
    return figures


def _carried(found: Found) -> list[Figure]:
    """Return the shares of the reconstruction that follow exchanged detail."""
    figures = []
    for exchange in found.measured.exchanges:
        share, honest = carried(exchange)
        visible = visible_db(exchange.change)
        # What was found of these images and this model is no protocol: a note tells it.
        told = [
            None if honest is None else f"in the inputs themselves that detail carries {honest:.3f}",
            None if visible is None else f"the exchange is a change of {visible:.1f} dB (PSNR)",
        ]
        note = "; ".join(part for part in told if part) or None
        if share is None:
            note = "two translations come back alike, so nothing can be exchanged"
        figures.append(
            _figure(
                found,
                f"carried_by_{exchange.name}_detail",
                f"Share of the reconstruction that follows {exchange.title} of another translation",
                share,
                note=note,
                facts={"detail": exchange.title},
            )
        )
    return figures


def _errors(found: Found) -> list[Figure]:
    clean, chance = found.measured.clean, found.measured.chance
    figures = [
        _figure(
            found,
            "reconstruction_error",
            "Error of the undisturbed reconstruction",
            _mean(clean.error),
            unit=LEVELS,
        )
    ]
    if chance is not None:
        figures.append(
            _figure(
                found,
                "chance_error",
                "Error of another image's reconstruction",
                _mean(chance),
                unit=LEVELS,
                better=None,
            )
        )
    return figures


def _high_frequencies(found: Found) -> list[Figure]:
    """Return the translations' share of energy in high frequencies, that of real images, and their ratio."""
    translated, real = mean_share(found.translated.high), mean_share(found.real.high)
    flat = "no image varies, so there is no energy to share"
    target = found.names[1]
    figures = [
        _figure(
            found,
            name,
            f"Share of the energy above {CUTOFF:g} of the Nyquist frequency, {of}",
            share,
            better=None,
            note=flat if share is None else None,
            facts={"cutoff": CUTOFF},
        )
        for name, of, share in (
            ("high_frequency_share", "translations", translated),
            ("high_frequency_share_real", f"real images of {target}", real),
        )
    ]
    ratio = found.ratio
    title = f"High-frequency energy of translations against real images of {target} (1 is alike)"
    note = None if ratio is not None else "one of the two has no energy to compare"
    figures.append(
        _figure(found, "high_frequency_ratio", title, ratio, better=None, note=note, facts={"cutoff": CUTOFF})
    )
    return figures


def _ratio_error(one: Share, other: Share) -> float | None:
    """Return the standard error of a ratio of two independent means, to first order; None where one has none."""
    if one.error is None or other.error is None:
        return None
    return float(np.hypot(one.error / other.value, one.value * other.error / other.value**2))


def _sensitivities(found: Found) -> list[Figure]:
    """Return how strongly both networks respond to a change of one level."""
    source, target = found.names
    figures = []
    parts = (("", f"{source} to {target}"), ("_back", f"the way back, at translations, {target} to {source}"))
    for response, (suffix, of) in zip(found.sensitivity, parts, strict=True):
        for kind, how, values, facts in (
            ("random", "random signs", response.random, {"draws": DRAWS}),
            ("worst", "the most effective signs found", response.worst, {"gradient_steps": STEPS}),
        ):
            title = f"Change of the output for one level of change of the input, {how}: {of}"
            probed = {**facts, "images_probed": len(values)}
            name = f"sensitivity{suffix}_{kind}"
            figures.append(_figure(found, name, title, _mean(values), unit=LEVELS, facts=probed))
    return figures
