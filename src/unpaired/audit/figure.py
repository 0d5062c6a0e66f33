"""The figure of an audit as SVG: one panel per direction, readable without colour, every line named at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from unpaired.audit.charts import CHANCE, CLEAN, FAMILIES
from unpaired.audit.charts import COPY as HONEST
from unpaired.audit.charts import INVISIBLE as UNSEEN
from unpaired.audit.disturb import INVISIBLE_DB
from unpaired.report.results import Chart

_WIDTH, _PANEL = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 196, 46, 58
_SMALLEST = 0.25
"""Levels at the left end of the axis; milder disturbances are drawn there."""
_INK, _PALE, _PAPER = "#1a1a1a", "#767676", "#ffffff"
_STYLES = {"noise": ("", "circle"), "JPEG": ("9 4", "square"), "blur": ("2 4", "triangle")}
"""Dashes and mark of each kind of disturbance."""
_SINGLE = FAMILIES["snap"]
_LINE_HEIGHT = 15


@dataclass(frozen=True, slots=True)
class Line:
    """Points of one line."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines with common axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


def _plain(chart: Chart) -> Curve:
    lines = (
        Line(line.name, tuple(x for x in line.x if x is not None), tuple(y for y in line.y if y is not None))
        for line in chart.lines
    )
    return Curve(chart.title, chart.x_label, chart.y_label, tuple(lines))


def draw(charts: Sequence[Chart]) -> str:
    """Return a whole SVG file with the panels one below the other; text sizes fit a width of 760 pixels."""
    panels = [_plain(chart) for chart in charts]
    height = _PANEL * len(panels)
    title = escape("; ".join(panel.title for panel in panels))
    parts = [_panel(panel, number * _PANEL) for number, panel in enumerate(panels)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}"><title>{title}</title>'
        f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>{"".join(parts)}</svg>\n'
    )


class _Axes:
    """Where values lie on one panel: x logarithmic, y from 0."""

    def __init__(self, curve: Curve, top: float) -> None:
        largest_x: float = max([8.0, *(x for line in curve.lines for x in line.x)])
        self.end = 2.0 ** math.ceil(math.log2(largest_x))
        largest_y: float = max([1.0, *(y for line in curve.lines for y in line.y)])
        self.step = _round_step(largest_y / 5)
        self.most = self.step * math.ceil(largest_y / self.step)
        self.left, self.right = float(_LEFT), float(_WIDTH - _RIGHT)
        self.upper, self.lower = top + _TOP, top + _PANEL - _BOTTOM

    def x(self, value: float) -> float:
        share = math.log2(max(value, _SMALLEST) / _SMALLEST) / math.log2(self.end / _SMALLEST)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.lower - value / self.most * (self.lower - self.upper)


def _panel(curve: Curve, top: float) -> str:
    axes = _Axes(curve, top)
    parts = [_frame(curve, axes, top), *(_drawn(line, axes) for line in curve.lines)]
    ends: list[tuple[float, float, str]] = []
    for line in curve.lines:
        if line.name in (CHANCE, CLEAN):
            ends.append((axes.y(line.y[-1]), axes.right, line.name))
        elif line.name in _STYLES or line.name == _SINGLE:
            ends.append((axes.y(line.y[-1]), axes.x(line.x[-1]) + 5, line.name))
    ends.sort()
    for (wanted, start, name), y in zip(ends, _apart([end[0] for end in ends], axes.lower), strict=True):
        parts.append(
            f'<path d="M{start:.1f} {wanted:.1f}L{axes.right + 10:.1f} {y:.1f}" fill="none" stroke="{_PALE}" '
            f'stroke-width="0.7"/><text x="{axes.right + 13:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'
        )
    return "".join(parts)


