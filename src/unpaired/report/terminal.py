"""A results document in a terminal of 80 columns: verdict, figures with their bounds, tables, warnings, protocol."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from unpaired.report.figures import facts_of, figure_table, protocol_parts
from unpaired.report.results import Direction, Document
from unpaired.report.tables import to_terminal


def render(document: Document, *, figures: bool = True) -> RenderableType:
    """Return a document for `rich.console.Console.print`; without `figures` only its own tables are shown."""
    parts: list[RenderableType] = []
    if document.model is not None:
        parts.append(Text(document.model.title, style="bold"))
    for found in document.directions.values():
        parts += [*_direction(found, figures=figures), Text("")]
    parts += [to_terminal(table) for table in document.tables]
    if protocol := protocol_parts(document):
        parts.append(Text("Protocol", style="bold"))
    for title, facts in protocol:
        line = "; ".join(f"{name}: {value}" for name, value in facts_of(facts))
        parts.append(Padding(Text(f"{title}: {line}" if title else line), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _direction(found: Direction, *, figures: bool) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(found.heading, style="bold")]
    parts += [Text(text) for text in (found.verdict, found.summary) if text]
    if figures and found.figures:
        parts.append(to_terminal(figure_table(found)))
    parts += [to_terminal(table) for table in found.tables]
    return [*parts, *(Text(f"warning: {warning}.", style="yellow") for warning in found.warnings)]
