"""What was measured of a run's checkpoints and lies in its folder: evaluations and audits, read with care."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Kind = Literal["evaluation", "audit"]

FOLDERS: dict[Kind, str] = {"evaluation": "evaluations", "audit": "audits"}
"""Folders of a run in which they lie, one folder per checkpoint."""
VERSION = 1
"""The version of both formats that is understood."""
MOST_BYTES = 16_000_000
"""Of one file; nothing that these commands write is anywhere near."""
_READ = ConfigDict(extra="ignore", frozen=True)


def _finite(value: object) -> object:
    """Return None for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]


@dataclass(slots=True, kw_only=True, config=_READ)
class Figure:
    """One measured number with the protocol by which it was measured."""

    name: str
    title: str
    value: Number = None
    error: Number = None
    """Standard error by sampling."""
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    group: str = ""
    protocol: dict[str, Any] = field(default_factory=dict)
    note: str | None = None


@dataclass(slots=True, kw_only=True, config=_READ)
class PictureFile:
    """A picture that lies beside the JSON file."""

    file: str
    title: str = ""
    alt: str = ""


@dataclass(slots=True, kw_only=True, config=_READ)
class Table:
    """Rows of cells under named columns."""

    title: str = ""
    columns: list[str]
    rows: list[list[Any]]


@dataclass(slots=True, kw_only=True, config=_READ)
class MeasuredLine:
    """One line of a chart."""

    name: str
    x: list[Number]
    y: list[Number]


@dataclass(slots=True, kw_only=True, config=_READ)
class MeasuredChart:
    """Lines over a common axis."""

    title: str
    x_label: str = ""
    y_label: str = ""
    x_scale: Literal["linear", "log"] = "linear"
    note: str = ""
    lines: list[MeasuredLine]


@dataclass(slots=True, kw_only=True, config=_READ)
class Direction:
    """What was measured of one direction."""

    heading: str = ""
    """Such as `A to B`."""
    summary: str = ""
    """An audit's paragraph."""
    hidden_share: Number = None
    """An audit's finding, 0 to 1."""
    figures: list[Figure] = field(default_factory=list)
    bounds: dict[str, list[Figure]] = field(default_factory=dict)
    """Figures of other images by the same measures, such as `untranslated`."""
    tables: list[Table] = field(default_factory=list)
    curves: list[MeasuredChart] = field(default_factory=list)
    pictures: list[PictureFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def figure(self, name: str) -> Figure | None:
        """Return the figure of this name, None where it was not measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


@dataclass(slots=True, kw_only=True, config=_READ)
class Document:
    """The content of `evaluation.json` or `audit.json`."""

    format: str
    version: int
    created: str = ""
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    model: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    directions: dict[str, Direction]


@dataclass(slots=True, kw_only=True, config=ConfigDict(frozen=True))
class Measured:
    """One evaluation or audit of a run."""

    name: str
    """Of the checkpoint, such as `000012000` or `best`."""
    folder: Path
    document: Document

    def picture(self, picture: PictureFile) -> Path | None:
        """Return where a picture lies, None where it is named outside this folder."""
        name = picture.file
        plain = Path(name).name == name and name not in ("", "..") and "\0" not in name
        return self.folder / picture.file if plain else None


_DOCUMENT = TypeAdapter(Document)


def read_measured(run: Path, kind: Kind) -> tuple[list[Measured], list[str]]:
    """Return a run's evaluations or audits, oldest checkpoint first and `best` last, and a line on each bad file."""
    parent = run / FOLDERS[kind]
    try:
        folders = sorted(folder for folder in parent.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    except OSError:
        return [], []
    found, damaged = [], []
    for folder in sorted(folders, key=lambda each: (not each.name.isdecimal(), each.name)):
        path = folder / f"{kind}.json"
        try:
            found.append(Measured(name=folder.name, folder=folder, document=_read(path, kind)))
        except _UnreadableError as error:
            damaged.append(f"{path} was left out: {error}")
    return found, damaged


class _UnreadableError(ValueError):
    """A file is not what it should be."""


def _read(path: Path, kind: Kind) -> Document:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _UnreadableError(f"it is larger than {MOST_BYTES // 1_000_000} MB.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _UnreadableError("there is no such file.") from error
    except OSError as error:
        raise _UnreadableError(f"{error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, _UnreadableError):
            raise
        raise _UnreadableError("it is damaged (not JSON).") from error
    if not isinstance(content, Mapping) or content.get("format") != f"unpaired-{kind}":
        raise _UnreadableError(f"it is no {kind} of unpaired.")
    if content.get("version") != VERSION:
        raise _UnreadableError(
            f"its format has version {content.get('version')!r}, this version of unpaired reads {VERSION}. "
            "Update unpaired, or measure again."
        )
    try:
        return _DOCUMENT.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _UnreadableError(f"it is damaged ({place}: {first['msg']}).") from error
