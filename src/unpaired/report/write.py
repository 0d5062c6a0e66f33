"""Writing a report: one HTML file, and JSON beside it where it is wanted; nothing that is not a report is replaced."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unpaired import __version__
from unpaired.core.errors import UserError
from unpaired.core.files import write_atomic
from unpaired.report.document import FORMAT, document
from unpaired.report.old_page import GENERATOR, page_of
from unpaired.report.pictures import embed
from unpaired.report.runs import Run, read_runs
from unpaired.report.webpage import generator_tag

_THEN = "write the report again"
_HEAD = 4096
"""Bytes of a file in which a report says that it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written."""

    page: Path
    data: Path | None
    runs: Sequence[Run]
    pictures_left_out: int


def write_report(runs: Sequence[Path], out: Path, *, data: Path | None = None, title: str | None = None) -> Report:
    """Write the page `out` and, where `data` is given, the same as JSON; both atomically.

    An earlier report is replaced. Raises `UserError` for folders that are no runs, for a file in the way that is no
    report, and when the disk is full; nothing is written then.
    """
    if not runs:
        raise UserError("no run is given. Give one or several folders that `unpaired train` wrote.")
    if title is not None and not title.strip():
        raise UserError("--title is empty. Give a heading, or leave it out.")
    _check_place(out, "--out", generator_tag(GENERATOR), {".html", ".htm"})
    if data is not None:
        _check_place(data, "--json", f'"format": "{FORMAT}"', {".json"})
    found = read_runs(runs)
    heading = title.strip() if title is not None else _title(found)
    album = embed(found)
    created = datetime.now().astimezone()
    page = page_of(found, album, title=heading, created=created)
    if data is not None:
        content = document(
            found, album, title=heading, created=created.isoformat(timespec="seconds"), version=__version__
        )
        text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False, default=str)
        write_atomic(data, f"{text}\n".encode("utf-8", "backslashreplace"), then=_THEN)
    write_atomic(out, page.encode("utf-8", "replace"), then=_THEN)
    return Report(page=out, data=data, runs=found, pictures_left_out=len(album.left_out))


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return runs[0].name
    names = ", ".join(run.name for run in runs)
    return names if len(names) <= 60 else f"{len(runs)} runs"


def _check_place(path: Path, option: str, mark: str, suffixes: set[str]) -> None:
    """Refuse a place where something lies that is no report, and a name that would mislead."""
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{option} {path}: expected a file that ends in {' or '.join(sorted(suffixes))}.")
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder. Give a file, such as {path / f'report{min(suffixes)}'}.")
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"{option} {path} cannot be read: {error.strerror or error}.") from error
    if mark not in head:
        raise UserError(
            f"{option} {path} exists and is no report of unpaired, so it is not replaced. "
            "Choose another name, or delete the file."
        )


def _plain(value: Any) -> Any:
    """Return `value` in JSON's own types; numbers that JSON cannot hold become None."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
