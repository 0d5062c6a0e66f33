"""The parts of the page that tell what was measured: figures with their protocols, audits, best and worst pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from unpaired.report.charts_old import measured_chart
from unpaired.report.comparison import (
    GROUPS,
    Column,
    Comparison,
    Comparisons,
    Row,
    columns_of,
    compare,
    shown,
    spoken,
)
from unpaired.report.curves import figure_of
from unpaired.report.markup import (
    NONE,
    anchor,
    empty,
    folded,
    notice,
    number,
    percent,
    section,
    table,
    text,
    with_error,
)
from unpaired.report.measured import Direction, Figure, Kind, PictureFile, Table
from unpaired.report.pictures import Album, alt_of
from unpaired.report.runs import Run
from unpaired.report.summary import command, lost

_MARK = '<abbr class="mark" title="clearly the best of this row">★</abbr>'


def figures(runs: Sequence[Run]) -> str:
    """Return all figures of all evaluations, and what is missing."""
    columns = columns_of(runs, "evaluation")
    found = compare(columns)
    body = [_missing(runs, "evaluation", "evaluate")]
    body += [_direction(comparison, "p") for comparison in found.directions]
    body.append(_legend(found))
    body.append(_protocols(found, "p"))
    return section("Figures", "".join(body), "figures")


def audits(runs: Sequence[Run], album: Album) -> str:
    """Return what the audits found: figures side by side, then each audit's paragraph, charts and pictures."""
    columns = columns_of(runs, "audit")
    found = compare(columns)
    body = [_missing(runs, "audit", "audit")]
    told = [_audit(column, direction, of, album) for column, direction, of in _parts(columns)]
    measured = [comparison for comparison in found.directions if comparison.rows]
    if len(runs) == 1:  # the paragraphs and charts tell it; who wants every figure opens them
        body += told
        body += [folded(f"All figures of the audit, {each.heading}", _direction(each, "q")) for each in measured]
    else:
        body += [*(_direction(each, "q") for each in measured), *told]
    body.append(_protocols(found, "q"))
    return section("Audit: does it hide the input in the output?", "".join(body), "audit")


def pictures(runs: Sequence[Run], album: Album) -> str:
    """Return the pictures of the evaluations: best and worst translations and what else they chose."""
    columns = columns_of(runs, "evaluation")
    parts = []
    for column in columns:
        shown_pictures = "".join(
            _picture(column, each, album, found.heading or direction)
            for direction, found in sorted(column.measured.document.directions.items())
            for each in found.pictures
        )
        if shown_pictures:
            heading = f"{_run_name(column.run)} · {text(column.measured.name)}"
            parts.append(f'<h3>{heading}</h3><div class="gallery">{shown_pictures}</div>')
    body = "".join(parts) or empty("No evaluation has chosen pictures yet.")
    return section("Best and worst translations", body, "pictures")


def _parts(columns: Sequence[Column]) -> Iterable[tuple[Column, str, Direction]]:
    for column in columns:
        for direction, found in sorted(column.measured.document.directions.items()):
            yield column, direction, found


def _missing(runs: Sequence[Run], kind: Kind, verb: str) -> str:
    """Say which runs have not been measured, and how that is done."""
    missing = [run for run in runs if not (run.evaluations if kind == "evaluation" else run.audits)]
    if kind == "audit":
        oneway = [run for run in missing if not run.auditable]
        missing = [run for run in missing if run.auditable]
        if oneway:
            names = "" if len(runs) == 1 else f" of {', '.join(map(_run_name, oneway))}"
            why = "it takes a network for either direction, and not all of them were trained here"
            return empty(f"No audit{names}: {why}.") + _commands(runs, missing, kind, verb)
    return _commands(runs, missing, kind, verb)


def _commands(runs: Sequence[Run], missing: Sequence[Run], kind: Kind, verb: str) -> str:
    if not missing:
        return ""
    commands = [f"<code>{text(command(verb, run))}</code>" for run in missing]
    if len(runs) == 1:
        return empty(f"No {kind} yet. {commands[0]} makes one.")
    names = ", ".join(map(_run_name, missing))
    listed = "".join(f"<li>{each}</li>" for each in commands)
    return empty(f"No {kind} yet of {names}.") + folded(
        f"Commands that make one ({len(missing)})", f"<ul>{listed}</ul>"
    )


def _run_name(run: Run) -> str:
    return f'<span class="number">{run.number}</span> {text(run.name)}'


def _name(column: Column, direction: str) -> str:
    return f"{_run_name(column.run)} · {text(column.measured.name)} · {text(direction)}"


