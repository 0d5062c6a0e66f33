"""Which charts a report shows: those of one run with its losses together, or of several with one line per run."""

from __future__ import annotations

from collections.abc import Sequence

from unpaired.report.logged_metrics import logged_metric
from unpaired.report.results import Chart, Line
from unpaired.report.run_curves import IMAGES, NOTE, charts_of, is_noisy
from unpaired.report.run_curves import Chart as LoggedChart
from unpaired.report.runs import Run


def evaluation_charts(runs: Sequence[Run]) -> list[Chart]:
    """Return the charts of the evaluations during training; the best checkpoints are ringed."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in runs for moment in run.moments for name in moment.values):
        known = logged_metric(name)
        groups.setdefault(known.heading if known else name, []).append(name)
    charts = []
    for heading, names in groups.items():
        known = logged_metric(names[0])
        unit = known.unit if known else ""
        if len(runs) == 1:
            lines = [_of_moments(runs[0], name, _direction(name) or name, place) for place, name in enumerate(names)]
            charts.append(_evaluated(heading, unit, lines))
            continue
        for name in names:
            lines = [_of_moments(run, name, f"{run.number} {run.name}", run.number - 1) for run in runs]
            way = _direction(name)
            charts.append(_evaluated(f"{heading}, {way}" if way else heading, unit, lines))
    return charts


def training_charts(runs: Sequence[Run]) -> list[Chart]:
    """Return the charts of losses, learning rates, speed and waiting."""
    if len(runs) == 1:
        return charts_of(runs[0].curves)
    charts = []
    for title, name in dict.fromkeys((c.title, name) for run in runs for c in run.curves.charts for name in c.lines):
        found = [(run, chart) for run in runs for chart in run.curves.charts if chart.title == title]
        logged = found[0][1]
        lines = [
            _line(f"{run.number} {run.name}", str(run.number), run.curves.images, chart.lines[name], run.number - 1)
            for run, chart in found
            if name in chart.lines
        ]
        alone = len(logged.lines) == 1 and logged.unit != "loss"
        heading = title if alone else name if logged.unit == "loss" else f"{title}: {name}"
        charts.append(_trained(heading, logged, lines))
    return charts


def _trained(title: str, logged: LoggedChart, lines: Sequence[Line]) -> Chart:
    return Chart(
        title=title,
        x_label=IMAGES,
        y_label=logged.unit,
        smooth=logged.smooth,
        note=NOTE if is_noisy(logged) else "",
        lines=tuple(lines),
    )


def _evaluated(title: str, unit: str, lines: Sequence[Line]) -> Chart:
    ringed = any(line.best is not None for line in lines)
    note = "Ringed: the best checkpoint." if ringed else ""
    return Chart(title=title, x_label=IMAGES, y_label=unit, note=note, lines=tuple(line for line in lines if line.x))


def _of_moments(run: Run, name: str, title: str, style: int) -> Line:
    points = [(moment.images, moment.values[name]) for moment in run.moments if name in moment.values]
    best = run.best if any(images == run.best for images, _ in points) else None
    label = title if title in ("a2b", "b2a") else str(run.number)
    xs, ys = tuple(x for x, _ in points), tuple(y for _, y in points)
    return Line(name=title, label=label, x=xs, y=ys, style=style, best=best)


def _line(name: str, label: str, xs: Sequence[int], ys: Sequence[float | None], style: int) -> Line:
    known = [(x, y) for x, y in zip(xs, ys, strict=False) if y is not None]
    return Line(name=name, label=label, x=tuple(x for x, _ in known), y=tuple(y for _, y in known), style=style)


def _direction(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in ("a2b", "b2a") else ""
