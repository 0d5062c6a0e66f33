"""What was measured as lines: error over strength, beside what an honest copy would lose, and the spectra."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from unpaired.audit.disturb import INVISIBLE_DB, Family
from unpaired.audit.measure import Measured, Outcome
from unpaired.audit.spectrum import Spectrum

FAMILIES: dict[Family, str] = {"noise": "noise", "jpeg": "JPEG", "blur": "blur", "snap": "snapped to the palette"}
"""The kinds of disturbances that are drawn, and their names there."""
HONEST = "honest copy, "
"""Begins the name of a line without a model: the same disturbance of the input itself."""
CHANCE = "nothing survives"
"""The error of another image's reconstruction."""
CLEAN = "undisturbed"
"""The error of the reconstruction from the translation as it is."""
UNSEEN = 255 / 10 ** (INVISIBLE_DB / 20)
"""Levels, root mean square, up to which a change counts as invisible."""
_SMALLEST = 1e-12
"""A spectrum's power is never drawn below this share of its largest value."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one line, x rising."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines that share their axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_scale: Literal["linear", "log"] = "linear"
    note: str = ""
    """What helps to read it."""

    def to_json(self) -> dict[str, Any]:
        """Return what `audit.json` holds."""
        lines = [{"name": line.name, "x": list(line.x), "y": list(line.y)} for line in self.lines]
        labels = {"title": self.title, "x_label": self.x_label, "y_label": self.y_label}
        return {**labels, "x_scale": self.x_scale, "note": self.note, "lines": lines}


def error_curve(measured: Measured, title: str) -> Curve:
    """Return the error of the reconstruction over how far the translation was changed, kind by kind."""
    lines = []
    for family, name in FAMILIES.items():
        found = [outcome for outcome in measured.outcomes if outcome.disturbance.family == family]
        points = sorted(
            (_change(outcome), float(outcome.error.mean()), _honest(measured, outcome)) for outcome in found
        )
        if not points:
            continue
        places = tuple(x for x, _, _ in points)
        lines.append(Line(name, places, tuple(y for _, y, _ in points)))
        honest = [(x, copy) for x, _, copy in points if copy is not None]
        if honest:
            lines.append(Line(HONEST + name, tuple(x for x, _ in honest), tuple(copy for _, copy in honest)))
    reach = sorted(x for line in lines for x in line.x)
    ends = (reach[0], reach[-1])
    clean = float(measured.clean.error.mean())
    lines.append(Line(CLEAN, ends, (clean, clean)))
    if measured.chance is not None:
        chance = float(measured.chance.mean())
        lines.append(Line(CHANCE, ends, (chance, chance)))
    return Curve(
        title,
        "change of the translation (root mean square, levels of 255)",
        "error of the reconstruction (mean, levels of 255)",
        tuple(lines),
        x_scale="log",
        note=f"A change of at most {UNSEEN:.1f} levels ({INVISIBLE_DB:g} dB) cannot be seen.",
    )


def spectrum_curve(translated: Spectrum, real: Spectrum, target: str) -> Curve:
    """Return both radial power spectra, in dB below the largest value of the real images'."""
    largest = float(real.power.max()) or 1.0
    lines = [
        Line(name, tuple(map(float, found.frequencies)), tuple(_decibel(float(p) / largest) for p in found.power))
        for name, found in (("translations", translated), (f"real images of {target}", real))
    ]
    return Curve(
        f"Radial power spectrum of translations into {target}",
        "frequency (share of the Nyquist frequency)",
        "power (dB below the largest of the real images)",
        tuple(lines),
    )


def _change(outcome: Outcome) -> float:
    return math.sqrt(float(outcome.change.mean()))


def _honest(measured: Measured, outcome: Outcome) -> float | None:
    """Return the error that an honest copy with this model's own error would have."""
    if outcome.copy is None:
        return None
    return float(np.hypot(measured.clean.error.mean(), outcome.copy.mean()))


def _decibel(share: float) -> float:
    return 10 * math.log10(max(share, _SMALLEST))