# ---------------------------------------------------------------------------------------------------------- figures


def _direction(comparison: Comparison, prefix: str) -> str:
    """Return one direction's figures; `prefix` begins the ids of the protocols that they name."""
    notes: list[str] = []
    body = "".join(notice(text(line)) for line in comparison.differences)
    body += _warnings(comparison)
    body += _figures_table(comparison, notes, prefix)
    body += "".join(f'<p class="note"><sup>{place}</sup> {text(note)}</p>' for place, note in enumerate(notes, 1))
    for column in comparison.columns:
        for each in column.measured.document.directions[comparison.direction].tables:
            body += folded(
                f"{each.title} · {column.run.number} {column.run.name} · {column.measured.name}", _table(each)
            )
    return f"<h3>{text(comparison.heading)}</h3>\n{body}"


def _warnings(comparison: Comparison) -> str:
    """Return what was noted and warned of; what several say is told once."""
    notices: dict[str, list[Column]] = {}
    warnings: dict[str, list[Column]] = {}
    for column in comparison.columns:
        document = column.measured.document
        for line in document.notices:
            notices.setdefault(line, []).append(column)
        for line in document.directions[comparison.direction].warnings:
            warnings.setdefault(line, []).append(column)
    told = "".join(notice(f"{text(line)}{_by(by, comparison)}") for line, by in warnings.items())
    return told + "".join(f'<p class="note">{text(line)}{_by(by, comparison)}</p>' for line, by in notices.items())


def _by(columns: Sequence[Column], comparison: Comparison) -> str:
    """Return who said a thing; nothing where all did."""
    if len(columns) == len(comparison.columns):
        return ""
    names = ", ".join(f"{_run_name(column.run)} {text(column.measured.name)}" for column in columns)
    return f" <small>({names})</small>"


_LEVELS = "swd_"
"""Figures of single levels of the pyramid: they stand in the note of their mean, and in the JSON."""


