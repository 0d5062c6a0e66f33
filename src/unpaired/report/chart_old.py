"""A line chart as SVG, drawn by hand: readable without colour, without a script, and by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unpaired.report.markup import number, text

WIDTH, HEIGHT = 440, 260
_TOP, _BOTTOM, _LEFT_LEAST, _LETTER, _BOLD = 28, 42, 34, 7.0, 7.6
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4", "4 2 1 2 1 2", "1 4", "18 3 3 3")
_MARKERS = (
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
"""Colours that the style sheet knows; further lines differ by dashes and markers."""
MANY = 15
"""Lines of at most so many points have a marker at each."""
LABEL_HEIGHT = 14
LONGEST_LABEL = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; points without a finite value are left out."""

    name: str
    label: str
    """What stands at its end, short."""
    points: Sequence[tuple[float, float]]
    faint: Sequence[tuple[float, float]] = ()
    """The values as they were logged, where `points` are smoothed."""
    style: int = 0
    """Which dashes and marker."""
    best: tuple[float, float] | None = None
    """A point to ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over common axes."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    note: str = ""
    log_x: bool = False
    """Whether every doubling of x takes the same room; points at 0 or below stand at the left edge."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the plot lies in the picture and what its edges mean."""

    left: float
    right: float
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    x_end: float
    x_start: float
    log_x: bool

    @property
    def bottom(self) -> float:
        return HEIGHT - _BOTTOM

    def x(self, value: float) -> float:
        if self.log_x:
            share = math.log(max(value, self.x_start) / self.x_start) / math.log(self.x_end / self.x_start)
        else:
            share = (value - self.x_start) / (self.x_end - self.x_start)
        return self.left + (self.right - self.left) * share

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (self.bottom - _TOP) * (value - low) / (high - low)


def draw(chart: Chart, name: str) -> str:
    """Return a chart as one SVG element, whose ids begin with `name`; it scales to the width that it is given."""
    lines = [line for line in chart.lines if line.points]
    frame = _frame(lines, log_x=chart.log_x)
    parts = [_axes(chart, frame)]
    parts += [_path(line.faint, frame, f"faint s{line.style % COLOURS}") for line in lines if line.faint]
    parts += [_line(line, frame) for line in lines]
    parts.append(_labels(lines, frame))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{text(chart.title)}</title>'
        f'<desc id="{name}-desc">{text(description(chart))}</desc>{"".join(parts)}</svg>'
    )


def sample(style: int) -> str:
    """Return a short piece of a line with its marker, for a legend."""
    return (
        '<svg class="sample" viewBox="0 0 40 12" aria-hidden="true">'
        f'<path class="curve s{style % COLOURS}"{_dash(style)} d="M1,6H39"/>{_marker(20, 6, style)}</svg>'
    )


def description(chart: Chart) -> str:
    """Return what a chart shows in words, for those who do not see it."""
    told = [f"{chart.y_label or chart.title} over {chart.x_label}."]
    for line in chart.lines:
        if not line.points:
            continue
        (x0, y0), (x1, y1) = line.points[0], line.points[-1]
        low, high = min(line.points, key=lambda p: p[1]), max(line.points, key=lambda p: p[1])
        told.append(
            f"{line.name}: from {number(y0, 3)} at {number(x0, 5)} to {number(y1, 3)} at {number(x1, 5)}; "
            f"lowest {number(low[1], 3)} at {number(low[0], 5)}, highest {number(high[1], 3)} at {number(high[0], 5)}."
        )
    return " ".join(told)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
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


