"""A run's records as curves, thinned to what a screen can show, and the charts of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unpaired.report.results import Better, Chart, Line, Mark
from unpaired.report.run_log import declared_terms, means_among

if TYPE_CHECKING:
    from unpaired.report.runs import Run

IMAGES = "images seen"
NOISY = 50
"""Lines of at least so many values are drawn as running means."""
MOST_POINTS = 2000
"""Points per line; more records than this are averaged in buckets."""

LOSS_KINDS: dict[str, str] = {
    "adversarial": "Generators: adversarial loss",
    "cycle": "Cycle consistency loss",
    "identity": "Identity loss",
    "reconstruction": "Reconstruction loss",
    "contrastive": "Contrastive loss",
    "regularization": "Regularization loss",
    "discriminator": "Discriminators: adversarial loss",
    "other": "Other losses",
}
"""Kind of a loss term, as its method declares it in the log -> title of the chart that it belongs to."""
_OLD_KINDS = {
    **dict.fromkeys(("gan", "gan_a2b", "gan_b2a", "gan_a", "gan_b"), "adversarial"),
    **dict.fromkeys(("cycle", "cycle_a", "cycle_b"), "cycle"),
    **dict.fromkeys(("identity", "identity_a", "identity_b"), "identity"),
    **dict.fromkeys(("discriminator", "discriminator_a", "discriminator_b"), "discriminator"),
    "nce": "contrastive",
    "l1": "reconstruction",
    "regularization": "regularization",
}
"""Terms of logs that declare no kinds (version 0.1)."""


class LoggedMetric(NamedTuple):
    """One metric of the evaluations during training; in the log the direction follows its name: `swd_a2b`."""

    title: str
    unit: str
    better: Better


LOGGED: dict[str, LoggedMetric] = {
    "swd": LoggedMetric("Sliced Wasserstein distance", "distance x 1000", "lower"),
    "colour": LoggedMetric("Colour distance", "levels of 255", "lower"),
    "frechet": LoggedMetric("Fréchet distance", "distance", "lower"),
    "kernel": LoggedMetric("Kernel distance", "distance", "lower"),
    "structure_edges": LoggedMetric("Structure distance (edges)", "1 - correlation", "lower"),
    "l1": LoggedMetric("L1 to the true image", "mean absolute difference", "lower"),
    "ssim": LoggedMetric("SSIM to the true image", "similarity", "higher"),
    "psnr": LoggedMetric("PSNR to the true image", "dB", "higher"),
    "reconstruction_l1": LoggedMetric("L1 of the reconstruction", "mean absolute difference", "lower"),
}
"""Name -> metric, in the order in which charts are shown."""


def logged_metric(key: str) -> LoggedMetric | None:
    """Return the metric of a log's key such as `swd_a2b`; None for one of another version."""
    return LOGGED.get(key[:-4]) if _direction(key) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Lines that share their axes; a value is None where there was no finite one."""

    title: str
    unit: str
    smooth: bool = True
    """Whether the values are noisy, so that a smoothed line helps."""
    lines: dict[str, list[float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves over common positions."""

    images: list[int]
    """Images seen at each point: the last of the records that it stands for."""
    charts: list[Curve]


