"""Short trainings of a few candidates, judged on held-out images: in every round those that are clearly worse end.

Successive halving (Jamieson and Talwalkar 2016), which needs evidence to drop a candidate: who begins worst may end
best. Each of the ceil(log2 n) rounds spends an equal part, shared equally by the candidates that are left, and a
training goes on where the round before it ended. Every round is judged at half of the images and at the end. Where
probes cannot tell candidates apart, the first of them is taken, which is the rules' choice. The trainings are those of
a comparison, the figures those of their own evaluations. A probe has the full learning rate, so that it can be the
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
"""Steps of every candidate, before which probes tell nothing (docs/auto.md)."""
DOUBT = 2.0
"""Standard errors of a difference up to which two distances are not distinguished."""
SWD_ERROR = 0.05
"""Stands for the standard error of SWD, relative, which evaluations during training do not measure."""
ENDLESS = 1_000_000
"""Epochs at the full learning rate, while the length of the real run is not known."""
INTERVALS = ("sample_every_images", "checkpoint_every_images")
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
    error: float = 0.0
    """Standard error of the distance."""
    half: tuple[float | None, float | None] = (None, None)
    """Distance and content kept when it had seen half of the images."""
    ended: int = 0
    """The round after which it ended; 0 for one that is still in."""

    @property
    def keeps_little(self) -> bool:
        """Whether its translations have less of their inputs than `FLOOR`."""
        return self.kept is not None and self.kept < FLOOR

    def beats(self, other: Tried) -> bool:
        """Whether the other one is worse beyond doubt: it diverged, keeps too little content and no more than at half
        of its images, or its distance is larger by more than the error and has not come nearer since then."""
        if self.distance is None or other.distance is None:
            return self.distance is not None
        if self.keeps_little != other.keeps_little:
            before = other.half[1]
            if self.keeps_little or before is None or (other.kept or 0.0) <= before:
                return other.keeps_little
        lead, early = other.distance - self.distance, (other.half[0], self.half[0])
        before = lead if early[0] is None or early[1] is None else early[0] - early[1]
        return lead > DOUBT * math.hypot(self.error, other.error) and lead >= before

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
    def left(self) -> list[str]:
        """The candidates that are still in, in their order."""
        return [name for name, each in self.tried.items() if not each.ended]

    @property
    def winner(self) -> Tried:
        """The first of those that are still in."""
        return self.tried[self.left[0]]

    def reason(self) -> str:
        """Say why the winner won, with its figures and those of the others."""
        if not self.measure:
            return f"the rules' choice: the budget is too short for probes of {plural(ENOUGH, 'step')}"
        doubt = f"probes cannot tell {listing(self.left)} apart, and rules choose; " if len(self.left) > 1 else ""
        others = [f"{name} {each.in_words()}" for name, each in self.tried.items() if each is not self.winner]
        return f"{doubt}{TITLES[self.measure]} of {self.direction} {self.winner.in_words()}; {'; '.join(others)}"

    def table(self) -> Table:
        """Return all candidates with their figures, the winner first."""
        rows = []
        for name, each in sorted(self.tried.items(), key=lambda item: -(item[1].ended or ENDLESS)):
            why = "diverged" if each.distance is None else "keeps too little" if each.keeps_little else "worse"
            result = f"ended in round {each.ended}: {why}" if each.ended else "cannot be told apart from it"
            result = "goes on" if each is self.winner else result
            found = number(each.distance, 3), percent(each.kept, 1)
            rows.append((name, f"{each.images:,}", f"{each.images * each.cost / self.spent:.0%}", *found, result))
        content = (
            f"Content kept: edges in common with the input; 0 % is what unrelated images share. Below {FLOOR:.0%}, and "
            "not rising, a candidate loses to any that keeps more."
        )
        return Table(
            title=f"Probes, {self.direction}",
            columns=("candidate", "images", "of the probes", TITLES[self.measure], "content kept", "result"),
            rows=tuple(rows),
            notes=(content,) if self.unrelated is not None else (),
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

    @property
    def least(self) -> float:
        """What all candidates spend in `ENOUGH` steps."""
        return sum(ENOUGH * self._batch(name) * self.costs[name] for name in self.candidates)

    def probe(self, allowed: float) -> Probes:
        """Train and judge until one is left or what is allowed is spent; nothing is done where that is too little.

        Raises `Stopped`, and `UserError` where all diverge.
        """
        record = self._open()
        if allowed < self.least:
            self.say(f"No probes: {plural(ENOUGH, 'step')} of each candidate take more than their share of the budget.")
            return record
        rounds = min(math.ceil(math.log2(len(self.candidates))), int(allowed / self.least))
        while record.round <= rounds and len(left := record.left) > 1:
            for name in left:
                each = record.tried[name]
                if each.rounds < record.round:
                    if not each.target:
                        each.allowed += allowed / rounds / len(left)
                        each.target = max(1, int(each.allowed / each.cost / self._batch(name))) * self._batch(name)
                        self._keep(record)
                    self._judge(record, name)
                    each.rounds, each.target = record.round, 0
                    self.say(f"Probe {record.round}, {name}: {each.in_words()}")
                    self._keep(record)
            still = [record.tried[name] for name in left]
            for beaten in [each for each in still if any(one.beats(each) for one in still)]:
                beaten.ended = record.round
            record.round += 1
            self._keep(record)
        if record.winner.distance is None:
            raise UserError(
                f"the losses of {listing(list(self.candidates))} are not finite any more. Look at the images for "
                f"values outside their range, or give a smaller {option('training.learning_rate')}."
            )
        return record

    def _batch(self, name: str) -> int:
        """Return the images of a step."""
        return self.candidates[name].training.batch_size * self.candidates[name].training.accumulate

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
        log = [one for one in read_metrics(run_of(self.folder, training)) if "evaluation" in one]
        if not log or outcome.failed:
            each.distance = each.kept = None
            return
        half = min(log[:-1], key=lambda one: abs(one["images"] - each.images / 2), default=log[-1])
        record.measure = record.measure or next(
            name for name in TITLES if f"{name}_{self.direction}" in log[-1]["evaluation"]
        )
        each.half = self._found(record, half["evaluation"])
        each.distance, each.kept = self._found(record, log[-1]["evaluation"])
        error = log[-1].get("errors", {}).get(f"{record.measure}_{self.direction}")
        each.error = SWD_ERROR * (each.distance or 0.0) if error is None else error

    def _found(self, record: Probes, figures: Mapping[str, float | None]) -> tuple[float | None, float | None]:
        """Return distance and content kept of an evaluation."""
        distance = figures.get(f"{record.measure}_{self.direction}")
        edges = figures.get(f"structure_edges_{self.direction}")
        kept = None if edges is None or not record.unrelated else 1 - edges / record.unrelated
        return None if distance is None or math.isnan(distance) else distance, kept

    def _training(self, name: str, images: int) -> Training:
        """Return the training of a candidate up to so many images, at the full learning rate."""
        config = self.candidates[name]
        before = dataclasses.asdict(config.training)
        intervals: dict[str, Any] = {name: ENDLESS for name in INTERVALS if before[name]}
        intervals["evaluate_every_images"] = -(-images // 2)
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
