"""Measuring the translators on held-out images while they are trained: a small client of the evaluation engine.

Translations are measured as a user gets them: of whole images at the size of training, of the averages where there are
any, in evaluation mode, in float32, as files hold them. (`unpaired translate` then brings them to the size of the
input, from which measuring at the size of training leads back.) Nothing here draws from the training's random numbers,
so a training with evaluations ends in the same weights as one without.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

import numpy as np
import torch
from torch import nn

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.directions import DIRECTIONS, Side, heading, reverse, sides
from unpaired.data.groups import LEAST_IN_PART, selection_part
from unpaired.data.held_out import evenly
from unpaired.data.source import CentreCropped, ImageSource
from unpaired.data.training import TrainingData
from unpaired.data.values import Domain, Image, Signed, filled, to_signed
from unpaired.evaluation.dataset import Batch, Images, Row, Size, Task
from unpaired.evaluation.engine import Plan, measure, open_reference, plan
from unpaired.evaluation.metrics import METRICS
from unpaired.evaluation.networks import Networks
from unpaired.evaluation.protocol import TRAINING
from unpaired.evaluation.statistics import Reference
from unpaired.evaluation.translations import Translators
from unpaired.metrics.features import Features
from unpaired.models.engines.base import NotFiniteError
from unpaired.models.padding import forward_padded
from unpaired.models.translation import Translation
from unpaired.networks import Generator, Search
from unpaired.training.config import TrainingConfig

MEASURED = ("swd", "colour", "frechet", "kernel", "structure_edges", "l1", "psnr", "ssim", "reconstruction_l1")
"""The metrics that are quick enough; those whose needs are met are logged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one evaluation found."""

    figures: dict[str, float]
    """Metric and direction (`swd_a2b`) -> value; NaN where translations are not finite."""
    seconds: float
    errors: dict[str, float] = field(default_factory=dict)
    """Standard errors of those that have one, by the sampling of images."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Positions of the held-out images that choose the best checkpoint, and of those that are reported on."""

    selection: Mapping[Side, Sequence[int]]
    report: Mapping[Side, Sequence[int]] | None
    """None where all held-out images choose."""


def divided(data: TrainingData, config: TrainingConfig) -> Parts:
    """Divide the held-out images of a training as `training.select_on` says; raises `UserError` where it cannot be."""
    everything: dict[Side, range] = {"a": range(len(data.held_out_a)), "b": range(len(data.held_out_b))}
    chosen = selection_part(data.held_out_groups(), config.evaluate_images)
    if config.select_on == "all" or not config.evaluate_images or not (chosen or config.select_on == "part"):
        return Parts(everything, None)
    rest = {side: sorted({*places} - {*chosen.get(side, ())}) for side, places in everything.items()}
    smallest = min(map(len, (*chosen.values(), *rest.values()))) if chosen else 0
    if smallest >= (LEAST_IN_PART if config.select_on == "auto" else 1):
        return Parts(chosen, rest)
    if config.select_on == "auto":
        return Parts(everything, None)
    raise UserError(
        f"{option('training.select_on', 'part')}: the held-out images cannot be divided, which takes at least two "
        "groups (files, patients) of test images of each domain. Give more test images, or set "
        f"{option('data.held_out')}."
    )