def _frame(curve: Curve, axes: _Axes, top: float) -> str:
    """Draw title, axes with ticks, and the part in which a change cannot be seen."""
    seen = axes.x(UNSEEN)
    parts = [
        f'<text x="{axes.left}" y="{top + 22}" font-size="15" font-weight="600">{escape(curve.title)}</text>',
        f'<rect x="{axes.left}" y="{axes.upper}" width="{seen - axes.left:.1f}" height="{axes.lower - axes.upper:.1f}" '
        'fill="#efefef"/>',
        f'<text x="{axes.left + 6}" y="{axes.upper - 6}" fill="{_PALE}" font-size="12">'
        f"cannot be seen ({INVISIBLE_DB:g} dB or more)</text>",
    ]
    tick = _SMALLEST
    while tick <= axes.end:
        x = axes.x(tick)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axes.lower}" y2="{axes.lower + 5}" stroke="{_INK}"/>'
            f'<text x="{x:.1f}" y="{axes.lower + 19}" text-anchor="middle">{tick:g}</text>'
        )
        tick *= 2
    for number in range(round(axes.most / axes.step) + 1):
        y = axes.y(number * axes.step)
        parts.append(
            f'<line x1="{axes.left}" x2="{axes.right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dcdcdc" stroke-width="0.7"/>'
            f'<text x="{axes.left - 7}" y="{y + 4:.1f}" text-anchor="end">{number * axes.step:g}</text>'
        )
    middle_x, middle_y = (axes.left + axes.right) / 2, (axes.upper + axes.lower) / 2
    parts.append(
        f'<path d="M{axes.left} {axes.upper}V{axes.lower}H{axes.right}" fill="none" stroke="{_INK}"/>'
        f'<text x="{middle_x}" y="{axes.lower + 39}" text-anchor="middle">{escape(curve.x_label)}</text>'
        f'<text transform="translate(18 {middle_y}) rotate(-90)" text-anchor="middle">{escape(curve.y_label)}</text>'
        f'<text x="{axes.right + 13}" y="{axes.lower + 19}" fill="{_PALE}" font-size="12">thin: a plain copy</text>'
    )
    return "".join(parts)


def _drawn(line: Line, axes: _Axes) -> str:
    points = [(axes.x(x), axes.y(y)) for x, y in zip(line.x, line.y, strict=True)]
    base = line.name.removeprefix(HONEST)
    if base == _SINGLE:
        if base != line.name:  # a single point needs no line of its own without a model
            return ""
        return _mark("diamond", *points[0])
    dashes, mark = _STYLES.get(base, ("5 3" if base == CHANCE else "", ""))
    thin = base != line.name or base in (CHANCE, CLEAN)
    if base in (CHANCE, CLEAN):  # a level, whatever was done
        path = f"M{axes.left:.1f} {points[0][1]:.1f}H{axes.right:.1f}"
    else:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    drawn = (
        f'<path d="{path}" fill="none" stroke="{_PALE if thin else _INK}" stroke-width="{0.9 if thin else 1.8}"'
        f"{dashed}/>"
    )
    return drawn + ("" if thin else "".join(_mark(mark, x, y) for x, y in points))


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
    if kind == "square":
        return f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4" fill="{_PAPER}" stroke="{_INK}"/>'
    corners = {"triangle": "0 -4.4 4 3.2 -4 3.2", "diamond": "0 -5.5 5.5 0 0 5.5 -5.5 0"}[kind]
    return f'<polygon points="{corners}" transform="translate({x:.1f} {y:.1f})"/>'


def _apart(wanted: Sequence[float], lowest: float) -> list[float]:
    """Return the heights of labels, which are sorted, so far apart that none covers another."""
    heights: list[float] = []
    for height in wanted:
        heights.append(max(height, heights[-1] + _LINE_HEIGHT) if heights else height)
    for index in range(len(heights) - 1, -1, -1):  # what was pushed below the axis moves up again
        heights[index] = min(heights[index], lowest)
        lowest = heights[index] - _LINE_HEIGHT
    return heights


def _round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, the first that is no less."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
