"""`unpaired formats`: what this installation reads and writes, from the readers and the formats themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unpaired.cli.app import app
from unpaired.cli.options import Json
from unpaired.core.terminal import say, show
from unpaired.core.text import json_text

if TYPE_CHECKING:
    from unpaired.report.results import Table

_ALL = "any"


@app.command
def formats(*, as_json: Json = False) -> int:
    """List the files that this installation reads and writes, and what would read the others.

    unpaired formats
    """
    from unpaired.report.tables import to_terminal

    if as_json:
        found = {table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in tables()}
        say(json_text(found))
        return 0
    for table in tables():
        show(to_terminal(table))
    return 0


def tables(*, here: bool = True) -> list[Table]:
    """Return what is read, what is written, and what nothing reads; with `here`, whether this installation does."""
    from unpaired.report.results import Table

    return [
        Table(
            title="Files that are read",
            columns=("kind", "here" if here else "extra", "several images", "written back", "files"),
            rows=tuple(_read(here)),
        ),
        Table(
            title="Formats of translations",
            columns=("format", "values", "channels", "alpha beside them", "files"),
            rows=tuple(_written()),
        ),
        Table(title="Files that are left out of folders", columns=("because", "files"), rows=tuple(_left_out())),
    ]


def _read(here: bool) -> list[tuple[str, ...]]:
    from unpaired.data.formats import READERS, Reader, own_readers

    rows = list[tuple[str, ...]]()
    for name, reader in {**own_readers(), **READERS}.items():
        like = type(reader).output_suffix is not Reader.output_suffix
        missing = f"pip install 'unpaired[{reader.extra}]'"
        last = ("yes" if reader.is_installed() else missing) if here else reader.extra
        rows.append((name, last, _mark(bool(reader.containers)), _mark(like), _listed(reader.suffixes)))
    return rows


def _written() -> list[tuple[str, ...]]:
    from unpaired.data.encode import FORMATS

    rows = list[tuple[str, ...]]()
    for form in dict.fromkeys(FORMATS.values()):
        suffixes = [suffix for suffix, other in FORMATS.items() if other is form]
        values = _ALL if form.dtypes is None else ", ".join(sorted(form.dtypes))
        channels = _ALL if form.channels is None else ", ".join(map(str, sorted(form.channels)))
        rows.append((form.name, values, channels, _mark(form.with_alpha is not None), _listed(suffixes)))
    return rows


def _left_out() -> list[tuple[str, ...]]:
    from unpaired.data.decode import UNSUPPORTED
    from unpaired.data.formats import readable_suffixes

    reasons: dict[str, list[str]] = {}
    for suffix, reason in UNSUPPORTED.items():
        if suffix not in readable_suffixes():
            reasons.setdefault(reason, []).append(suffix)
    return [(reason, _listed(suffixes)) for reason, suffixes in reasons.items()]


def _listed(suffixes: frozenset[str] | list[str]) -> str:
    return ", ".join(sorted(suffix[1:] for suffix in suffixes))


def _mark(yes: bool) -> str:
    return "yes" if yes else ""
