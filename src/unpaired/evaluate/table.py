"""An evaluation as a person reads it in a terminal of 80 columns: one row a figure, then the protocol, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from unpaired.evaluate.figures import GROUPS, DirectionResult, Evaluation, Figure, Protocol, Table

BOUNDS = {
    "untranslated": "untranslated input",
    "real_halves": "real against real",
    "real_photos": "real photos",
    "shuffled_labels": "shuffled labels",
}
NOTES = {
    "untranslated": "untranslated input: the inputs as they are in place of the translations",
    "real_halves": "real against real: two halves of the real images, which differ by chance alone",
    "real_photos": "real photos: what the segmenter makes of them, the most that can be had",
    "shuffled_labels": "shuffled labels: label maps of other images, what knows nothing of the input",
}
NONE = "–"
_SHARED = ("unpaired", "torch", "python", "seed")


def render(evaluation: Evaluation) -> RenderableType:
    """Return the tables, warnings and protocol of an evaluation."""
    parts: list[RenderableType] = []
    for found in evaluation.directions.values():
        parts += [Text(found.heading, style="bold"), _figures(found)]
        parts += [Text(f"{NOTES[name]}.", style="dim") for name in found.bounds if found.bounds[name]]
        parts += [_rows(table) for table in found.tables]
        parts += [Text(f"warning: {warning}.", style="yellow") for warning in found.warnings]
        parts.append(Text(""))
    parts.append(_protocol(evaluation))
    return Lines(*parts)


def number(value: float | None) -> str:
    """Return a number with as many digits as are worth reading."""
    if value is None:
        return NONE
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"


def _figures(found: DirectionResult) -> RichTable:
    bounds = {name: {one.name: one for one in figures} for name, figures in found.bounds.items() if figures}
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("figure", "value", "better"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for name in bounds:
        table.add_column(BOUNDS[name], justify="right", overflow="fold")
    notes = list[str]()
    for group, question in GROUPS.items():
        figures = [one for one in found.figures if one.group == group]
        if not figures:
            continue
        table.add_row(Text(question, style="dim italic"))
        for one in figures:
            mark = ""
            if one.note and one.value is None:
                notes.append(one.note)
                mark = f" [{len(notes)}]"
            row = [f"{one.title}{mark}", _value(one), f"{one.better}" if one.better else ""]
            table.add_row(*row, *(_bound(figures_of.get(one.name)) for figures_of in bounds.values()))
    table.caption = "\n".join(f"[{index}] {note}" for index, note in enumerate(notes, 1)) or None
    table.caption_justify = "left"
    return table


def _value(figure: Figure) -> str:
    error = "" if figure.error is None else f" ± {number(figure.error)}"
    return f"{number(figure.value)}{error}{' ' + figure.unit if figure.unit else ''}"


def _bound(figure: Figure | None) -> str:
    return "" if figure is None else number(figure.value)


def _rows(found: Table) -> RichTable:
    table = RichTable(title=found.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(found.columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in found.rows:
        table.add_row(*(cell if isinstance(cell, str) else number(cell) for cell in row))
    return table


def _protocol(evaluation: Evaluation) -> RenderableType:
    """Return what the figures depend on: once for all, then what single ones add or differ in."""
    lines = [Text("Protocol", style="bold")]
    every = [one for found in evaluation.directions.values() for one in found.figures]
    common = _common([one.protocol for one in every])
    for heading, found in ((one.heading, one) for one in evaluation.directions.values()):
        shared = _common([one.protocol for one in found.figures])
        own = {name: value for name, value in shared.items() if name not in common}
        if own:
            lines.append(Text(f"  {heading}: {_facts(own)}"))
        extra: dict[str, list[str]] = {}
        for one in found.figures:
            rest = {name: value for name, value in one.protocol.items() if name not in shared}
            if rest:
                extra.setdefault(_facts(rest), []).append(one.name)
        for facts, names in extra.items():
            lines.append(Text(f"  {', '.join(names)}: {facts}"))
    lines.insert(1, Text(f"  {_facts(common)}"))
    return Lines(*dict.fromkeys(lines))


def _common(protocols: Sequence[Protocol]) -> dict[str, object]:
    if not protocols:
        return {}
    first = protocols[0]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in protocols[1:])
    }


def _facts(facts: Mapping[str, object]) -> str:
    return "; ".join(
        f"{name.replace('_', ' ')} {_short(name, value)}" for name, value in facts.items() if value is not None
    )


def _short(name: str, value: object) -> str:
    if name.endswith("fingerprint"):
        return str(value)[:12]
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
