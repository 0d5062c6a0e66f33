"""Figures of several checkpoints side by side, and only those beside each other that were measured alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unpaired.report.measured import Direction, Figure, Kind, Measured
from unpaired.report.runs import Run

GROUPS = {
    "distribution": "Distribution",
    "paired": "Against the true image",
    "content": "Content kept",
    "reconstruction": "Reconstruction",
    "labels": "Labels",
    "audit": "Audit",
    "": "Other",
}
"""Groups of figures in their order, and their titles; others follow."""
CLEAR = 2.0
"""A difference counts as clear from this many of its standard errors on; where one is not known, none does."""
_DATA = ("split", "images", "contents")
"""What of the data belongs to the protocol: where it lay does not."""
_WITHOUT_EFFECT = {"python"}
"""What a protocol tells that changes no figure."""


@dataclass(frozen=True, slots=True)
class Column:
    """One evaluation or audit of one run."""

    run: Run
    measured: Measured

    @property
    def label(self) -> str:
        """Return the name of the checkpoint that was measured."""
        return self.measured.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure in every column; None where it was not measured by this protocol."""

    figure: Figure
    """The first that was met: name, title, unit."""
    protocol: int
    """Position in `Comparisons.protocols`."""
    cells: tuple[Figure | None, ...]
    bound: str
    """What a bound was measured of, such as `untranslated`; empty for figures of translations."""
    best: int | None
    """The column of the clearly best of several values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All figures of one direction."""

    direction: str
    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    """One line on figures that were measured by several protocols."""

    @property
    def measured_by_several(self) -> set[str]:
        """Return the names of figures that stand in several rows, one for each protocol."""
        names = [row.figure.name for row in self.rows if not row.bound]
        return {name for name in names if names.count(name) > 1}


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All directions, and the protocols that their rows name."""

    directions: tuple[Comparison, ...]
    protocols: tuple[Mapping[str, Any], ...]


def columns_of(runs: Iterable[Run], kind: Kind) -> list[Column]:
    """Return all evaluations or audits of runs."""
    return [Column(run, each) for run in runs for each in (run.evaluations if kind == "evaluation" else run.audits)]


def compare(columns: Sequence[Column]) -> Comparisons:
    """Return the figures of every direction: rows by figure and protocol, so that only like stands beside like."""
    protocols: list[Mapping[str, Any]] = []
    directions = sorted({direction for column in columns for direction in column.measured.document.directions})
    found = [_compare(columns, direction, protocols) for direction in directions]
    return Comparisons(tuple(found), tuple(protocols))


def _compare(columns: Sequence[Column], direction: str, protocols: list[Mapping[str, Any]]) -> Comparison:
    """Return the figures of one direction; protocols that are new are added to the list."""
    columns = [column for column in columns if direction in column.measured.document.directions]
    cells: dict[tuple[str, str, int], dict[int, Figure]] = {}
    for position, column in enumerate(columns):
        for bound, figure in _figures(column.measured.document.directions[direction]):
            protocol = protocol_of(figure, column.measured)
            if protocol not in protocols:
                protocols.append(protocol)
            cells.setdefault((figure.name, bound, protocols.index(protocol)), {})[position] = figure
    rows = [
        Row(
            figure=next(iter(found.values())),
            protocol=protocol,
            cells=tuple(found.get(position) for position in range(len(columns))),
            bound=bound,
            best=None if bound else _best(found),
        )
        for (_, bound, protocol), found in cells.items()
    ]
    names = list(dict.fromkeys(row.figure.name for row in rows))
    rows.sort(key=lambda row: (_place(row.figure.group), names.index(row.figure.name), row.protocol, row.bound))
    found_headings = (column.measured.document.directions[direction].heading for column in columns)
    return Comparison(
        direction=direction,
        heading=next(filter(None, found_headings), direction),
        columns=tuple(columns),
        rows=tuple(rows),
        differences=tuple(_differences([row for row in rows if not row.bound], protocols)),
    )


def _figures(found: Direction) -> Iterable[tuple[str, Figure]]:
    yield from (("", figure) for figure in found.figures)
    for bound, figures in found.bounds.items():
        yield from ((bound, figure) for figure in figures)


def protocol_of(figure: Figure, measured: Measured) -> dict[str, Any]:
    """Return all that a figure depends on beside the model: its own protocol, and the data."""
    data = measured.document.data
    own = {name: value for name, value in figure.protocol.items() if name not in _WITHOUT_EFFECT}
    return {**{f"data: {name}": data[name] for name in _DATA if name in data}, **own}


def spoken(name: str) -> str:
    """Return a protocol's name as people read it: `resize filter` for `resize_filter`."""
    return name.replace("_", " ")


def shown(value: object) -> str:
    """Return a value of a protocol as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(inner)}" for name, inner in value.items())
    return json.dumps(value, ensure_ascii=False, default=str)


def _place(group: str) -> int:
    order = list(GROUPS)
    return order.index(group) if group in order else len(order)


def _best(found: Mapping[int, Figure]) -> int | None:
    """Return where the best value stands, None where it is not clear or there is nothing to compare."""
    valued = [(position, figure) for position, figure in found.items() if figure.value is not None]
    better = valued[0][1].better if valued else None
    if better is None or len(valued) < 2:
        return None
    ordered = sorted(valued, key=lambda item: item[1].value or 0.0, reverse=better == "higher")
    (position, first), (_, second) = ordered[:2]
    if first.error is None or second.error is None:
        return None
    difference = abs((first.value or 0.0) - (second.value or 0.0))
    return position if difference > CLEAR * math.hypot(first.error, second.error) else None


def _differences(rows: Sequence[Row], protocols: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.figure.name, []).append(row)
    told: dict[str, list[str]] = {}
    for several in by_name.values():
        if len(several) < 2:
            continue
        used = [row.protocol for row in several]
        names = dict.fromkeys(name for place in used for name in protocols[place])
        parts = []
        for name in names:
            values = [shown(protocols[place][name]) if name in protocols[place] else "not told" for place in used]
            if len(set(values)) > 1:
                parts.append(
                    f"{spoken(name)}: "
                    + ", ".join(f"{v} (P{place + 1})" for v, place in zip(values, used, strict=True))
                )
        told.setdefault("; ".join(parts), []).append(several[0].figure.title)
    for difference, titles in told.items():
        yield f"{_listed(titles)}: measured by different protocols, which do not compare. {difference}."


def _listed(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
