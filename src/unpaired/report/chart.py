"""Line charts as SVG, drawn here, so that they need no script: in pages, and as files of their own.

Own code rather than a library, after trying: for four lines of 300 points pygal writes 44 kB with fixed colours,
matplotlib 37 kB after an import of 0.45 s, Vega-Embed and Plotly need 0.8 MB and more of JavaScript and show nothing
without it. These are 6 to 9 kB, follow the page's light, dark and print colours, and differ by dashes and markers too.
`assets/chart.js` adds reading of values by pointer and keyboard, and smoothing.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unpaired.core.text import number, plain
from unpaired.report.results import Chart, Line, Table

WIDTH, HEIGHT = 440, 216
TOP, BOTTOM, SIDE = 24, 38, 10
LETTER, BOLD = 7.2, 7.2
"""Mean width of a letter of the axes and of labels."""
DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4", "4 2 1 2 1 2", "1 4", "18 3 3 3")
MARKERS = (
    "M-3.5,0a3.5,3.5 0 1,0 7,0a3.5,3.5 0 1,0 -7,0z",  # circle
    "M-3.2,-3.2h6.4v6.4h-6.4z",  # square
    "M0,-4.2L4,3H-4z",  # triangle
    "M0,-4.6L4.6,0L0,4.6L-4.6,0z",  # diamond
    "M-3.4,-3.4L3.4,3.4M-3.4,3.4L3.4,-3.4",  # cross
    "M-4.4,0H4.4M0,-4.4V4.4",  # plus
    "M0,4.2L4,-3H-4z",  # triangle on its tip
    "M-4.2,-1.6H4.2M-4.2,1.6H4.2",  # two bars
    "M0,-4.6L1.2,-1.5L4.4,-1.4L1.9,0.6L2.7,3.7L0,1.9L-2.7,3.7L-1.9,0.6L-4.4,-1.4L-1.2,-1.5z",  # star
)
COLOURS = 6
"""Colours of the style sheet; further lines differ by dashes and markers."""
MANY = 15
"""Lines of at most so many points have a marker at each."""
MOST_POINTS = 240
"""Of a drawn line: more than its width shows."""
SMOOTHED = 25
"""A noisy line is averaged over one in so many of its points."""
LABEL_HEIGHT, LONGEST_LABEL = 13, 16
MOST_FAINT = 4
"""Lines as they were logged are drawn behind the smoothed ones where there are no more than so many."""
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: the values at its ends, where these lie in the picture, and its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value lies; what is beyond the ends lies at them."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line with everything that decides how it looks."""

    line: Line
    points: Points
    faint: Points
    style: int
    label: str

    @property
    def best(self) -> tuple[float, float] | None:
        """The point that is ringed."""
        return next((point for point in points_of(self.line) if point[0] == self.line.best), None)


def svg(chart: Chart, name: str, *, epoch: float | None = None) -> Markup:
    """Return a chart as one SVG element, without its title; `name` begins the ids inside.

    `epoch` is how much of x an epoch is, where the script is to read values in epochs too.
    """
    plot = _plot(chart)
    frame = {axis: [a.low, a.high, a.start, a.end, a.is_log] for axis, a in (("x", plot["x"]), ("y", plot["y"]))}
    data = json.dumps({**frame, "label": chart.x_label, "epoch": epoch}, separators=(",", ":"))
    return Markup(_drawing().chart(plot, name, data, description(chart)))


def svg_file(charts: Sequence[Chart]) -> str:
    """Return charts, one below the other with titles, legends and notes, as a whole SVG file with its own styles."""
    parts, top = [], 8
    for chart in charts:
        plot, heading = _plot(chart), top + 14
        named = plot["lines"] if has_legend(plot["lines"]) else []
        rows = (len(named) + 1) // 2 * 16 + 6 if named else 0
        notes = textwrap.wrap(chart.note, int((WIDTH - 8) / LETTER))
        parts.append({"plot": plot, "heading": heading, "named": named, "top": top + 24 + rows, "notes": notes})
        top += 24 + rows + HEIGHT + 4 + 15 * len(notes) + 14
    described = " ".join(f"{chart.title}: {description(chart)}" for chart in charts)
    title = "; ".join(chart.title for chart in charts)
    return str(_drawing().file(parts, top, title, described, Markup(stylesheet()))) + "\n"


@cache
def stylesheet() -> str:
    """Return the styles of charts, also those of a file that stands alone."""
    return (files("unpaired.report") / "assets" / "chart.css").read_text(encoding="utf-8")


