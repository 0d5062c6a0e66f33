"""The part of the page that holds the curves: charts, their legends, and the same in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from unpaired.report.chart_old import Chart, draw, sample
from unpaired.report.charts_old import evaluation_charts, training_charts
from unpaired.report.markup import empty, folded, number, section, table, text
from unpaired.report.runs import Run


def curves(runs: Sequence[Run]) -> str:
    """Return what was evaluated, then losses, learning rates and speed; of several runs one line each."""
    evaluated, trained = evaluation_charts(runs), training_charts(runs)
    silent = [run for run in runs if not run.curves.images]
    body = "".join(empty(f"{text(run.name)}: nothing has been logged yet.") for run in silent)
    if not evaluated and trained:
        body += empty("Nothing was evaluated during the training.")
    if len(runs) > 1 and (evaluated or trained):
        lines = "".join(_entry(f"{run.number} {run.name}", run.number - 1) for run in runs)
        body += f'<ul class="legend shared">{lines}</ul>'
    charts = [*evaluated, *trained]
    shown = "".join(figure_of(chart, f"chart-{place}", legend=len(runs) == 1) for place, chart in enumerate(charts, 1))
    if charts:
        body += f'<div class="charts">{shown}</div>{folded("The curves in numbers", _numbers(charts))}'
    return section("Curves", body, "curves")


def figure_of(chart: Chart, name: str, *, legend: bool = True) -> str:
    """Return a chart with its title, legend and note; `name` begins the ids inside."""
    lines = [line for line in chart.lines if line.points]
    if not lines:
        return f'<figure class="chart"><h4>{text(chart.title)}</h4>{empty("No values.")}</figure>'
    entries = "".join(_entry(line.name, line.style) for line in lines) if legend and len(lines) > 1 else ""
    listed = f'<ul class="legend">{entries}</ul>' if entries else ""
    note = f'<figcaption class="note">{text(chart.note)}</figcaption>' if chart.note else ""
    return f'<figure class="chart"><h4>{text(chart.title)}</h4>{listed}{draw(chart, name)}{note}</figure>\n'


def _entry(name: str, style: int) -> str:
    return f"<li>{sample(style)}{text(name)}</li>"


def _numbers(charts: Sequence[Chart]) -> str:
    rows = []
    for chart in charts:
        for line in chart.lines:
            if not line.points:
                continue
            low, high = min(line.points, key=lambda p: p[1]), max(line.points, key=lambda p: p[1])
            rows.append(
                [
                    text(chart.title if line.name == chart.title else f"{chart.title}: {line.name}"),
                    text(chart.y_label),
                    number(line.points[0][1]),
                    f"{number(low[1])} <small>at {number(low[0], 6)}</small>",
                    f"{number(high[1])} <small>at {number(high[0], 6)}</small>",
                    number(line.points[-1][1]),
                ]
            )
    return table("The curves in numbers", ["curve", "unit", "first", "lowest", "highest", "last"], rows)
