"""README.md of a model folder: a model card for people, with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from unpaired.core.errors import UserError
from unpaired.core.files import read_json, real_path
from unpaired.core.text import printable, with_error
from unpaired.data.directions import DIRECTIONS, heading
from unpaired.models.folder import ModelCard

README = "README.md"
LIMITS = (
    "It does what its training images show, at about their size; on other images it may do nothing, or something else. "
    "Look at its results before you use them."
)
MOST_FIGURES = 12
"""Of one direction, in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a model card says that the model itself does not know."""

    name: str
    use: str = ""
    """How a user names the model; by default its name."""
    data: str = ""
    """What it was trained on."""
    method: str = ""
    limits: str = LIMITS
    measures: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    """Figures of `evaluation.json` by direction."""
    measured_on: str = ""


def readme(card: ModelCard, about: About) -> str:
    """Return the model card of a model as Markdown."""
    directions = [name for name in DIRECTIONS if name in card.translators]
    headings: dict[str, str] = {name: heading(name, card.domains) for name in directions}
    licence = card.licence or "none stated"
    known = re.fullmatch(r"[A-Za-z][A-Za-z0-9.\-]{1,40}", licence) is not None  # as the hub's lower-case identifiers
    method = about.method or card.method or ""
    measures = {name: list(figures)[:MOST_FIGURES] for name, figures in (about.measures or {}).items()}
    values: dict[str, Any] = {
        "name": about.name,
        "use": about.use or about.name,
        "licence": licence,
        "licence_id": licence.lower() if known else "other",
        "licence_name": "" if known or card.licence is None else licence,
        "tags": ["unpaired", "image-to-image", *([method.lower()] if method else [])],
        "index": _index(about, measures, headings),
        "headings": list(headings.values()),
        "directions": directions,
        "both": len(directions) > 1,
        "images_seen": f"{card.images_seen:,}" if card.images_seen else "",
        "origin": card.origin,
        "data": about.data or "not stated",
        "networks": [(headings[name], _network(card, name)) for name in directions],
        "scale": None if card.scale is None else str(card.scale),
        "extensions": ", ".join(name for names in card.extensions.values() for name in names),
        "rows": [_row(headings[name], figure) for name in measures if name in headings for figure in measures[name]],
        "measured_on": about.measured_on,
        "limits": about.limits,
    }
    return _template().render(values) + "\n"


def measures_of(run: Path, folder: Path) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Return the figures that a run's `evaluation.json` holds of a checkpoint, by direction, and where they come from.

    Empty where it was not evaluated.
    """
    try:
        document = read_json(run / "evaluations" / real_path(folder).name / "evaluation.json", inside=run)
    except UserError:
        return {}, ""
    found: dict[str, list[dict[str, Any]]] = {}
    directions = document.get("directions")
    for name, direction in directions.items() if isinstance(directions, dict) else ():
        figures = direction.get("figures") if isinstance(direction, dict) else None
        found[name] = [figure for figure in figures or () if isinstance(figure, dict) and _is_measure(figure)]
    data = document.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return found, Path(root).name if isinstance(root, str) else ""


def _is_measure(figure: Mapping[str, Any]) -> bool:
    named = isinstance(figure.get("name"), str) and isinstance(figure.get("title"), str)
    return named and isinstance(figure.get("value"), int | float) and not figure.get("detail")


def _row(direction: str, figure: Mapping[str, Any]) -> list[str]:
    error = figure.get("error")
    value = with_error(figure["value"], error if isinstance(error, int | float) else None)
    cells = (direction, figure["title"], f"{value} {figure.get('unit') or ''}".strip(), figure.get("better") or "")
    return [_cell(each) for each in cells]


def _cell(text: object) -> str:
    return printable(str(text)).replace("|", "\\|")


def _index(
    about: About, measures: Mapping[str, Sequence[Mapping[str, Any]]], headings: Mapping[str, str]
) -> list[dict[str, Any]]:
    results = [
        {
            "task": {"type": "image-to-image", "name": headings[name]},
            "dataset": {"type": about.measured_on or "images", "name": about.measured_on or about.data or "images"},
            "metrics": [{"type": f["name"], "name": f["title"], "value": f["value"]} for f in figures],
        }
        for name, figures in measures.items()
        if figures and name in headings
    ]
    return [{"name": about.name, "results": results}] if results else []


def _network(card: ModelCard, direction: str) -> str:
    described = card.translators[direction].network
    return _cell(", ".join(f"{key} {value}" for key, value in described.items() if value not in (False, None)))


@functools.cache
def _template() -> jinja2.Template:
    text = (files("unpaired.models") / "templates" / "model_card.md").read_text(encoding="utf-8")
    # Markdown, which the hub sanitises: escaping is for names inside tables, see `_cell`.
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(text)
