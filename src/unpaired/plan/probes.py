"""Short trainings of a few candidates, judged on held-out images: in every round the worse half ends.

Successive halving (Jamieson and Talwalkar 2016): each of the ceil(log2 n) rounds spends an equal part, shared equally
by the candidates that are left, and a training goes on where the round before it ended. The trainings are those of a
comparison, the figures those of their own evaluations. A probe has the full learning rate, so that it can be the
beginning of the real run. What was done is kept in the folder: the same call goes on after any kill.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from unpaired.compare.plan import Entry
from unpaired.compare.train import carry_out, images_done, run_of
from unpaired.compare.trainings import Training
from unpaired.core.errors import UserError, option
from unpaired.core.files import write_atomic
from unpaired.core.text import listing, number, percent, plural
from unpaired.data.directions import Direction, sides
from unpaired.data.held_out import evenly, open_dataset
from unpaired.metrics.features.base import as_colour
from unpaired.metrics.structure import edge_distance
from unpaired.report.results import Table
from unpaired.report.run_log import read_metrics
from unpaired.training.settings import RunConfig

RECORD = "probes.json"
FLOOR = 0.05
"""Content that a candidate must keep: 1 is that of the input, 0 what an unrelated image of the target has of it."""
UNRELATED = 50
"""Pairs of unrelated images that are compared for that."""
ENOUGH = 200
"""Images of a candidate; with fewer it is said that probes tell little (docs/auto.md has a case)."""
ENDLESS = 1_000_000
"""Epochs at the full learning rate, while the length of the real run is not known."""
INTERVALS = ("evaluate_every_images", "sample_every_images", "checkpoint_every_images")
"""What happens at the end of a round alone."""
TITLES = {"kernel": "kernel distance", "swd": "SWD"}


class Tried(BaseModel):
    """How far a candidate has come."""

    cost: float
    """Of an image, in the unit of the budget."""
    images: int = 0
    allowed: float = 0.0
    """What it may have spent at the end of the running round: `target` images, in whole batches."""
    target: int = 0
    rounds: int = 0
    """Rounds after which it was judged."""
    distance: float | None = None
    """To the held-out images of the target domain; None where it diverged."""
    kept: float | None = None
    """Content; None where it cannot be measured."""
    ended: int = 0
    """The round after which it ended; 0 for one that is still in."""

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Orders candidates, the best first: those that diverged and those below the floor lose."""
        return self.distance is None, self.kept is not None and self.kept < FLOOR, self.distance or 0.0

    def in_words(self) -> str:
        """Return its figures."""
        kept = "" if self.kept is None else f", content kept {percent(self.kept, 1)}"
        found = "diverged" if self.distance is None else number(self.distance, 3)
        return f"{found} after {plural(self.images, 'image')}{kept}"


class Probes(BaseModel):
    """The record of probes."""

    direction: Direction
    """Which way is judged."""
    unrelated: float | None
    """Edge distance of inputs and unrelated images of the target; None where it cannot be measured."""
    tried: dict[str, Tried]
    measure: str = ""
    """What judges: the kernel distance where features are measured, else SWD."""
    round: int = 1

    @property
    def spent(self) -> float:
        """What all have spent together."""
        return sum(each.images * each.cost for each in self.tried.values())

    @property
    def ranking(self) -> list[str]:
        """The candidates that are still in, the best first."""
        return sorted((name for name, each in self.tried.items() if not each.ended), key=lambda n: self.tried[n].rank)

    @property
    def winner(self) -> Tried:
        """The best of those that are still in."""
        return self.tried[self.ranking[0]]

    def reason(self) -> str:
        """Say why the winner won, with its figures and those of the others."""
        others = [f"{name} {each.in_words()}" for name, each in self.tried.items() if each is not self.winner]
        return f"{TITLES[self.measure]} of {self.direction} {self.winner.in_words()}; {'; '.join(others)}"

    def table(self) -> Table:
        """Return all candidates with their figures, the best first."""
        rows = []
        for name, each in sorted(self.tried.items(), key=lambda item: -(item[1].ended or ENDLESS)):
            why = "diverged" if each.rank[0] else "keeps too little" if each.rank[1] else "worse"
            result = f"ended in round {each.ended}: {why}" if each.ended else "goes on"
            found = number(each.distance, 3), percent(each.kept, 1)
            rows.append((name, f"{each.images:,}", f"{each.images * each.cost / self.spent:.0%}", *found, result))
        content = (
            f"Content kept: edges in common with the input; 0 % is what unrelated images share. Below {FLOOR:.0%} a "
            "candidate loses to any that keeps more."
        )
        least = min(each.images for each in self.tried.values())
        short = (
            f"A candidate saw {plural(least, 'image')} alone, which says little: who begins worst may end best. "
            "Give a larger budget, or --no-probe."
        )
        return Table(
            title=f"Probes, {self.direction}",
            columns=("candidate", "images", "of the probes", TITLES[self.measure], "content kept", "result"),
            rows=tuple(rows),
            notes=(*([content] if self.unrelated is not None else []), *([short] if least < ENOUGH else [])),
        )


