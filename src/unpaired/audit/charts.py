"""Charts of an audit: error over strength, with the same disturbance of a plain copy, and the power spectra."""

from __future__ import annotations

import math

import numpy as np

from unpaired.audit.disturb import INVISIBLE_DB, Family
from unpaired.audit.measure import Effect, Reconstructions
from unpaired.audit.spectrum import Spectrum
from unpaired.report.results import Chart, Line

FAMILIES: dict[Family, str] = {"noise": "noise", "jpeg": "JPEG", "blur": "blur", "snap": "snapped to the palette"}
"""The disturbances that are drawn, and their names there."""
COPY = "plain copy, "
"""Prefix of a line without a model: the same disturbance of the input itself."""
CHANCE = "another image's reconstruction"
CLEAN = "undisturbed"
INVISIBLE = 255 / 10 ** (INVISIBLE_DB / 20)
"""Levels, root mean square, up to which a change counts as invisible."""
_SMALLEST = 1e-12
"""Share of the largest power at which a spectrum is cut off."""


def error_chart(found: Reconstructions, title: str) -> Chart:
    """Return the error of the reconstruction over the change of the translation, family by family."""
    lines = []
    for family, name in FAMILIES.items():
        effects = [effect for effect in found.effects if effect.disturbance.family == family]
        points = sorted((_change(each), float(each.error.mean()), _copy_error(found, each)) for each in effects)
        if points:
            lines.append(Line(name=name, x=tuple(x for x, _, _ in points), y=tuple(y for _, y, _ in points)))
        copies = [(x, copy) for x, _, copy in points if copy is not None]
        if copies:
            x, y = zip(*copies, strict=True)
            lines.append(Line(name=COPY + name, x=x, y=y, reference=True))
    reach = [x for line in lines for x in line.x if x is not None]
    for name, label, errors in ((CLEAN, CLEAN, found.clean.error), (CHANCE, "other image", found.chance)):
        if errors is not None:
            level = (float(errors.mean()),) * 2
            lines.append(Line(name=name, label=label, x=(min(reach), max(reach)), y=level, reference=True))
    return Chart(
        title=title,
        x_label="change of the translation (root mean square, levels of 255)",
        y_label="error of the reconstruction (mean, levels of 255)",
        x_scale="log",
        note=f"A change of at most {INVISIBLE:.1f} levels ({INVISIBLE_DB:g} dB) cannot be seen. Thin: the same "
        "disturbance of a plain copy of the input; level: without a disturbance, and another image's reconstruction.",
        shaded_to=INVISIBLE,
        shaded_label=f"cannot be seen ({INVISIBLE_DB:g} dB or more)",
        lines=tuple(lines),
    )


def spectrum_chart(translated: Spectrum, real: Spectrum, target: str) -> Chart:
    """Return both radial power spectra, in dB below the largest value of the real images'."""
    largest = float(real.power.max()) or 1.0
    return Chart(
        title=f"Radial power spectrum of translations into {target}",
        x_label="frequency (share of the Nyquist frequency)",
        y_label="power (dB below the largest of the real images)",
        lines=tuple(
            Line(
                name=name,
                x=tuple(map(float, found.frequencies)),
                y=tuple(10 * math.log10(max(float(power) / largest, _SMALLEST)) for power in found.power),
            )
            for name, found in (("translations", translated), (f"real images of {target}", real))
        ),
    )


def _change(effect: Effect) -> float:
    return math.sqrt(float(effect.change.mean()))


def _copy_error(found: Reconstructions, effect: Effect) -> float | None:
    """Return the error that a plain copy would have with this model's own error."""
    return None if effect.copy is None else float(np.hypot(found.clean.error.mean(), effect.copy.mean()))
