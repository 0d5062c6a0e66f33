"""What an evaluation finds: figures with the protocol that they were measured by, tables and pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Better = Literal["lower", "higher"]
Group = Literal["distribution", "paired", "content", "reconstruction", "labels", "audit"]
Fact = str | int | float | bool | None
Protocol = Mapping[str, Fact]
"""What a figure depends on, flat: names and values."""

FORMAT = "unpaired-evaluation"
VERSION = 1
FILE = "evaluation.json"
GROUPS: dict[Group, str] = {
    "distribution": "Do translations look like images of the target?",
    "paired": "Are they near the true images?",
    "content": "Is the input's content kept?",
    "reconstruction": "Does the way back return the input?",
    "labels": "Are the labels right?",
    "audit": "Is the input hidden in the output?",
}
"""The groups of figures in the order in which they are told, each as the question that it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and everything that it depends on."""

    name: str
    """Short and fixed, such as `swd`."""
    title: str
    """As a person reads it; a figure of other features than FID's never has FID as its title."""
    value: float | None
    """None where the number does not exist; `note` then says why."""
    error: float | None = None
    """Standard error by the sampling of images; None where it cannot be told."""
    unit: str = ""
    better: Better | None = None
    group: Group
    protocol: Protocol = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        """Refuse what JSON cannot hold, and a missing number without a word."""
        for number in (self.value, self.error):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name} is {number}; a number that does not exist is None, with a note")
        if self.value is None and not self.note:
            raise ValueError(f"{self.name} has no value and no note that says why")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Words and numbers in rows; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture beside the JSON."""

    file: str
    title: str
    alt: str
    """What it shows, in words, for who cannot see it."""
    content: bytes = field(repr=False)
    """The PNG file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionResult:
    """Everything that was found of one direction."""

    heading: str
    """Such as `A to B`."""
    figures: tuple[Figure, ...]
    bounds: Mapping[str, tuple[Figure, ...]]
    """Figures of other images by the same measures: `untranslated`, `real_halves`, `real_photos`, `shuffled_labels`."""
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    reference_reused: bool = False
    """Whether the statistics of the real images were all found in the user's cache; it changes no figure."""

    def figure(self, name: str) -> Figure:
        """Return the figure of a name; `KeyError` names those that there are."""
        found = next((figure for figure in self.figures if figure.name == name), None)
        if found is None:
            raise KeyError(f"no figure {name}; there are {', '.join(figure.name for figure in self.figures)}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The result of an evaluation."""

    created: str
    """ISO time."""
    command: str
    versions: Mapping[str, str]
    model: Mapping[str, Any] | None
    """None where folders of images were compared."""
    data: Mapping[str, Any]
    directions: Mapping[str, DirectionResult]
    """By `a2b`, `b2a`, or `folders` where folders of images were compared."""
    notices: tuple[str, ...] = ()
    """What a person should know of the data and the model."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "created": self.created,
            "command": self.command,
            "versions": dict(self.versions),
            "model": None if self.model is None else dict(self.model),
            "data": dict(self.data),
            "notices": list(self.notices),
            "directions": {name: _direction_to_json(found) for name, found in self.directions.items()},
        }

    def to_bytes(self) -> bytes:
        """Return `evaluation.json` as bytes; `allow_nan` is off, so that every JSON reader can read it."""
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
            "utf-8", "backslashreplace"
        )


def _direction_to_json(found: DirectionResult) -> dict[str, Any]:
    return {
        "heading": found.heading,
        "figures": figures_to_json(found.figures),
        "bounds": {name: figures_to_json(figures) for name, figures in found.bounds.items()},
        "tables": [dataclasses.asdict(table) for table in found.tables],
        "pictures": [{"file": one.file, "title": one.title, "alt": one.alt} for one in found.pictures],
        "warnings": list(found.warnings),
        "reference_reused": found.reference_reused,
    }


def figures_to_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return figures as JSON holds them."""
    return [{**dataclasses.asdict(figure), "protocol": dict(figure.protocol)} for figure in figures]
