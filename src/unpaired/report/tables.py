"""A `Table` of results as Markdown, and for the terminal; `templates/kit.html` draws the same in a page."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from unpaired.core.text import NONE, number, with_error
from unpaired.report.results import Cell, Table, Value

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
    heading = f"{'#' * level} {table.title}\n\n" if table.title else ""
    rule = "|".join(" ---: " if is_numeric(table, column) else " --- " for column in range(len(table.columns)))
    rows = [_markdown_row(tuple(map(shown, row)), len(table.columns)) for row in table.rows]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"{heading}" + "\n".join([_markdown_row(table.columns, 0), f"|{rule}|", *rows]) + "\n" + notes


def to_terminal(table: Table) -> RenderableType:
    """Return a table for `rich`: it wraps its first column where the terminal is narrow."""
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
        drawn.add_column(Text(name), justify="right" if right else "left", no_wrap=right, overflow="fold")
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
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
