"""Figures of several checkpoints side by side, and only those beside each other that were measured alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unpaired.core.text import listing
from unpaired.report.results import GROUPS, Cell, Document, Figure, Table, Value
from unpaired.report.runs import Measured, Run
from unpaired.report.tables import BOUNDS, bound_name, is_detail
from unpaired.report.verdict import among, compare_figures

_DATA = ("split", "images", "contents")
"""What of the data belongs to the protocol; its folder does not."""
_WITHOUT_EFFECT = {"python"}


@dataclass(frozen=True, slots=True)
class Column:
    """One evaluation or audit of one run."""

    run: Run
    measured: Measured

    @property
    def title(self) -> str:
        """Return run and checkpoint."""
        return f"{self.run.number} {self.run.name} · {self.checkpoint}"

    @property
    def checkpoint(self) -> str:
        """Return the name of the checkpoint as people read it."""
        name = self.measured.name
        return f"{int(name):,} images" if name.isdecimal() else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure in every column; None where it was not measured by this protocol."""

    figure: Figure
    protocol: int
    """Position among the protocols."""
    cells: tuple[Figure | None, ...]
    bound: str
    best: int | None
    """The column of the clearly best of several values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """All figures of one direction."""

    direction: str
    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    """One line on figures that were measured by several protocols."""


def columns_of(runs: Iterable[Run], kind: type[Document]) -> list[Column]:
    """Return all evaluations, or audits, of runs."""
    of = [(run, run.evaluations if kind.FILE == "evaluation.json" else run.audits) for run in runs]
    return [Column(run, each) for run, measured in of for each in measured]


def side_by_side(columns: Sequence[Column], protocols: list[Mapping[str, Any]]) -> list[SideBySide]:
    """Return the figures of every direction, rows by figure and protocol; new protocols are added to the list."""
    directions = sorted({direction for column in columns for direction in column.measured.document.directions})
    return [_of_direction(columns, direction, protocols) for direction in directions]


def _of_direction(columns: Sequence[Column], direction: str, protocols: list[Mapping[str, Any]]) -> SideBySide:
    columns = [column for column in columns if direction in column.measured.document.directions]
    cells: dict[tuple[str, str, int], dict[int, Figure]] = {}
    for position, column in enumerate(columns):
        found = column.measured.document.directions[direction]
        bounds = ((bound, figure) for bound, figures in found.bounds.items() for figure in figures)
        for bound, figure in (*(("", figure) for figure in found.figures), *bounds):
            protocol = protocol_of(figure, column.measured)
            if protocol not in protocols:
                protocols.append(protocol)
            cells.setdefault((figure.name, bound, protocols.index(protocol)), {})[position] = figure
    rows = [
        Row(
            figure=next(iter(values.values())),
            protocol=protocol,
            cells=tuple(values.get(position) for position in range(len(columns))),
            bound=bound,
            best=None if bound else clearly_best(values),
        )
        for (_, bound, protocol), values in cells.items()
    ]
    names, groups = list(dict.fromkeys(row.figure.name for row in rows)), list(GROUPS)
    rows.sort(
        key=lambda row: (
            groups.index(row.figure.group) if row.figure.group in groups else len(groups),
            names.index(row.figure.name),
            row.protocol,
            row.bound,
        )
    )
    headings = (column.measured.document.directions[direction].heading for column in columns)
    return SideBySide(
        direction=direction,
        heading=next(filter(None, headings), direction),
        columns=tuple(columns),
        rows=tuple(rows),
        differences=tuple(_differences([row for row in rows if not row.bound], protocols)),
    )


def protocol_of(figure: Figure, measured: Measured) -> dict[str, Any]:
    """Return all that a figure depends on beside the model: its own protocol, and the data."""
    data = measured.document.data
    own = {name: value for name, value in figure.protocol.items() if name not in _WITHOUT_EFFECT}
    own.pop("checkpoint", None)  # what is measured, not how
    return {**{f"data: {name}": data[name] for name in _DATA if name in data}, **own}


def clearly_best(values: Mapping[int, Figure]) -> int | None:
    """Return where the best value stands, None where it is not clear or there is nothing to compare."""
    for position, figure in values.items():
        others = [other for place, other in values.items() if place != position and other.value is not None]
        clear = (compare_figures(figure, other) for other in others)
        if others and all(found.relation == "better" and found.error is not None for found in clear):
            return position
    return None


def verdicts(found: SideBySide) -> list[str]:
    """Return one sentence per run: better than how many of the others, and how clearly; of its best checkpoint.

    The first figure of the table that all columns share decides; it is a distance to the target where there is one.
    """
    last = {column.run.number: position for position, column in enumerate(found.columns)}  # best comes last
    for row in found.rows:
        cells = {found.columns[position].title: row.cells[position] for position in last.values()}
        if row.bound or len(cells) < 2 or any(cell is None or cell.value is None for cell in cells.values()):
            continue
        if sentences := [f"{title}: {text}." for title in cells if (text := among(cells, title))]:
            return sentences
    return []


def table_of(found: SideBySide) -> Table:
    """Return one direction's figures as a table, bounds as references below their figure."""
    rows: list[tuple[Cell, ...]] = []
    references: list[int] = []
    shown = [row for row in found.rows if not is_detail(row.figure)]
    several = {row.figure.name for row in shown if not row.bound}
    several = {name for name in several if sum(row.figure.name == name and not row.bound for row in shown) > 1}
    several_runs = len({column.run.number for column in found.columns}) > 1
    group = None
    for row in shown:
        if row.figure.group != group:
            group = row.figure.group
            rows.append((GROUPS.get(group, "Other"),))
        if row.bound:
            references.append(len(rows))
        mark = f" (protocol P{row.protocol + 1})" if row.figure.name in several else ""
        title = bound_name(row.bound) if row.bound else f"{row.figure.title}{mark}"
        cells = (
            None
            if cell is None
            else Value(value=cell.value, error=cell.error, unit=cell.unit, best=row.best == position)
            for position, cell in enumerate(row.cells)
        )
        arrow = "" if row.bound else {"lower": "↓", "higher": "↑", None: ""}[row.figure.better]
        rows.append((title, *cells, arrow))
    notes = [f"{row.figure.title}: {row.figure.note}." for row in shown if row.figure.note and not row.bound]
    notes += [f"{title}: {text}." for name, (title, text) in BOUNDS.items() if any(row.bound == name for row in shown)]
    if any(row.best is not None for row in shown):
        notes.append("Marked: the best of a row by more than twice the standard error of the difference.")
    return Table(
        columns=(
            "metric",
            *(column.title if several_runs else column.checkpoint for column in found.columns),
            "better",
        ),
        rows=tuple(rows),
        references=tuple(references),
        notes=(*found.differences, *dict.fromkeys(notes)),
    )


def shown_fact(value: object) -> str:
    """Return a value of a protocol as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown_fact(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _differences(rows: Sequence[Row], protocols: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.figure.name, []).append(row)
    titles_of: dict[str, list[str]] = {}
    for several in by_name.values():
        used = [row.protocol for row in several]
        parts = []
        for name in dict.fromkeys(name for place in used for name in protocols[place]):
            values = [shown_fact(protocols[place][name]) if name in protocols[place] else "unknown" for place in used]
            if len(set(values)) > 1:
                listed = ", ".join(f"{v} (P{place + 1})" for v, place in zip(values, used, strict=True))
                parts.append(f"{name.replace('_', ' ')}: {listed}")
        if len(several) > 1:
            titles_of.setdefault("; ".join(parts), []).append(several[0].figure.title)
    for difference, titles in titles_of.items():
        yield f"{listing(titles)}: measured by different protocols, which cannot be compared. {difference}."