def templates(*packages: str) -> Environment:
    """Return the templates of packages: text is escaped, and what HTML and XML cannot hold is a question mark."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in dict.fromkeys(packages)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )


@cache
def _drawing() -> Any:
    environment = templates("unpaired.report")
    environment.globals.update(width=WIDTH, height=HEIGHT, plot_top=TOP, bottom=HEIGHT - BOTTOM, letter=LETTER)
    environment.globals.update(dashes=DASHES, markers=MARKERS, colours=COLOURS)
    environment.globals.update(marked=_marked, labels=_labels, tick=_tick, path=_path)
    environment.filters["json"] = lambda values: json.dumps([float(f"{v:.6g}") for v in values], separators=(",", ":"))
    return environment.get_template("chart.svg").module


def legend(chart: Chart) -> list[tuple[Markup, str]]:
    """Return a sample and the name of every line where the labels in the chart do not say it; else nothing."""
    lines = drawn_lines(chart)
    return [(Markup(_drawing().alone(each)), each.line.name) for each in lines] if has_legend(lines) else []


def has_legend(lines: Sequence[Drawn]) -> bool:
    """Return whether a chart's lines need a legend."""
    return len(lines) > 1 and any(each.label != each.line.name and not each.line.reference for each in lines)


def description(chart: Chart) -> str:
    """Return what a chart shows as text, for readers who cannot see it."""
    parts = [f"{chart.y_label or chart.title} over {chart.x_label}."]
    for line in chart.lines:
        if not (points := points_of(line)):
            continue
        (x0, y0), (x1, y1) = points[0], points[-1]
        low, high = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
        parts.append(
            f"{line.name}: from {number(y0, 3)} at {number(x0, 6)} to {number(y1, 3)} at {number(x1, 6)}; "
            f"lowest {number(low[1], 3)} at {number(low[0], 6)}, highest {number(high[1], 3)} at {number(high[0], 6)}."
        )
    return " ".join(parts)


def numbers(charts: Sequence[Chart]) -> Table:
    """Return first, lowest, highest and last value of every line."""
    rows = []
    for chart in charts:
        for line in chart.lines:
            if values := [y for _, y in points_of(line)]:
                name = chart.title if line.name == chart.title else f"{chart.title}: {line.name}"
                rows.append((name, chart.y_label, values[0], min(values), max(values), values[-1]))
    return Table(columns=("curve", "unit", "first", "lowest", "highest", "last"), rows=tuple(rows))


