"""An evaluation as a person reads it in a terminal of 80 columns: a row a figure with its bounds below, then the
protocol, each fact once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from unpaired.evaluation.figures import GROUPS, DirectionResult, Evaluation, Fact, Figure, Protocol, Table

BOUNDS = {
    "untranslated": "untranslated input",
    "real_halves": "real against real",
    "real_photos": "real photos",
    "shuffled_labels": "shuffled labels",
}
NOTES = {
    "untranslated": "untranslated input: the inputs as they are in place of the translations",
    "real_halves": "real against real: two halves of the real images, which differ by chance alone. There are fewer in "
    "a half, which makes sliced Wasserstein and Fréchet distances larger",
    "real_photos": "real photos: what the segmenter makes of them, the most that can be had",
    "shuffled_labels": "shuffled labels: label maps of other images, what knows nothing of the input",
}
NONE = "–"
MOST_DECIMALS = 6
_TITLE = 48
"""Width of the figures' names, which wrap; it leaves room for a value, its error and its unit."""
_LEVELS = "swd_"
"""Figures of single levels of the pyramid: they stand in the JSON, and in the note of their mean."""


def render(evaluation: Evaluation) -> RenderableType:
    """Return the tables, warnings and protocol of an evaluation."""
    parts: list[RenderableType] = []
    for found in evaluation.directions.values():
        parts += [Text(found.heading, style="bold"), *_figures(found)]
        for table in found.tables:
            parts += [Text(table.title, style="italic"), _rows(table)]
        parts += [Text(f"warning: {warning}.", style="yellow") for warning in found.warnings]
        if found.reference_reused:
            parts.append(Text("Statistics of the real images were kept from an earlier evaluation.", style="dim"))
        parts.append(Text(""))
    parts.append(_protocol(evaluation))
    return Lines(*parts)


def number(value: float | None) -> str:
    """Return a number with as many digits as are worth reading."""
    if value is None:
        return NONE
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    if value and abs(value) < 1e-2:
        return f"{value:.3g}"
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"


def _figures(found: DirectionResult) -> list[RenderableType]:
    """Return one table for each group of figures, with the bounds that belong to it."""
    parts: list[RenderableType] = []
    for group, question in GROUPS.items():
        figures = [one for one in found.figures if one.group == group]
        rows = [one for one in figures if not one.name.startswith(_LEVELS)]
        if not rows:
            continue
        names = {one.name for one in rows}
        bounds = {name: {one.name: one for one in every if one.name in names} for name, every in found.bounds.items()}
        parts.append(Text(question, style="italic"))
        parts.append(_group(rows, {name: those for name, those in bounds.items() if those}))
        parts += [Text(f"{one.title}: {one.note}.", style="dim") for one in rows if one.note]
        parts += [Text(f"{NOTES[name]}.", style="dim") for name, those in bounds.items() if those]
    return parts


def _group(figures: Sequence[Figure], bounds: Mapping[str, Mapping[str, Figure]]) -> RichTable:
    """Return a row for every figure and, below it, one for each bound: beside it they would not fit a terminal."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("figure", min_width=10, max_width=_TITLE)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for one in figures:
        table.add_row(one.title, _value(one), one.better or "")
        for name, those in bounds.items():
            if one.name in those:
                table.add_row(f"  {BOUNDS[name]}", _value(those[one.name]), style="dim")
    return table


def _value(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit and figure.value is not None else ""
    return f"{_with_error(figure)}{unit}"


def _with_error(figure: Figure) -> str:
    """Return a figure and its error with as many decimals, so many that the error shows two digits."""
    value = number(figure.value)
    if figure.value is None or figure.error is None:
        return value
    if "e" in value:
        return f"{value} ± {number(figure.error)}"
    decimals = len(value.partition(".")[2])
    if figure.error:
        decimals = max(decimals, min(1 - math.floor(math.log10(figure.error)), MOST_DECIMALS))
    return f"{figure.value:.{decimals}f} ± {figure.error:.{decimals}f}"


def _rows(found: Table) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(found.columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in found.rows:
        table.add_row(*(cell if isinstance(cell, str) else _cell(cell) for cell in row))
    return table


def _cell(value: float | None) -> str:
    """Return a share of a class; whole numbers as they are."""
    return NONE if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _protocol(evaluation: Evaluation) -> RenderableType:
    """Return what the figures depend on: what all share, what a direction adds, and what single figures add."""
    found = list(evaluation.directions.values())
    common = _common([one.protocol for each in found for one in each.figures])
    lines = [_facts(common)]
    single = dict[tuple[str, Fact], list[str]]()
    for each in found:
        shared = _common([one.protocol for one in each.figures])
        own = {name: value for name, value in shared.items() if name not in common}
        if own:
            lines.append(f"{each.heading}: {_facts(own)}")
        for one in each.figures:
            for name, value in one.protocol.items():
                if name not in shared and value is not None and not one.name.startswith(_LEVELS):
                    figures = single.setdefault((name, value), [])
                    figures += [] if one.name in figures else [one.name]
    together = dict[tuple[str, ...], list[str]]()
    for (name, value), figures in single.items():  # facts of the same figures stand in one line
        together.setdefault(tuple(figures), []).append(_fact(name, value))
    lines += [f"{', '.join(figures)}: {'; '.join(facts)}" for figures, facts in together.items()]
    return Lines(Text("Protocol", style="bold"), *(Padding(Text(line), (0, 0, 0, 2), expand=False) for line in lines))


def _common(protocols: Sequence[Protocol]) -> dict[str, Fact]:
    if not protocols:
        return {}
    first = protocols[0]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in protocols[1:])
    }


def _facts(facts: Mapping[str, Fact]) -> str:
    return "; ".join(_fact(name, value) for name, value in facts.items() if value is not None)


def _fact(name: str, value: Fact) -> str:
    return f"{name.replace('_', ' ')}: {_short(name, value)}"


def _short(name: str, value: Fact) -> str:
    if name.endswith("fingerprint"):
        return str(value)[:12]
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
