"""The page of a comparison: tables, then pictures as in the paper, a row an input and a column a method; one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
from PIL import Image as PillowImage

from unpaired.compare.plan import INPUT, TRUTH
from unpaired.compare.results import Line, Results
from unpaired.compare.score import Scorer, sides
from unpaired.compare.table import NONE, PUBLISHED, Table, heading, tables_of
from unpaired.data.held_out import Picture, displayed
from unpaired.methods import Direction
from unpaired.report.image_grid import TINY, grid, png, stack
from unpaired.report.webpage import webpage

SMALL, WIDEST = 128, 224
"""Pixels that a picture takes on the page: tiny ones are magnified in whole steps up to the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures of one direction: for every row, pictures by the name of their column."""

    direction: Direction
    title: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Picture], ...]


def pictures_of(results: Results, scorer: Scorer, direction: Direction) -> Pictures:
    """Return the pictures of a direction: input, the image that belongs to it where there is one, every method.

    The methods' are those of the first seed that is finished.
    """
    source, target = sides(direction)
    test, domains = scorer.material.test, scorer.material.domains
    positions = scorer.positions(direction)
    lines = [line for line in results.of(direction) if line.seeds]
    rows = []
    for number, row in enumerate(scorer.shown_rows(direction)):
        position, partner = positions[row]
        found = {INPUT: displayed(test.of(source)[position], domains[source])}
        if partner is not None:
            found[TRUTH] = displayed(test.of(target)[partner], domains[target])
        found |= {line.entry.label: _read(scorer, line, direction, number) for line in lines}
        rows.append(found)
    given = (INPUT, TRUTH) if scorer.material.test.pairs else (INPUT,)
    return Pictures(
        direction=direction,
        title=heading(results, direction),
        columns=(*given, *(line.entry.label for line in lines)),
        rows=tuple(rows),
    )


def page_of(results: Results, pictures: Sequence[Pictures]) -> str:
    """Return the whole page as HTML; everything is inside: styles, pictures (lossless), numbers."""
    tables = tables_of(results)
    count = len(results.plan.directions)
    body = [_header(results, pictures)]
    body += [_table(table) for table in tables[:count]]
    body += [_grid(each) for each in pictures]
    body += [_table(table) for table in tables[count:]]
    body.append(_protocol(results))
    style = (files("unpaired.compare") / "assets" / "page.css").read_text(encoding="utf-8")
    style += f"main {{ --cell: {_cell(results.material.size)}px; }}\n"
    return webpage(results.plan.title, "".join(body), style=style)


def picture_of(pictures: Sequence[Pictures]) -> bytes:
    """Return all directions as one PNG file."""
    return png(stack([grid(each.rows, each.columns, each.title) for each in pictures]))


def _read(scorer: Scorer, line: Line, direction: Direction, number: int) -> Picture:
    with PillowImage.open(scorer.picture(line.seeds[0].training.name, direction, number)) as image:
        return np.asarray(image.convert("RGB"))


def _header(results: Results, pictures: Sequence[Pictures]) -> str:
    links = [f'<a href="#pictures-{each.direction}">Pictures, {escape(each.title)}</a>' for each in pictures]
    links.append('<a href="#protocol">Protocol</a>')
    text = f"<p>{escape(results.plan.description.strip())}</p>\n" if results.plan.description else ""
    return f"<header><h1>{escape(results.plan.title)}</h1>\n{text}<nav>{''.join(links)}</nav></header>\n"


def _table(table: Table) -> str:
    kinds = ["published" if cell == PUBLISHED else "" for cell in table.header]
    cells_of_head = zip(kinds, table.header, strict=True)
    head = "".join(f'<th scope="col" class="{k}">{escape(cell)}</th>' for k, cell in cells_of_head)
    rows = []
    first_apart = len(table.rows) - table.apart
    for number, (name, *cells) in enumerate(table.rows):
        kind = ' class="apart first"' if number == first_apart else ' class="apart"' if number > first_apart else ""
        figures = "".join(f'<td class="{k}">{escape(cell)}</td>' for k, cell in zip(kinds[1:], cells, strict=True))
        rows.append(f'<tr{kind}><th scope="row">{escape(name)}</th>{figures}</tr>\n')
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in table.notes)
    return f"""<section>
<h2>{escape(table.title)}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table class="figures">
<thead><tr>{head}</tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
{notes}</section>
"""


def _grid(pictures: Pictures) -> str:
    given = [name for name in (INPUT, TRUTH) if name in pictures.columns]

    def kind(name: str) -> str:
        return ' class="given"' if name == given[-1] else ""

    head = "".join(f'<th scope="col"{kind(name)}>{escape(name)}</th>' for name in pictures.columns)
    rows = []
    for number, row in enumerate(pictures.rows, 1):
        cells = [f"<td{kind(name)}>{_image(row.get(name), f'{name}, row {number}')}</td>" for name in pictures.columns]
        rows.append(f"<tr>{''.join(cells)}</tr>\n")
    return f"""<section>
<h2 id="pictures-{pictures.direction}">Pictures, {escape(pictures.title)}</h2>
<div class="pictures" tabindex="0" role="region" aria-label="Pictures, {escape(pictures.title)}"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{"".join(rows)}</tbody>
</table></div>
</section>
"""


def _image(picture: Picture | None, text: str) -> str:
    if picture is None:
        return f'<span class="empty">{NONE}</span>'
    height, width = picture.shape[:2]
    url = base64.b64encode(png(picture)).decode("ascii")
    small = ' class="small"' if max(height, width) < TINY else ""
    return (
        f'<img{small} src="data:image/png;base64,{url}" width="{width}" height="{height}" alt="{escape(text)}" '
        'decoding="async">'
    )


def _cell(size: tuple[int, int]) -> int:
    longest = max(size)
    return size[1] * (SMALL // longest) if longest < TINY else min(size[1], WIDEST)


def _protocol(results: Results) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in results.protocol)
    return f'<section>\n<h2 id="protocol">Protocol</h2>\n<dl>\n{items}</dl>\n</section>\n'
