"""Tables of results, and a whole document: as Markdown, in a terminal, in a page (by `templates/kit.html`).

Figures of a document as tables with their bounds, and what they depend on, each fact once.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from unpaired.core.text import NONE, listing, number, printable, safe, with_error
from unpaired.report.results import GROUPS, Cell, Check, Direction, Document, Fact, Figure, Protocol, Table, Value

if TYPE_CHECKING:
    from rich.console import RenderableType

_NUMERIC = re.compile(rf"[-−+]?[\d.]|{NONE}|$")
"""Begins a text that stands for a number."""


def shown(cell: Cell) -> str:
    """Return a cell as people read it."""
    if isinstance(cell, Value):
        unit = f" {cell.unit}" if cell.unit and cell.value is not None else ""
        return f"{with_error(cell.value, cell.error)}{unit}"
    return cell if isinstance(cell, str) else number(cell)


def is_numeric(table: Table, column: int) -> bool:
    """Return whether a column holds numbers, which stand to the right."""
    cells = [row[column] for row in table.rows if len(row) > column and len(row) > 1]
    return column > 0 and all(not isinstance(cell, str) or _NUMERIC.match(cell) is not None for cell in cells)


def is_reference(table: Table, row: int) -> bool:
    """Return whether a row holds a reference, such as a bound."""
    return row in table.references or row - len(table.rows) in table.references


def to_markdown(table: Table, level: int = 2) -> str:
    """Return a table as Markdown under a heading of this level; without a title there is none."""
    heading = f"{'#' * level} {printable(table.title)}\n\n" if table.title else ""
    rule = "|".join(" ---: " if is_numeric(table, column) else " --- " for column in range(len(table.columns)))
    rows = [_markdown_row(tuple(map(shown, row)), len(table.columns)) for row in table.rows]
    notes = "".join(f"\n{safe(note)}\n" for note in table.notes)
    return f"{heading}" + "\n".join([_markdown_row(table.columns, 0), f"|{rule}|", *rows]) + "\n" + notes


def to_terminal(table: Table, *, whole_names: bool = False) -> RenderableType:
    """Return a table for `rich`: it wraps its first column where the terminal is narrow.

    With `whole_names` that column is never wrapped, since what stands there is typed or copied.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column, name in enumerate(table.columns):
        right = is_numeric(table, column)
        if right:  # numbers never wrap, their heading does
            widths = [len(shown(row[column])) for row in table.rows if len(row) > column]
            width = max([*widths, *map(len, name.split())], default=1)
            name = textwrap.fill(name, width, break_long_words=False)
        drawn.add_column(
            Text(name),
            justify="right" if right else "left",
            no_wrap=right or (whole_names and column == 0),
            overflow="fold",
        )
    for place, row in enumerate(table.rows):
        if len(row) == 1:
            drawn.add_row(Text(shown(row[0]), style="italic"))
            continue
        first, *cells = row
        reference = is_reference(table, place)
        marked = (Text(shown(cell), style="bold" if isinstance(cell, Value) and cell.best else "") for cell in cells)
        title = Text(f"  {shown(first)}" if reference else shown(first))
        drawn.add_row(title, *marked, style="dim" if reference else None)
    heading = [Text(table.title, style="bold")] if table.title else []
    return Group(*heading, drawn, *(Text(note, style="dim") for note in table.notes))


