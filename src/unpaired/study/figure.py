"""The report's figure: shares with intervals on one axis, own and published; readable without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Mark = Literal["kept", "everybody", "published"]

_WIDTH, _LABELS, _RIGHT, _ROW, _TOP, _BOTTOM = 760, 250, 64, 26, 22, 44
_GAP = 14


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the figure; shares from 0 to 1."""

    label: str
    share: float
    low: float | None
    high: float | None
    mark: Mark


def draw(groups: Sequence[Sequence[Row]], description: str) -> str:
    """Return the figure as SVG, groups apart; filled circle, open circle and square tell the marks apart."""
    rows = [row for group in groups for row in group]
    most = max([0.5, *(row.high if row.high is not None else row.share for row in rows)])
    end = min(1.0, math.ceil(most * 10 + 0.5) / 10)
    height = _TOP + len(rows) * _ROW + (len(groups) - 1) * _GAP + _BOTTOM
    parts = [_axis(end, height)]
    y = _TOP + _ROW / 2
    for group in groups:
        for row in group:
            parts.append(_row(row, y, end))
            y += _ROW
        y += _GAP
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(description)}" class="figure">'
        f"{''.join(parts)}</svg>"
    )


def _x(share: float, end: float) -> float:
    return _LABELS + (_WIDTH - _LABELS - _RIGHT) * share / end


def _axis(end: float, height: float) -> str:
    bottom = height - _BOTTOM
    parts = []
    for tenth in range(round(end * 10) + 1):
        x = _x(tenth / 10, end)
        half = tenth == 5
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}" class="{"half" if half else "grid"}"/>'
            f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle" class="tick">{tenth * 10} %</text>'
        )
        if half:
            parts.append(f'<text x="{x:.1f}" y="{_TOP - 11}" text-anchor="middle" class="tick">cannot tell</text>')
    middle = (_x(0, end) + _x(end, end)) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{bottom + 36}" text-anchor="middle" class="tick">'
        "generated pictures taken for real</text>"
    )
    return "".join(parts)


def _row(row: Row, y: float, end: float) -> str:
    x = _x(row.share, end)
    parts = [
        f'<text x="{_LABELS - 14}" y="{y + 5:.1f}" text-anchor="end" class="{row.mark}">{escape(row.label)}</text>'
    ]
    right = x
    if row.low is not None and row.high is not None:
        low, right = _x(max(0.0, row.low), end), _x(min(row.high, end), end)
        parts.append(
            f'<line x1="{low:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" class="interval {row.mark}"/>'
            + "".join(
                f'<line x1="{tip:.1f}" x2="{tip:.1f}" y1="{y - 4:.1f}" y2="{y + 4:.1f}" class="interval {row.mark}"/>'
                for tip in (low, right)
            )
        )
    if row.mark == "published":
        parts.append(f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" class="mark published"/>')
    else:
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="mark {row.mark}"/>')
    value = f"{row.share:.1%}".replace("%", " %")
    parts.append(f'<text x="{max(right, x) + 10:.1f}" y="{y + 5:.1f}" class="value">{value}</text>')
    return "".join(parts)