def _frame(lines: Sequence[Line], *, log_x: bool) -> _Frame:
    points = [point for line in lines for point in (*line.points, *line.faint)]
    xs, ys = [x for x, _ in points] or [0.0, 1.0], [y for _, y in points] or [0.0, 1.0]
    low, high = min(ys), max(ys)
    y_ticks = ticks(0.0 if 0 <= low < 0.45 * high else low, high)
    above = [x for x in xs if x > 0]
    log_x = log_x and bool(above) and min(above) > 1e-30 and max(above) < 1e30
    if log_x:
        x_ticks = powers(min(above), max(above))
        start, x_high = x_ticks[0], x_ticks[-1]
    else:
        x_low, x_high = min(xs), max(xs)
        start = 0.0 if 0 <= x_low < 0.3 * x_high else x_low
        if x_high <= start:  # a single point
            start, x_high = (0.0, x_high * 2) if x_high > 0 else (x_high - 1, x_high + 1)
        x_ticks = [tick for tick in ticks(start, x_high, 5) if start <= tick <= x_high]
    widest = max(len(_tick(tick)) for tick in y_ticks)
    longest = max((len(_short(line.label)) for line in lines), default=0)
    return _Frame(
        left=max(_LEFT_LEAST, 12 + widest * _LETTER),
        right=WIDTH - 10 - longest * _BOLD - (8 if longest else 0),
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        x_start=start,
        x_end=x_high,
        log_x=log_x,
    )


def _tick(value: float) -> str:
    return number(value, 6)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _axes(chart: Chart, frame: _Frame) -> str:
    parts = []
    for value in frame.y_ticks:
        y = frame.y(value)
        parts.append(
            f'<path class="gridline" d="M{frame.left:.1f},{y:.1f}H{frame.right:.1f}"/>'
            f'<text x="{frame.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>'
        )
    for value in frame.x_ticks:
        x = frame.x(value)
        parts.append(
            f'<path class="axis" d="M{x:.1f},{frame.bottom}v4"/>'
            f'<text x="{x:.1f}" y="{frame.bottom + 17}" text-anchor="middle">{_tick(value)}</text>'
        )
    middle = (frame.left + frame.right) / 2
    parts.append(
        f'<path class="axis" d="M{frame.left:.1f},{_TOP}V{frame.bottom}H{frame.right:.1f}"/>'
        f'<text x="4" y="14">{text(chart.y_label)}</text>'
        f'<text x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text(chart.x_label)}</text>'
    )
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]], frame: _Frame, kind: str, dash: str = "") -> str:
    steps = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    return f'<polyline class="{kind}"{dash} points="{steps}"/>'


def _line(line: Line, frame: _Frame) -> str:
    parts = [_path(line.points, frame, f"curve s{line.style % COLOURS}", _dash(line.style))]
    count = len(line.points)
    # Markers of several lines stand at different places, so that lines close together stay apart.
    shift = line.style * 3 % 10 / 60
    marked = (
        range(count)
        if count <= MANY
        else sorted({min(count - 1, round((k / 6 + shift) * (count - 1))) for k in range(6)} | {count - 1})
    )
    parts += [_marker(frame.x(x), frame.y(y), line.style) for x, y in (line.points[place] for place in marked)]
    if line.best is not None:
        x, y = line.best
        parts.append(f'<circle class="best" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="8"/>')
    return "".join(parts)


def _dash(style: int) -> str:
    dashes = _DASHES[style % len(_DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _marker(x: float, y: float, style: int) -> str:
    shape = _MARKERS[style % len(_MARKERS)]
    return f'<path class="marker s{style % COLOURS}" transform="translate({x:.1f},{y:.1f})" d="{shape}"/>'


def _labels(lines: Sequence[Line], frame: _Frame) -> str:
    """Return the lines' labels, each at the end of its line, moved apart where they would cover each other."""
    ends = [(frame.y(line.points[-1][1]), frame.x(line.points[-1][0]), line) for line in lines if line.label]
    ends.sort(key=lambda end: end[0])
    places = [y for y, _, _ in ends]
    widths = [len(_short(line.label)) * _BOLD for _, _, line in ends]

    def near(one: int, other: int) -> bool:
        first, second = sorted((one, other), key=lambda place: ends[place][1])
        return ends[second][1] - ends[first][1] < widths[first] + 8

    for place in range(len(ends)):
        above = (places[other] + LABEL_HEIGHT for other in range(place) if near(place, other))
        places[place] = max([places[place], *above])
    for place in reversed(range(len(ends))):
        below = (places[other] - LABEL_HEIGHT for other in range(place + 1, len(ends)) if near(place, other))
        places[place] = min([places[place], frame.bottom + 4, *below])
    return "".join(
        f'<text class="direct" x="{x + 8:.1f}" y="{place + 4:.1f}">{text(_short(line.label))}</text>'
        for place, (_, x, line) in zip(places, ends, strict=True)
    )