def points_of(line: Line) -> Points:
    """Return the points of a line that have values."""
    return [(float(x), float(y)) for x, y in zip(line.x, line.y, strict=False) if x is not None and y is not None]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round positions, steps of 1, 2 or 5 times a power of ten, that enclose `low` to `high`."""
    largest = max(abs(low), abs(high))
    if largest < 1e-300:  # so close to zero that a share of it may not be a number
        low, high = (0.0, 1.0) if low >= 0 else (-1.0, 0.0) if high <= 0 else (-1.0, 1.0)
    elif high - low <= 1e-6 * largest:  # flat, as far as a chart can show
        low, high = (0.0, low * 2 or 1.0) if low >= 0 else (low * 1.1, high * 0.9)
    raw = (high - low) / max(1, most - 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.10g}") for place in range(first, last + 1)]


def powers(low: float, high: float) -> list[float]:
    """Return powers of two that enclose `low` to `high`, both above 0: at most eight or so, at least two."""
    first = math.floor(math.log2(low) + 1e-9)
    last = max(first + 1, math.ceil(math.log2(high) - 1e-9))
    step = math.ceil((last - first) / 8)
    return [2.0 ** (first + step * place) for place in range(math.ceil((last - first) / step) + 1)]


# ------------------------------------------------------------------------------------------------------ lines and axes


def drawn_lines(chart: Chart) -> list[Drawn]:
    """Return the lines of a chart that have values, thinned, smoothed and styled."""
    ordinary = [line for line in chart.lines if not line.reference]
    long = any(len(line.label if line.label is not None else line.name) > LONGEST_LABEL for line in ordinary)
    found: list[Drawn] = []
    style = -1
    for line in chart.lines:
        if not line.reference:
            style = style + 1 if line.style is None else line.style
        if not (points := points_of(line)):
            continue
        if line.reference:
            label = line.label or ""
        else:
            label = str(style + 1) if long else line.name if line.label is None else line.label
            label = "" if len(ordinary) == 1 and line.label is None else label
        smooth = chart.smooth and len(points) >= 2 * SMOOTHED
        faint = _thinned(points) if smooth and len(ordinary) <= MOST_FAINT else []
        drawn = _smoothed(points) if smooth else points
        found.append(Drawn(line, _thinned(drawn), faint, max(style, 0), label))
    return found


def _smoothed(points: Points) -> Points:
    """Return running means over a window that is narrower at the ends, so that it never reaches beyond them."""
    half = len(points) // SMOOTHED // 2 + 1
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    means = []
    for place, (x, _) in enumerate(points):
        reach = min(half, place, len(points) - 1 - place)
        means.append((x, (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)))
    return means


def _thinned(points: Points) -> Points:
    if len(points) <= MOST_POINTS:
        return points
    places = {round(k * (len(points) - 1) / (MOST_POINTS - 1)) for k in range(MOST_POINTS)}
    return [points[place] for place in sorted(places)]


def _axes_of(chart: Chart, lines: Sequence[Drawn]) -> tuple[Axis, Axis]:
    xs = [x for each in lines for x, _ in each.points] or [0.0, 1.0]
    ys = [y for each in lines for _, y in each.points] or [0.0, 1.0]
    raw = sorted(y for each in lines for _, y in each.faint)
    if raw:  # all but the wildest values as they were logged
        ys += [raw[round(share * (len(raw) - 1))] for share in (0.01, 0.99)]
    y_ticks, y_log = _scale(ys, is_log=chart.y_scale == "log", most=5)
    longest = max((len(_tick(tick)) for tick in y_ticks), default=0)
    left = max(30.0, 10 + longest * LETTER)
    label = max((len(each.label) for each in lines), default=0)
    right = WIDTH - SIDE - (label * BOLD + 6 if label else 0)
    x_ticks, x_log = _scale(xs, is_log=chart.x_scale == "log", most=5)
    low, high = (x_ticks[0], x_ticks[-1]) if x_log else (min(xs), max(xs))
    if not x_log:
        low = 0.0 if 0 <= low < 0.3 * high else low
        if high <= low:  # a single point
            low, high = (0.0, high * 2) if high > 0 else (high - 1, high + 1)
        x_ticks = [tick for tick in ticks(low, high, 6) if low <= tick <= high]
    x = Axis(low, high, left, right, x_ticks, x_log)
    return x, Axis(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, y_ticks, y_log)


def _scale(values: Sequence[float], *, is_log: bool, most: int) -> tuple[list[float], bool]:
    """Return ticks that enclose values, and whether they are those of a logarithmic axis."""
    positive = [value for value in values if value > 0]
    if is_log and positive and min(positive) > 1e-30 and max(positive) < 1e30:
        return powers(min(positive), max(positive)), True
    low, high = min(values), max(values)
    return ticks(0.0 if 0 <= low < 0.45 * high else low, high, most), False


def _tick(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{number(value / 1e6, 6)} M"
    return number(value, 6)


def _plot(chart: Chart) -> dict[str, Any]:
    """Return what the template draws: the lines, and the axes that they need."""
    lines = drawn_lines(chart)
    x, y = _axes_of(chart, lines)
    return {"chart": chart, "lines": lines, "x": x, "y": y}


def _path(points: Points, x: Axis, y: Axis) -> str:
    return " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in points)


def _marked(drawn: Drawn) -> Points:
    """Return the points that get a marker: all of few, else at other places for every line, so that these differ."""
    count, shift = len(drawn.points), drawn.style * 3 % 10 / 60
    if drawn.line.reference:
        return []
    if count <= MANY:
        return drawn.points
    return [drawn.points[n] for n in sorted({min(count - 1, round((k / 6 + shift) * (count - 1))) for k in range(6)})]


def _labels(lines: Sequence[Drawn], x: Axis, y: Axis) -> list[tuple[Drawn, float, float]]:
    """Return where the lines' labels stand: at their ends, moved apart where they would cover each other."""
    ends = [(each, x(each.points[-1][0]) + 6, y(each.points[-1][1])) for each in lines if each.label]
    ends.sort(key=lambda end: end[2])
    places = [place for _, _, place in ends]
    for place in range(1, len(ends)):
        places[place] = max(places[place], places[place - 1] + LABEL_HEIGHT)
    lowest = y.start + 3
    for place in reversed(range(len(ends))):
        places[place] = min(places[place], lowest)
        lowest = places[place] - LABEL_HEIGHT
    return [(each, left, place + 4) for (each, left, _), place in zip(ends, places, strict=True)]