class HeldOut:
    """A run's held-out images, and how far its translators are from them.

    At most `count` images per domain, spread evenly over `places`; the same in every evaluation. Memory does not grow
    with their number. `features` are what `training.evaluate_features` names, None for none; the held-out images pass
    through them at once. Raises `UserError` where they cannot, or where there are fewer than two of a domain.
    """

    def __init__(
        self,
        data: TrainingData,
        count: int,
        device: torch.device,
        features: Features | None = None,
        places: Mapping[Side, Sequence[int]] | None = None,
    ) -> None:
        """`places` are the positions of the images that may be taken; all of them for None."""
        self._device, self._paired = device, data.paired
        self._domains: dict[str, Domain] = {"a": data.domain_a, "b": data.domain_b}
        sources: dict[Side, ImageSource] = {"a": data.held_out_a, "b": data.held_out_b}
        every = {side: range(len(source)) for side, source in sources.items()} if places is None else places
        self._images = {
            side: _images(
                source, self._domains[side], [every[side][i] for i in evenly(len(every[side]), count)], data.size
            )
            for side, source in sources.items()
        }
        self._split = data.held_out_from
        self._networks = Networks(features={} if features is None else {"features": features})
        self._references: dict[str, Reference] = {}
        if features is not None:
            self._require_two()
            with torch.no_grad(), own_random_numbers(device):
                for direction in DIRECTIONS:
                    self._reference(self._plan(direction))

    @property
    def counts(self) -> dict[str, int]:
        """Return how many images of each domain are measured."""
        return {side: len(images.positions) for side, images in self._images.items()}

    @property
    def shortest_side(self) -> int:
        """Return the pixels of the shortest side of all images, which some metrics are too large for."""
        return min(min(images.sizes[place]) for images in self._images.values() for place in images.positions)

    @torch.no_grad()
    def measure(self, translators: Mapping[str, Generator]) -> Measured:
        """Translate every held-out image in all directions and return all that can be measured.

        A translator that searches would take minutes: in its place as many pairs as there are images are rendered from
        always the same noise, and compared with the domain that they belong to.
        """
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what is still to be computed belongs to the training
        begun = time.monotonic()
        figures, errors = dict[str, float](), dict[str, float]()
        with _evaluating(translators.values()), own_random_numbers(self._device):
            for direction in translators:
                chosen = self._plan(direction, translators)
                try:
                    found = measure(chosen, reference=self._reference(chosen)).figures
                except NotFiniteError:
                    figures[f"swd_{direction}"] = math.nan
                    continue
                values = {one.name: one.value for one in found if not one.detail}
                figures |= {f"{name}_{direction}": math.nan if x is None else x for name, x in values.items()}
                errors |= {f"{one.name}_{direction}": one.error for one in found if one.error and not one.detail}
        return Measured(figures, time.monotonic() - begun, errors)

    def _plan(self, direction: str, translators: Mapping[str, Generator] | None = None) -> Plan:
        """Return what is measured of a direction; without translators, of which only the real images are seen."""
        network = (translators or {}).get(direction)
        metrics = [METRICS[name] for name in MEASURED]
        if network is not None and network.search is not None:
            task = replace(
                self._task(direction), inputs=None, rows=(Row(None, None, None),) * self.counts[sides(direction)[1]]
            )
            stream = partial(_generated, network.search, direction, task)
            return plan(task, metrics, networks=self._networks, protocol=TRAINING, stream=stream)
        ways = None if network is None else self._ways(direction, translators or {})
        return plan(self._task(direction), metrics, translators=ways, networks=self._networks, protocol=TRAINING)

    def _task(self, direction: str) -> Task:
        source, target = sides(direction)
        inputs, real = self._images[source], self._images[target]
        partners = real.positions if self._paired else [None] * len(inputs.positions)
        return Task(
            direction=direction,
            heading=heading(direction, self._domains),
            target_name=self._domains[target].title(target),
            inputs=inputs,
            fakes=None,
            real=real,
            rows=tuple(Row(place, None, partner) for place, partner in zip(inputs.positions, partners, strict=True)),
            split=self._split,
        )

    def _ways(self, direction: str, translators: Mapping[str, Generator]) -> Translators:
        source, target = (self._domains[side] for side in sides(direction))
        back = translators.get(reverse(direction))
        return Translators(
            forward=_InTraining(translators[direction], source, target, self._device),
            backward=None if back is None else _InTraining(back, target, source, self._device),
        )

    def _reference(self, chosen: Plan) -> Reference:
        """Return the statistics of a domain's held-out images, gathered once."""
        direction = chosen.task.direction
        if direction not in self._references:
            self._references[direction] = open_reference(chosen, cached=False)
        return self._references[direction]

    def _require_two(self) -> None:
        for domain, count in self.counts.items():
            if count < 2:
                raise UserError(
                    "training.evaluate_features: distances of features need at least 2 held-out images per domain, "
                    f"and {domain.upper()} has {count}. Give more test images, or leave training.evaluate_features out."
                )


@final
class _InTraining:
    """A network of the training as the engine asks a translator; all images of a call have one size."""

    def __init__(self, network: Generator, source: Domain, target: Domain, device: torch.device) -> None:
        self._network, self._source, self._device = network, source, device
        self.target = target

    def translate_images(self, images: Sequence[Image], batch_size: int = 1) -> list[Translation]:
        return self.translate_values([to_signed(image, self._source.range) for image in images], batch_size)

    def translate_values(self, values: Sequence[Signed], batch_size: int = 1) -> list[Translation]:
        seen, missing = zip(*map(filled, values), strict=True)
        images = torch.from_numpy(np.ascontiguousarray(np.stack(seen).transpose(0, 3, 1, 2)))
        made = forward_padded(self._network, images.to(self._device)).float().permute(0, 2, 3, 1).cpu().numpy()
        return [Translation(one, self.target, where) for one, where in zip(made, missing, strict=True)]


def _generated(search: Search, direction: str, task: Task) -> list[Batch]:
    """Return what a search renders from always the same noise, in place of translations."""
    pairs = dict(zip("ab", search.generate(len(task.rows)), strict=True))
    made = pairs[sides(direction)[1]].float()
    if not bool(torch.isfinite(made).all()):
        raise NotFiniteError("what the search renders is not finite")
    images = [Translation(one, task.target).image for one in made.permute(0, 2, 3, 1).cpu().numpy()]
    names = tuple(str(number) for number in range(len(images)))
    batch = Batch(task=task, rows=task.rows, first=0, names=names, fake_images=tuple(images), fake_domain=task.target)
    return [batch]


def _images(source: ImageSource, domain: Domain, places: Sequence[int], cropped: Size | None) -> Images:
    sizes = [cropped or (0, 0)] * len(source)
    if cropped is None or not isinstance(source, CentreCropped):
        for place in places:
            height, width = source[place].shape[:2]
            sizes[place] = height, width
    return Images(source=source, domain=domain, sizes=sizes, positions=tuple(places), prepared="the middle of each")


@contextlib.contextmanager
def _evaluating(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Keep networks in evaluation mode for a while."""
    modes = {network: network.training for network in networks}
    try:
        for network in modes:
            network.eval()
        yield
    finally:
        for network, mode in modes.items():
            network.train(mode)


@contextlib.contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Keep what a user's network may draw from the random numbers of the training."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
