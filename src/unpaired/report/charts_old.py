"""Which charts a report shows: those of one run with its losses in it, or of several with one line per run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from unpaired.report.chart_old import LONGEST_LABEL, Chart, Line
from unpaired.report.logged_metrics import logged_metric
from unpaired.report.measured import MeasuredChart
from unpaired.report.run_curves import LOSS_GROUPS, OTHER_LOSSES
from unpaired.report.run_curves import Chart as LoggedChart
from unpaired.report.runs import Run

MOST_POINTS = 150
"""Of a line in a chart; that is more than its width can show."""
SMOOTHED = 25
"""A noisy line is averaged over a window of one in so many of its points."""
IMAGES = "images seen"
Points = list[tuple[float, float]]


def training_charts(runs: Sequence[Run]) -> list[Chart]:
    """Return the charts of losses, learning rates, speed and waiting."""
    if len(runs) == 1:
        return [_of_one(runs[0], chart) for chart in runs[0].curves.charts]
    charts = []
    titles = [*LOSS_GROUPS.values(), OTHER_LOSSES]  # the others come after them, as they do for one run
    lines_of_all = dict.fromkeys((c.title, name) for run in runs for c in run.curves.charts for name in c.lines)
    order = [*titles, *dict.fromkeys(title for title, _ in lines_of_all if title not in titles)]
    for title, name in sorted(lines_of_all, key=lambda line: order.index(line[0])):
        found = [(run, chart) for run in runs for chart in run.curves.charts if chart.title == title]
        logged = found[0][1]
        lines = [
            Line(
                name=f"{run.number} {run.name}",
                label=str(run.number),
                points=_points(run.curves.images, chart.lines[name], chart.smooth),
                style=run.number - 1,
            )
            for run, chart in found
            if name in chart.lines
        ]
        alone = len(logged.lines) == 1 and logged.unit != "loss"
        heading = title if alone else name if logged.unit == "loss" else f"{title}: {name}"
        charts.append(Chart(title=heading, x_label=IMAGES, y_label=logged.unit, lines=lines, note=_note(logged)))
    return [chart for chart in charts if any(line.points for line in chart.lines)]


def evaluation_charts(runs: Sequence[Run]) -> list[Chart]:
    """Return the charts of what training measured on the held-out images; the best checkpoints are ringed."""
    names = dict.fromkeys(name for run in runs for moment in run.moments for name in moment.values)
    groups: dict[str, list[str]] = {}
    for name in names:
        known = logged_metric(name)
        groups.setdefault(known.title if known else name, []).append(name)
    charts = []
    for own in groups.values():
        title, unit = _told(own[0])
        if len(runs) == 1:
            lines = [
                _of_moments(runs[0], name, name, _direction(name) or name, place) for place, name in enumerate(own)
            ]
            charts.append(Chart(title=title, x_label=IMAGES, y_label=unit, lines=lines, note=_ringed(lines)))
            continue
        for name in own:
            lines = [
                _of_moments(run, name, f"{run.number} {run.name}", str(run.number), run.number - 1) for run in runs
            ]
            heading = f"{title}, {way}" if (way := _direction(name)) else title
            charts.append(Chart(title=heading, x_label=IMAGES, y_label=unit, lines=lines, note=_ringed(lines)))
    return charts


def measured_chart(chart: MeasuredChart) -> Chart:
    """Return a chart of an audit."""
    # Long names do not fit beside the plot: numbers stand there, and in the legend before the names.
    long = any(len(line.name) > LONGEST_LABEL for line in chart.lines)
    lines = [
        Line(
            name=f"{place + 1} {line.name}" if long else line.name,
            label=str(place + 1) if long else line.name,
            points=_known(line.x, line.y),
            style=place,
        )
        for place, line in enumerate(chart.lines)
    ]
    return Chart(
        title=chart.title,
        x_label=chart.x_label,
        y_label=chart.y_label,
        lines=lines,
        note=chart.note,
        log_x=chart.x_scale == "log",
    )


def _of_one(run: Run, chart: LoggedChart) -> Chart:
    few = len(chart.lines) <= 4
    lines = []
    for place, (name, values) in enumerate(chart.lines.items()):
        noisy = chart.smooth and _window(len(values)) > 1
        lines.append(
            Line(
                name=name,
                label=_label(name, list(chart.lines)),
                points=_points(run.curves.images, values, chart.smooth),
                faint=_points(run.curves.images, values, False) if noisy and few else (),
                style=place,
            )
        )
    return Chart(title=chart.title, x_label=IMAGES, y_label=chart.unit, lines=lines, note=_note(chart, faint=few))


def _label(name: str, names: Sequence[str]) -> str:
    """Return what tells a line from the others of its chart: `a2b` of `gan_a2b`; nothing where it is alone."""
    if len(names) == 1:
        return ""
    first = name.partition("_")[0]
    alike = all(other.startswith(f"{first}_") for other in names)
    return name.removeprefix(f"{first}_") if alike else name


def _note(chart: LoggedChart, *, faint: bool = False) -> str:
    count = max((len(values) for values in chart.lines.values()), default=0)
    if not chart.smooth or _window(count) == 1:
        return ""
    return f"Mean over {_window(count)} logged values{'; faint: as logged' if faint else ''}."


def _window(count: int) -> int:
    return max(1, count // SMOOTHED // 2 * 2 + 1) if count >= 2 * SMOOTHED else 1


def _points(images: Sequence[int], line: Sequence[float | None], smooth: bool) -> Points:
    """Return at most `MOST_POINTS` points, running means where `smooth`."""
    known = _known(images, line)
    if not known:
        return []
    xs, ys = (np.array(column, np.float64) for column in zip(*known, strict=True))
    window = _window(len(ys)) if smooth else 1
    if window > 1:
        sums = np.concatenate([[0.0], np.cumsum(ys)])
        places = np.arange(len(ys))
        half = np.minimum(window // 2, np.minimum(places, len(ys) - 1 - places))  # narrower at the ends, never beyond
        ys = (sums[places + half + 1] - sums[places - half]) / (2 * half + 1)
    chosen = np.unique(np.linspace(0, len(ys) - 1, min(len(ys), MOST_POINTS)).round().astype(np.int64))
    return [(float(x), float(y)) for x, y in zip(xs[chosen], ys[chosen], strict=True)]


def _known(xs: Iterable[float | None], ys: Iterable[float | None]) -> Points:
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=False) if x is not None and y is not None]


def _of_moments(run: Run, name: str, title: str, label: str, style: int) -> Line:
    points = [(float(moment.images), moment.values[name]) for moment in run.moments if name in moment.values]
    best = next((point for point in points if point[0] == run.best), None)
    return Line(name=title, label=label, points=points, style=style, best=best)


def _ringed(lines: Sequence[Line]) -> str:
    return "Ringed: the best checkpoint." if any(line.best for line in lines) else ""


def _told(name: str) -> tuple[str, str]:
    """Return the heading and the unit of a figure; of one that this version does not know its name."""
    metric = logged_metric(name)
    return (metric.heading, metric.unit) if metric else (name, "")


def _direction(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in ("a2b", "b2a") else ""
