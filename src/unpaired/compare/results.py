"""The results of a comparison, brought together: by entry and direction, over seeds, with cost and bounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unpaired.compare.plan import Entry, Plan, Published
from unpaired.compare.score import Measured, task_of
from unpaired.compare.train import Cost
from unpaired.compare.trainings import Training
from unpaired.data.held_out import Material
from unpaired.methods import Direction

SCORES = {"pixel_accuracy": "per-pixel acc.", "class_accuracy": "per-class acc.", "class_iou": "class IoU"}
"""The three scores, and what tables call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What one seed gave in one direction."""

    training: Training
    measured: Measured
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry in one direction."""

    entry: Entry
    direction: Direction
    seeds: tuple[Seeded, ...]
    """Of the trainings that are finished; may be empty."""
    missing: tuple[str, ...]
    """Why seeds are missing: one phrase each."""

    @property
    def published(self) -> tuple[Published, ...]:
        """What was published of the entry, for all directions."""
        return self.entry.published


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that tables and page tell."""

    plan: Plan
    material: Material
    lines: tuple[Line, ...]
    bounds: dict[Direction, dict[str, dict[str, Any]]]
    """By direction: the scores of `real photos` and of `shuffled` ones, where there are labels."""
    not_shared: dict[str, tuple[str, ...]]
    """Label of an entry -> the shared settings that its method does not have."""
    protocol: tuple[tuple[str, str], ...]
    """How it was done: name and words."""

    def of(self, direction: Direction) -> list[Line]:
        """Return the lines of one direction, in the order of the plan."""
        return [line for line in self.lines if line.direction == direction]

    def task(self, direction: Direction) -> str | None:
        """Return what is compared by labels in a direction, see `score.task_of`."""
        return task_of(self.material, direction)


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and spread over seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None for one seed."""
    count: int


def summary(values: Sequence[float | None]) -> Summary | None:
    """Return mean and standard deviation (n - 1) of figures; None where there is none, or one is not known."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Summary(statistics.fmean(known), deviation, len(known))


MEASURES: dict[str, Callable[[Seeded], float | None]] = {
    "pixel_accuracy": lambda one: _score(one, "pixel_accuracy"),
    "class_accuracy": lambda one: _score(one, "class_accuracy"),
    "class_iou": lambda one: _score(one, "class_iou"),
    "l1": lambda one: one.measured.l1,
    "reconstruction_l1": lambda one: one.measured.reconstruction_l1,
    "seconds": lambda one: one.cost.seconds,
    "images_per_second": lambda one: one.cost.images_per_second,
    "parameters": lambda one: float(one.cost.parameters),
}
"""Every figure of a seed, by name."""


def measure(line: Line, name: str) -> Summary | None:
    """Return a figure of a line over its seeds."""
    return summary([MEASURES[name](one) for one in line.seeds])


def _score(one: Seeded, name: str) -> float | None:
    scores = one.measured.scores
    return None if scores is None else float(scores[name])