def _figures_table(comparison: Comparison, notes: list[str], prefix: str) -> str:
    if not comparison.rows:
        return empty("No figures.")
    width = len(comparison.columns) + 2
    head = "".join(
        f'<th scope="col">{_run_name(c.run)}<small>{text(c.measured.name)}</small></th>' for c in comparison.columns
    )
    rows, group = [], None
    several = comparison.measured_by_several
    for row in comparison.rows:
        if row.figure.name.startswith(_LEVELS):
            continue
        if row.figure.group != group:
            group = row.figure.group
            title = GROUPS.get(group, group.capitalize())
            rows.append(f'<tr class="group"><th colspan="{width}" scope="rowgroup">{text(title)}</th></tr>\n')
        rows.append(_row(row, notes, prefix, marked=row.figure.name in several))
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Figures, {text(comparison.direction)}">
<table class="figures"><thead><tr><th scope="col">figure</th>{head}<th scope="col">protocol</th></tr></thead>
<tbody>
{"".join(rows)}</tbody></table></div>
"""


def _row(row: Row, notes: list[str], prefix: str, *, marked: bool) -> str:
    figure = row.figure
    unit = f" [{text(figure.unit)}]" if figure.unit else ""
    better = f"<small>{figure.better} is better</small>" if figure.better and not row.bound else ""
    by = f" by protocol P{row.protocol + 1}" if marked else ""
    title = f"{text(figure.title)}{unit}{by}{better}"
    kind = label = ""
    if row.bound:  # it stands below the figure that it is a bound of
        kind, title = ' class="bound"', text(f"{spoken(row.bound)}{by}")
        label = f' aria-label="{text(figure.title)}: {title}"'
    cells = "".join(
        f'<td class="best">{_cell(cell, notes)}{_MARK}</td>' if place == row.best else f"<td>{_cell(cell, notes)}</td>"
        for place, cell in enumerate(row.cells)
    )
    return (
        f'<tr{kind}><th scope="row"{label}>{title}</th>{cells}'
        f'<td><a href="#{prefix}{row.protocol + 1}">P{row.protocol + 1}</a></td></tr>\n'
    )


def _cell(figure: Figure | None, notes: list[str]) -> str:
    if figure is None:
        return NONE
    if figure.note and figure.note not in notes:
        notes.append(figure.note)
    mark = f"<sup>{notes.index(figure.note) + 1}</sup>" if figure.note else ""
    return f"{with_error(figure.value, figure.error)}{mark}"


def _legend(found: Comparisons) -> str:
    if not found.directions:
        return ""
    several = any(len(comparison.columns) > 1 for comparison in found.directions)
    star = (
        " ★: the best of its row, where the difference to the next is larger than twice its standard error; where no "
        "error is known, none is marked. Figures of different protocols stand in rows of their own and do not compare."
        if several
        else ""
    )
    return f'<p class="note">±: standard error by sampling. P1, P2, …: how it was measured, see below.{star}</p>'


def _table(content: Table) -> str:
    rows = [[_value(cell) for cell in row] for row in content.rows if row]
    return table(content.title, [text(column) for column in content.columns], rows)


def _value(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return text(value if isinstance(value, str) else shown(value))


def _protocols(found: Comparisons, prefix: str) -> str:
    """Return every protocol: first what all of them share, then what each has of its own."""
    if not found.protocols:
        return ""
    first = found.protocols[0]
    shared = {name: value for name, value in first.items() if _in_all(name, value, found.protocols)}
    if len(found.protocols) == 1:
        return f'<h3 id="{prefix}1">Protocol P1</h3>{_protocol(first)}'
    used: dict[int, dict[str, dict[str, None]]] = {}
    for comparison in found.directions:
        for row in comparison.rows:
            if row.figure.name.startswith(_LEVELS):
                continue
            used.setdefault(row.protocol, {}).setdefault(row.figure.title, {})[comparison.direction] = None
    parts = []
    for place, protocol in enumerate(found.protocols):
        own = {name: value for name, value in protocol.items() if name not in shared}
        titles = ", ".join(f"{title} ({' '.join(ways)})" for title, ways in used.get(place, {}).items())
        parts.append(f'<h4 id="{prefix}{place + 1}">P{place + 1}: {text(titles)}</h4>{_protocol(own)}')
    common = f"<h3>Protocol of all figures</h3>{_protocol(shared)}" if shared else ""
    return common + folded(f"What each of the {len(parts)} protocols has of its own", "".join(parts))


def _in_all(name: str, value: object, protocols: Sequence[Mapping[str, Any]]) -> bool:
    return all(name in protocol and protocol[name] == value for protocol in protocols)


def _protocol(protocol: Mapping[str, Any]) -> str:
    items = "".join(
        f"<div><dt>{text(spoken(name))}</dt><dd>{text(shown(value))}</dd></div>" for name, value in protocol.items()
    )
    return f'<dl class="protocol">{items}</dl>' if items else empty("Only what all share.")


# ------------------------------------------------------------------------------------------------ audits and pictures


def _audit(column: Column, direction: str, found: Direction, album: Album) -> str:
    name = anchor("audit", column.run.number, column.measured.name, direction)
    takes = ", ".join(f"{what} takes {percent(share)}" for what, share in lost(found))
    share = f"<p><b>Of what comes back, {text(takes)}.</b></p>" if takes else ""
    summary = f'<p class="summary">{text(found.summary)}</p>' if found.summary else ""
    charts = "".join(figure_of(measured_chart(chart), f"{name}-{place}") for place, chart in enumerate(found.curves, 1))
    drawn = f'<div class="charts">{charts}</div>' if charts else ""
    shown_pictures = "".join(_picture(column, each, album, told=True) for each in found.pictures)
    gallery = f'<div class="gallery wide">{shown_pictures}</div>' if shown_pictures else ""
    return f"<h3>{_name(column, found.heading or direction)}</h3>{share}{summary}{drawn}{gallery}"


def _picture(column: Column, picture: PictureFile, album: Album, heading: str = "", *, told: bool = False) -> str:
    """Return a picture under its title; `told` puts what stands for it beside it too, where columns need words."""
    path = column.measured.picture(picture)
    title = picture.title or picture.file
    whole = title if heading in title else f"{title}, {heading}"
    caption = f"<figcaption>{text(whole)}</figcaption>"
    if path is None:
        return f"<figure>{caption}{empty('The file is named outside its folder, so it is not shown.')}</figure>"
    if path in album.left_out:
        return f"<figure>{caption}{empty(f'Left out, there was no more room: <code>{text(path)}</code>')}</figure>"
    if path not in album.parts:
        return f"<figure>{caption}{empty(f'It cannot be read: <code>{text(path)}</code>')}</figure>"
    images = "".join(
        f'<img src="{part.url}" width="{part.width}" height="{part.height}" alt="{text(alt_of(picture))}">'
        for part in album.parts[path]
    )
    words = ""
    if told:  # many columns: on a phone they scroll
        images = f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">{images}</div>'
        words = f'<p class="note">{text(picture.alt)}</p>' if picture.alt else ""
    return f"<figure>{caption}{images}{words}</figure>"