def curves_of(records: Sequence[Mapping[str, Any]]) -> Curves:
    """Return the losses, learning rates, speed and waiting of a run's records, at most `MOST_POINTS` points each."""
    measured = [record for record in means_among(records) if "images" in record]
    if not measured:
        return Curves(images=[], charts=[])
    starts = np.unique(np.arange(MOST_POINTS, dtype=np.int64) * len(measured) // MOST_POINTS)
    ends = np.append(starts[1:], len(measured)) - 1

    def lines(part: str) -> dict[str, list[float | None]]:
        found = [record.get(part, {}) for record in measured]
        return {
            name: line([each.get(name) for each in found]) for name in dict.fromkeys(n for each in found for n in each)
        }

    def line(found: Sequence[float | None]) -> list[float | None]:
        """Return the mean of the finite values of each bucket, None where there is none, with five digits."""
        values = np.array(found, np.float64)
        finite = np.isfinite(values)
        with np.errstate(over="ignore"):  # a sum that is too large is left out by the chart
            sums = np.add.reduceat(np.where(finite, values, 0.0), starts).tolist()
        counts = np.add.reduceat(finite.astype(np.int64), starts).tolist()
        return [float(f"{total / n:.5g}") if n else None for total, n in zip(sums, counts, strict=True)]

    kinds = _OLD_KINDS | declared_terms(records)
    groups: dict[str, dict[str, list[float | None]]] = {title: {} for title in LOSS_KINDS.values()}
    for name, values in lines("losses").items():
        groups[LOSS_KINDS.get(kinds.get(name, "other"), LOSS_KINDS["other"])][name] = values
    charts = [Curve(title=title, unit="loss", lines=found) for title, found in groups.items() if found]
    if rates := lines("learning_rates"):
        charts.append(Curve(title="Learning rate", unit="learning rate", smooth=False, lines=rates))
    speed = {"images_per_second": line([record.get("images_per_second") for record in measured])}
    waiting = [None if share is None else share * 100 for share in line([r.get("waiting_share") for r in measured])]
    charts.append(Curve(title="Speed", unit="images per second", lines=speed))
    charts.append(Curve(title="Waiting for data", unit="% of the time", lines={"waiting": waiting}))
    return Curves(images=[int(measured[end]["images"]) for end in ends], charts=charts)


def training_charts(runs: Sequence[Run], marks: Sequence[Mark] = ()) -> list[Chart]:
    """Return the charts of losses, learning rates, speed and waiting: one run's losses together, or a line per run."""
    found = dict.fromkeys((curve.title, name) for run in runs for curve in run.curves.charts for name in curve.lines)
    groups: dict[str, list[str]] = {}
    for title, name in found:
        groups.setdefault(title, []).append(name)
    charts = []
    for title, names in groups.items():
        of_runs = [(run, curve) for run in runs for curve in run.curves.charts if curve.title == title]
        curve = of_runs[0][1]
        if len(runs) == 1:
            prefix = _shared_prefix(names)
            lines = [Line(name=n.removeprefix(prefix), x=runs[0].curves.images, y=curve.lines[n]) for n in names]
            charts.append(_trained(title, curve, lines, marks))
            continue
        for name in names:
            lines = [
                _line(run, [*zip(run.curves.images, own.lines[name], strict=False)])
                for run, own in of_runs
                if name in own.lines
            ]
            alone = len(curve.lines) == 1 and curve.unit != "loss"
            heading = title if alone else name if curve.unit == "loss" else f"{title}: {name}"
            charts.append(_trained(heading, curve, lines, marks))
    return charts


def evaluation_charts(runs: Sequence[Run], marks: Sequence[Mark] = ()) -> list[Chart]:
    """Return the charts of the evaluations during training; the best checkpoints are ringed."""
    names = dict.fromkeys(name for run in runs for moment in run.moments for name in moment.values)
    by_metric: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names, key=lambda name: [*LOGGED].index(name[:-4]) if logged_metric(name) else len(LOGGED)):
        known = logged_metric(name)
        title = (f"{known.title} ({known.better} is better)", known.unit) if known else (name, "")
        by_metric.setdefault(title, []).append(name)
    charts = []
    for (heading, unit), own in by_metric.items():
        for together in [own] if len(runs) == 1 else [[name] for name in own]:
            way = _direction(together[0])
            lines = [
                _line(run, points, "" if len(runs) > 1 else _direction(name) or name, place, run.best)
                for run in runs
                for place, name in enumerate(together)
                if (points := [(moment.images, moment.values.get(name)) for moment in run.moments])
            ]
            ringed = any(line.best is not None for line in lines)
            charts.append(
                Chart(
                    title=f"{heading}, {way}" if way and len(runs) > 1 else heading,
                    x_label=IMAGES,
                    y_label=unit,
                    note="Ringed: the best checkpoint." if ringed else "",
                    marks=tuple(marks),
                    lines=tuple(line for line in lines if line.x),
                )
            )
    return charts


def _trained(title: str, curve: Curve, lines: Sequence[Line], marks: Sequence[Mark]) -> Chart:
    noisy = curve.smooth and any(len(line.x) >= NOISY for line in lines)
    return Chart(
        title=title,
        x_label=IMAGES,
        y_label=curve.unit,
        smooth=curve.smooth,
        note="Running mean; faint: as logged." if noisy else "",
        marks=tuple(marks),
        lines=tuple(lines),
    )


def _line(
    run: Run,
    points: Sequence[tuple[int, float | None]],
    name: str = "",
    style: int | None = None,
    best: int | None = None,
) -> Line:
    """Return the points that have values as a line: of a run among others, or of `name` within one."""
    known = [(x, y) for x, y in points if y is not None]
    return Line(
        name=name or f"{run.number} {run.name}",
        label=(name if _direction(f"_{name}") else None) if name else str(run.number),
        x=tuple(x for x, _ in known),
        y=tuple(y for _, y in known),
        style=style if name else run.number - 1,
        best=best if any(x == best for x, _ in known) else None,
    )


def _shared_prefix(names: Sequence[str]) -> str:
    """Return what all of several names begin with, which the title of their chart says: `cycle_`, `swd_`."""
    if len(names) < 2:
        return ""
    if all(map(_direction, names)):
        return names[0][:-3]
    first = f"{names[0].partition('_')[0]}_"
    return first if all(name.startswith(first) for name in names) else ""


def _direction(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in ("a2b", "b2a") and name != last else ""
