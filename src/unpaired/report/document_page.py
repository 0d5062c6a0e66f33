"""A results document as a page: pictures, verdict, tables, charts, then protocol and versions, folded."""

from __future__ import annotations

from collections.abc import Mapping

from unpaired.report.embedding import PictureRows
from unpaired.report.figures import facts_of, figure_table, protocol_parts
from unpaired.report.page import page
from unpaired.report.results import Document


def document_page(document: Document, *, title: str = "", rows: Mapping[str, PictureRows] | None = None) -> str:
    """Return a document as one HTML file; `rows` are the pictures of each direction.

    Of a direction's tables the first is shown and the others are folded.
    """
    return page(
        "document.html",
        title=title or document.title,
        document=document,
        rows=rows or {},
        figures={name: figure_table(found) for name, found in document.directions.items() if found.figures},
        protocol=[(name, facts_of(facts)) for name, facts in protocol_parts(document)],
    )
