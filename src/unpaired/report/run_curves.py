"""A run's records as curves: grouped, and thinned to what a screen can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.report import results
from unpaired.report.logged_metrics import LOGGED, logged_metric
from unpaired.report.run_log import declared_terms, means_among

IMAGES = "images seen"
NOISY = 50
"""Lines of at least so many values are drawn as running means."""
NOTE = "Running mean; faint: as logged."
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines that share their axes; a value is None where there was no finite one."""

    title: str
    unit: str
    smooth: bool = True
    """Whether the values are noisy, so that a smoothed line helps."""
    lines: dict[str, list[float | None]]
    images: list[int] | None = None
    """Images seen at each point, where they are others than those of the other charts."""
    best: int | None = None
    """Images seen at the best evaluation, in charts of evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Charts over common positions."""

    images: list[int]
    """Images seen at each point: the last of the records that it stands for."""
    charts: list[Chart]


def curves_of(records: Sequence[Mapping[str, Any]]) -> Curves:
    """Return the curves of a run's records (events are passed over), at most `MOST_POINTS` points each."""
    measured = [record for record in means_among(records) if _is_number(record.get("images"))]
    evaluated = [record for record in records if "evaluation" in record and _is_number(record.get("images"))]
    if not measured:
        return Curves(images=[], charts=_evaluations(evaluated))
    starts = _bucket_starts(len(measured))
    ends = np.append(starts[1:], len(measured)) - 1
    groups: dict[str, list[str]] = {title: [] for title in LOSS_KINDS.values()}
    kinds = _OLD_KINDS | declared_terms(records)
    for name in _names(measured, "losses"):
        groups[LOSS_KINDS.get(kinds.get(name, "other"), LOSS_KINDS["other"])].append(name)

    charts = [
        Chart(title=title, unit="loss", lines={name: _line(measured, "losses", name, starts) for name in names})
        for title, names in groups.items()
        if names
    ]
    charts += _evaluations(evaluated)
    rates = _names(measured, "learning_rates")
    if rates:
        lines = {name: _line(measured, "learning_rates", name, starts) for name in rates}
        charts.append(Chart(title="Learning rate", unit="learning rate", smooth=False, lines=lines))
    speed = {"images_per_second": _line(measured, None, "images_per_second", starts)}
    waiting = [None if share is None else share * 100 for share in _line(measured, None, "waiting_share", starts)]
    charts.append(Chart(title="Speed", unit="images per second", lines=speed))
    charts.append(Chart(title="Waiting for data", unit="% of the time", lines={"waiting": waiting}))
    return Curves(images=[int(measured[end]["images"]) for end in ends], charts=charts)


def charts_of(curves: Curves, marks: Sequence[results.Mark] = ()) -> list[results.Chart]:
    """Return the curves of one run as charts."""
    found = []
    for chart in curves.charts:
        names = list(chart.lines)
        first = names[0].partition("_")[0]
        shared = f"{first}_" if len(names) > 1 and all(name.startswith(f"{first}_") for name in names) else ""
        if all(name[-4:] in ("_a2b", "_b2a") for name in names):
            shared = names[0][:-3]
        xs = tuple(chart.images or curves.images)
        lines = tuple(
            results.Line(
                name=name.removeprefix(shared) if len(names) > 1 else name, x=xs, y=tuple(values), best=chart.best
            )
            for name, values in chart.lines.items()
        )
        found.append(
            results.Chart(
                title=chart.title,
                x_label=IMAGES,
                y_label=chart.unit,
                smooth=chart.smooth,
                marks=tuple(marks),
                note=NOTE if is_noisy(chart) else "Ringed: the best evaluation." if chart.best is not None else "",
                lines=lines,
            )
        )
    return found


def is_noisy(chart: Chart) -> bool:
    """Return whether running means are drawn in place of a chart's values."""
    return chart.smooth and any(len(line) >= NOISY for line in chart.lines.values())


def _evaluations(records: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return one chart per measure of the evaluations on held-out images; one of another version by its name."""
    if not records:
        return []
    starts = _bucket_starts(len(records))
    ends = np.append(starts[1:], len(records)) - 1
    groups: dict[tuple[str, str], list[str]] = {(each.heading, each.unit): [] for each in LOGGED.values()}
    for key in _names(records, "evaluation"):
        metric = logged_metric(key)
        groups.setdefault((metric.heading, metric.unit) if metric else (key, ""), []).append(key)
    return [
        Chart(
            title=title,
            unit=unit,
            smooth=False,
            lines={key: _line(records, "evaluation", key, starts) for key in keys},
            images=[int(records[end]["images"]) for end in ends],
            best=max((int(record["images"]) for record in records if record.get("best")), default=None),
        )
        for (title, unit), keys in groups.items()
        if keys
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _names(records: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """Return the names that occur in `part` of any record, in the order of their first occurrence."""
    return list(dict.fromkeys(name for record in records for name in record.get(part) or ()))


def _bucket_starts(count: int) -> NDArray[np.int64]:
    return np.unique(np.arange(MOST_POINTS, dtype=np.int64) * count // MOST_POINTS)


def _line(
    records: Sequence[Mapping[str, Any]], part: str | None, name: str, starts: NDArray[np.int64]
) -> list[float | None]:
    """Return the mean of the finite values of each bucket, None where there is none, with five digits."""
    places = records if part is None else [record.get(part) or {} for record in records]
    found = [place.get(name) for place in places]
    values = np.array([value if _is_number(value) else math.nan for value in found], np.float64)
    finite = np.isfinite(values)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    counts = np.add.reduceat(finite.astype(np.int64), starts)
    return [float(f"{total / n:.5g}") if n else None for total, n in zip(sums.tolist(), counts.tolist(), strict=True)]