class Stopped(Exception):
    """A signal, of this number, came during a probe; the same call goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prober:
    """Carries out probes in a folder."""

    folder: Path
    candidates: Mapping[str, RunConfig]
    """Their settings by name."""
    costs: Mapping[str, float]
    """What an image costs each, in the unit of what may be spent."""
    direction: Direction
    say: Callable[[str], None]

    def probe(self, allowed: float) -> Probes:
        """Train and judge until one is left, and spend what is allowed.

        Raises `Stopped`, and `UserError` where all diverge.
        """
        record = self._open()
        each_round = allowed / math.ceil(math.log2(len(self.candidates)))
        while len(left := record.ranking) > 1:
            for name in (name for name in self.candidates if name in left):
                each = record.tried[name]
                if each.rounds < record.round:
                    if not each.target:
                        each.allowed += each_round / len(left)
                        batch = self.candidates[name].training.batch_size * self.candidates[name].training.accumulate
                        each.target = max(1, int(each.allowed / each.cost / batch)) * batch
                        self._keep(record)
                    self._judge(record, name)
                    each.rounds, each.target = record.round, 0
                    self.say(f"Probe {record.round}, {name}: {each.in_words()}")
                    self._keep(record)
            for name in record.ranking[math.ceil(len(left) / 2) :]:
                record.tried[name].ended = record.round
            record.round += 1
            self._keep(record)
        if record.winner.distance is None:
            raise UserError(
                f"the losses of {listing(list(self.candidates))} are not finite any more. Look at the images for "
                f"values outside their range, or give a smaller {option('training.learning_rate')}."
            )
        return record

    def _open(self) -> Probes:
        path = self.folder / RECORD
        if path.is_file():
            return Probes.model_validate_json(path.read_bytes())
        unrelated = unrelated_distance(next(iter(self.candidates.values())), self.direction)
        tried = {name: Tried(cost=self.costs[name]) for name in self.candidates}
        return Probes(direction=self.direction, unrelated=unrelated, tried=tried)

    def _keep(self, record: Probes) -> None:
        write_atomic(self.folder / RECORD, record.model_dump_json(indent=2) + "\n")

    def _judge(self, record: Probes, name: str) -> None:
        """Train a candidate to the end of the round and take down its figures."""
        each, training = record.tried[name], self._training(name, record.tried[name].target)
        outcome = carry_out(self.folder, [training], quiet=True, say=lambda _: None)
        if outcome.signal is not None:
            raise Stopped(outcome.signal)
        each.images = images_done(self.folder, training)
        evaluations = [one["evaluation"] for one in read_metrics(run_of(self.folder, training)) if "evaluation" in one]
        figures = evaluations[-1] if evaluations and not outcome.failed else {}
        if figures:
            record.measure = record.measure or ("kernel" if f"kernel_{self.direction}" in figures else "swd")
        distance = figures.get(f"{record.measure}_{self.direction}")
        edges = figures.get(f"structure_edges_{self.direction}")
        each.distance = None if distance is None or math.isnan(distance) else distance
        each.kept = None if edges is None or not record.unrelated else 1 - edges / record.unrelated

    def _training(self, name: str, images: int) -> Training:
        """Return the training of a candidate up to so many images, at the full learning rate."""
        config = self.candidates[name]
        before = dataclasses.asdict(config.training)
        intervals: dict[str, Any] = {name: ENDLESS for name in INTERVALS if before[name]}
        length = dataclasses.replace(config.training, epochs=ENDLESS, decay_epochs=0, max_images=images, **intervals)
        return Training(
            name=name,
            entry=Entry(label=name, method={"name": config.method}),
            seed=length.seed,
            directions=(self.direction,),
            config=dataclasses.replace(config, training=length),
            own=(),
            not_shared=(),
        )


def unrelated_distance(config: RunConfig, direction: Direction) -> float | None:
    """Return the mean edge distance of inputs and other images of the target, which no translation should reach.

    None where images are neither grey nor RGB, or have sizes of their own.
    """
    dataset = open_dataset(config.data)
    source, target = (dataset.test.of(side) for side in sides(direction))
    if dataset.size is None or not {source.domain.channels, target.domain.channels} <= {1, 3}:
        return None
    places = [evenly(len(images), UNRELATED) for images in (source, target)]
    count = min(map(len, places))
    x, y = (torch.from_numpy(s.signed(p[:count])) for s, p in zip((source, target), places, strict=True))
    return float(edge_distance(as_colour(x), as_colour(y).roll(1, 0)).mean())