def _markdown_row(cells: tuple[str, ...], width: int) -> str:
    if len(cells) == 1:
        cells = (f"*{cells[0]}*",)
    cells += ("",) * (width - len(cells))
    return "| " + " | ".join(safe(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


# ------------------------------------------------------------------------------------------------------------- figures


BOUNDS = {
    "untranslated": ("untranslated input", "the inputs as they are in place of the translations"),
    "real_halves": (
        "real against real",
        "two halves of the real images, which differ by chance alone. There are fewer in a half, which makes sliced "
        "Wasserstein and Fréchet distances larger",
    ),
    "real_images": ("real images", "what the classifier takes them for, the most that can be reached"),
    "real_photos": ("real photos", "what the segmenter makes of them, the most that can be reached"),
    "shuffled_labels": ("shuffled labels", "label maps of other images, which know nothing of the input"),
}
"""Name of a bound -> its name in a table, and what it is."""
_LEVELS = "swd_"
"""Older documents do not mark the levels of the pyramid as details."""


def is_detail(figure: Figure) -> bool:
    """Return whether a figure is a part of another one, which tables leave out."""
    return figure.detail or figure.name.startswith(_LEVELS)


def bound_name(name: str) -> str:
    """Return what a bound is called in a table."""
    return BOUNDS[name][0] if name in BOUNDS else name.replace("_", " ")


def figure_table(found: Direction) -> Table:
    """Return a direction's figures, grouped by the question that they answer, each with its bounds below it."""
    shown = [figure for figure in found.figures if not is_detail(figure)]
    rows: list[tuple[Cell, ...]] = []
    references: list[int] = []
    for group, question in {
        **GROUPS,
        **{figure.group: "Other" for figure in shown if figure.group not in GROUPS},
    }.items():
        own = [figure for figure in shown if figure.group == group]
        rows += [(question,)] if own else []
        for figure in own:
            rows.append((figure.title, value_of(figure), better(figure)))
            for name, figures in found.bounds.items():
                for bound in figures:
                    if bound.name == figure.name:
                        references.append(len(rows))
                        rows.append((bound_name(name), value_of(bound), ""))
    return Table(
        columns=("metric", "value", "better"),
        rows=tuple(rows),
        references=tuple(references),
        notes=tuple(_notes(shown, found.bounds)),
    )


def value_of(figure: Figure) -> Value:
    """Return a figure's number as a cell of a table."""
    return Value(value=figure.value, error=figure.error, unit=figure.unit)


def better(figure: Figure) -> str:
    """Return which way a figure is better, as an arrow and a word."""
    return {"lower": "↓ lower", "higher": "↑ higher", None: ""}[figure.better]


def _notes(figures: Sequence[Figure], bounds: Mapping[str, Sequence[Figure]]) -> Iterable[str]:
    yield from (f"{figure.title}: {figure.note}." for figure in figures if figure.note)
    names = {figure.name for figure in figures}
    for name, own in bounds.items():
        if name in BOUNDS and any(figure.name in names for figure in own):
            yield f"{BOUNDS[name][0]}: {BOUNDS[name][1]}."
    if any(figure.error is not None for figure in figures):
        yield "±: standard error by the sampling of images."


def protocol_parts(document: Document) -> list[tuple[str, Protocol]]:
    """Return what the figures depend on: what all share (under ""), what a direction adds, what single figures add."""
    found = list(document.directions.values())
    common = {**document.protocol, **_common([figure.protocol for each in found for figure in each.figures])}
    parts: list[tuple[str, Protocol]] = [("", common)]
    single: dict[tuple[str, Fact], list[str]] = {}
    for each in found:
        shared = _common([figure.protocol for figure in each.figures])
        if own := {name: value for name, value in shared.items() if name not in common}:
            parts.append((each.heading, own))
        for figure in each.figures:
            for name, value in figure.protocol.items():
                if name not in shared and value is not None and not is_detail(figure):
                    titles = single.setdefault((name, value), [])
                    titles += [] if figure.title in titles else [figure.title]
    together: dict[tuple[str, ...], dict[str, Fact]] = {}
    for (name, value), titles in single.items():  # facts of the same figures stand together
        together.setdefault(tuple(titles), {})[name] = value
    return [(title, facts) for title, facts in [*parts, *((listing(t), f) for t, f in together.items())] if facts]


def fact(name: str, value: Fact) -> str:
    """Return a fact of a protocol as text."""
    if name.endswith("fingerprint"):
        return str(value)[:12]
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def facts_of(protocol: Protocol) -> list[tuple[str, str]]:
    """Return the facts of a protocol that are known, as names and texts that people read."""
    return [(name.replace("_", " "), fact(name, value)) for name, value in protocol.items() if value is not None]


def _common(protocols: Sequence[Protocol]) -> Protocol:
    first = protocols[0] if protocols else {}
    return {n: v for n, v in first.items() if all(n in other and other[n] == v for other in protocols[1:])}


# ------------------------------------------------------------------------------------------------------------ terminal


def render(document: Document, *, figures: bool = True) -> RenderableType:
    """Return a document for `rich.console.Console.print`; without `figures` only its own tables are shown."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = []
    if document.model is not None:
        parts.append(Text(document.model.title, style="bold"))
    for found in document.directions.values():
        parts += [Text(found.heading, style="bold"), *(Text(text) for text in (found.verdict, found.summary) if text)]
        parts += [to_terminal(figure_table(found))] if figures and found.figures else []
        for part in found.answers:
            if isinstance(part, Check):
                parts += [Text(f"{found.heading}: {GROUPS.get(part.name, part.name)}", style="bold")]
                parts += [Text(text) for text in (part.verdict, part.summary) if text]
            parts += [to_terminal(table) for table in part.tables]
            parts += [*(Text(f"warning: {warning}.", style="yellow") for warning in part.warnings), Text("")]
    parts += [to_terminal(table) for table in document.tables]
    if protocol := protocol_parts(document):
        parts.append(Text("Protocol", style="bold"))
    for title, facts in protocol:
        line = "; ".join(f"{name}: {value}" for name, value in facts_of(facts))
        parts.append(Padding(Text(f"{title}: {line}" if title else line), (0, 0, 0, 2), expand=False))
    return Group(*parts)
