"""Pages: templates filled and made one HTML file that holds everything and loads nothing.

A page is a template that extends `base.html` and draws with the macros of `kit.html`. Text is escaped; styles and
scripts are admitted by their hash, so nothing that a run, a file or a message is called can run in a page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from unpaired.core import text
from unpaired.report import chart, tables
from unpaired.report.embedding import PictureRows
from unpaired.report.results import GROUPS, Check, Document


def page(
    template: str,
    *,
    title: str,
    package: str = "unpaired.report",
    scripts: tuple[str, ...] = (),
    style: str = "",
    generator: str = "unpaired",
    **values: Any,
) -> str:
    """Return a whole page.

    `template` lies in the folder `templates` of `package`. `scripts` are files of `report/assets`; `chart.js` is added
    where the page has charts. `style` is added to the one style sheet. `values` are what the template shows.
    """
    sheet = chart.stylesheet() + asset("page.css") + style
    body = environment(package).get_template(template).render(title=title, **values)
    if 'class="plot"' in body:
        scripts = ("chart.js", *scripts)
    codes = [asset(name) for name in scripts]
    policy = f"default-src 'none'; img-src data:; style-src {_hash(sheet)}; "
    policy += f"script-src {' '.join(map(_hash, codes))}; " if codes else ""
    return (
        environment()
        .get_template("frame.html")
        .render(
            title=title,
            policy=Markup(policy + "base-uri 'none'; form-action 'none'"),
            generator=generator,
            style=Markup(sheet),
            scripts=[Markup(code) for code in codes],
            body=Markup(body),
            refresh=values.get("refresh"),
        )
    )


def document_page(document: Document, *, title: str = "", rows: Mapping[str, PictureRows] | None = None) -> str:
    """Return a document as one HTML file; `rows` are the pictures of each direction.

    Every question of an audit is shown; of each one's tables the first, the others are folded.
    """
    questions = {
        name: [(GROUPS.get(part.name, part.name) if isinstance(part, Check) else "", part) for part in found.answers]
        for name, found in document.directions.items()
    }
    return page(
        "document.html",
        title=title or document.title,
        document=document,
        rows=rows or {},
        questions=questions,
        figures={name: tables.figure_table(found) for name, found in document.directions.items() if found.figures},
        protocol=[(name, tables.facts_of(facts)) for name, facts in tables.protocol_parts(document)],
    )


def asset(name: str) -> str:
    """Return a file of `report/assets`."""
    return (files("unpaired.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def environment(package: str = "unpaired.report") -> Environment:
    """Return the templates of a package, and those of the kit."""
    found = chart.templates(package, "unpaired.report")
    filters: dict[str, Callable[..., Any]] = {
        "number": text.number,
        "percent": text.percent,
        "duration": text.duration,
        "memory": text.memory,
        "plural": text.plural,
        "listing": lambda names, last="and": text.listing(list(names), last),
        "cell": tables.shown,
        "spaced": lambda name: str(name).replace("_", " "),
    }
    found.filters.update(filters)
    found.globals.update(
        draw=chart.svg,
        legend_of=chart.legend,
        numbers_of=chart.numbers,
        is_numeric=tables.is_numeric,
        is_reference=tables.is_reference,
        NONE=text.NONE,
    )
    return found


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}'"
