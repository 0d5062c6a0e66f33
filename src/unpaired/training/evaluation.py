"""Measuring the translators on held-out images while they are trained.

Translations are measured as a user gets them: of the averages where there are any, in evaluation mode, in float32,
rounded to the levels of their files. Nothing here draws from the training's random numbers, so a training with
evaluations ends in the same weights as one without.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.data.held_out import evenly
from unpaired.data.source import CentreCropped, ImageSource
from unpaired.data.training import TrainingData
from unpaired.data.values import Domain, to_signed, value_range
from unpaired.metrics.features import Features
from unpaired.metrics.frechet import factor_of_rows, gaussian_distance
from unpaired.metrics.kernel import kernel_distance
from unpaired.metrics.paired import l1, psnr, ssim
from unpaired.metrics.sliced import Patches, sliced_wasserstein
from unpaired.networks import LatentSearch
from unpaired.training.measures import MEASURES

PATCHES, PROJECTIONS = 64, 128
"""Patches per image and level, and random projections, of the sliced Wasserstein distance: half and a quarter of the
published ones. They are the same in every evaluation, so that evaluations are comparable with one another."""
BATCH_PIXELS = 4 * 256 * 256
"""Images are translated in batches of so many pixels; a larger one by itself."""
MOST_DECIBELS = 100.0
"""What identical images count as in a mean of PSNRs; one level in one value of a 256 x 256 image is 101 dB."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one evaluation found."""

    figures: dict[str, float]
    """Measure and direction (`swd_a2b`, see `unpaired.training.measures`) -> value, NaN where translations are not
    finite."""
    seconds: float


class HeldOut:
    """A run's held-out images, and how far its translators are from what is wanted.

    At most `count` images per domain, spread evenly over all; the same in every evaluation. Memory does not grow with
    their number: images are read when they are needed. Where they keep sizes of their own (`data.preprocess = none`),
    the sliced Wasserstein distance is measured on their middles, all cut to the smallest height and width among them.

    `features` are what `training.evaluate_features` names (see `unpaired.metrics.features`), None for none; the
    held-out images pass through them at once. Raises `UserError` where they cannot, or where there are fewer than two
    of a domain.
    """

    def __init__(self, data: TrainingData, count: int, device: torch.device, features: Features | None = None) -> None:
        self._data, self._device = data, device
        self._sources = {"a": data.held_out_a, "b": data.held_out_b}
        self._domains = {"a": data.domain_a, "b": data.domain_b}
        self._places = {domain: evenly(len(source), count) for domain, source in self._sources.items()}
        self._sizes = {
            domain: [_size(self._sources[domain], place, data.size) for place in places]
            for domain, places in self._places.items()
        }
        sizes = np.array([size for of_domain in self._sizes.values() for size in of_domain])
        self._common = int(sizes[:, 0].min()), int(sizes[:, 1].min())
        self._features = features
        self._real: dict[str, _Gathered] = {}
        if features is not None:
            self._require_two()
            with torch.no_grad(), own_random_numbers(device):
                for domain in self._sources:
                    self._of_held_out(domain)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many images of each domain are measured."""
        return {domain: len(places) for domain, places in self._places.items()}

    @property
    def shortest_side(self) -> int:
        """Return the pixels of the shortest side of all images, which some measures are too large for."""
        return min(self._common)

    @torch.no_grad()
    def measure(self, translators: Mapping[str, nn.Module]) -> Measured:
        """Translate every held-out image in all directions and return all that can be measured.

        A translator that searches for a latent vector would take minutes: in its place as many pairs as there are
        images are rendered from always the same noise, and compared with the domain that they belong to.
        """
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what is still to be computed belongs to the training
        begun = time.monotonic()
        figures: dict[str, float] = {}
        with _evaluating(translators.values()), own_random_numbers(self._device):
            for direction, network in translators.items():
                source, target = direction.split("2")
                if isinstance(network, LatentSearch):
                    found = self._of_generated(network, target)
                else:
                    found = self._of_direction(network, translators.get(f"{target}2{source}"), source, target)
                figures |= {f"{name}_{direction}": value for name, value in found.items()}
        return Measured(figures, time.monotonic() - begun)

    # ------------------------------------------------------------------------------------------------------- details

    def _of_direction(self, network: nn.Module, back: nn.Module | None, source: str, target: str) -> dict[str, float]:
        gathered = self._gather()
        values: dict[str, list[Tensor]] = {}

        def note(name: str, of_images: Tensor) -> None:
            values.setdefault(name, []).append(of_images.double().cpu())

        for numbers in self._batches(source):
            images = self._read(source, numbers)
            # `forward`: networks that are compiled for training batches are not compiled again for these.
            outputs = rounded(network.forward(images), self._domains[target])
            if not bool(torch.isfinite(outputs).all()):
                return {"swd": math.nan}
            gathered.add(outputs)
            if self._data.paired:
                wanted = self._read(target, numbers)
                note("l1", l1(outputs, wanted))
                note("psnr", psnr(outputs, wanted).clamp(max=MOST_DECIBELS))
                if self._can("ssim"):
                    note("ssim", ssim(outputs, wanted))
            if back is not None:
                returned = rounded(back.forward(outputs), self._domains[source])
                note(
                    "reconstruction_l1", l1(returned, images) if bool(torch.isfinite(returned).all()) else _nan(images)
                )
        means = {name: float(torch.cat(parts).mean()) for name, parts in values.items()}
        return gathered.distances(self._of_held_out(target)) | means

    def _of_generated(self, search: LatentSearch, target: str) -> dict[str, float]:
        pairs = dict(zip("ab", search.generate(len(self._places[target])), strict=True))
        outputs = rounded(pairs[target], self._domains[target])
        if not bool(torch.isfinite(outputs).all()):
            return {"swd": math.nan}
        gathered = self._gather()
        gathered.add(outputs)
        return gathered.distances(self._of_held_out(target))

    def _can(self, measure: str) -> bool:
        return self.shortest_side >= MEASURES[measure].smallest

    def _gather(self) -> _Gathered:
        return _Gathered(self._common if self._can("swd") else None, self._features)

    def _of_held_out(self, domain: str) -> _Gathered:
        """Return what is gathered of a domain's held-out images, once."""
        if domain not in self._real:
            self._real[domain] = self._gather()
            for numbers in self._batches(domain):
                self._real[domain].add(self._read(domain, numbers))
        return self._real[domain]

    def _require_two(self) -> None:
        for domain, count in self.counts.items():
            if count < 2:
                raise UserError(
                    "training.evaluate_features: distances of features need at least 2 held-out images per domain, "
                    f"and {domain.upper()} has {count}. Give more test images, or leave training.evaluate_features out."
                )

    def _batches(self, domain: str) -> Iterator[list[int]]:
        """Yield the numbers of all images, those of one size that stand together as one batch."""
        batch: list[int] = []
        sizes = self._sizes[domain]
        for number, (height, width) in enumerate(sizes):
            full = (len(batch) + 1) * height * width > BATCH_PIXELS
            if batch and (full or sizes[batch[-1]] != (height, width)):
                yield batch
                batch = []
            batch.append(number)
        yield batch

    def _read(self, domain: str, numbers: Sequence[int]) -> Tensor:
        """Return images, [N, C, H, W] in [-1, 1] on the device."""
        stored = [self._sources[domain][self._places[domain][number]] for number in numbers]
        signed = np.stack([to_signed(image, self._domains[domain].range) for image in stored])
        return torch.from_numpy(np.ascontiguousarray(signed.transpose(0, 3, 1, 2))).to(self._device)


class _Gathered:
    """What the distances between two sets of images need of each: patches of their middles, and features.

    `cut` is the (height, width) of the middles; None gathers no patches.
    """

    def __init__(self, cut: tuple[int, int] | None, features: Features | None) -> None:
        self._cut, self._features = cut, features
        self._patches = Patches(per_image=PATCHES)
        self._rows: list[Tensor] = []

    def add(self, images: Tensor) -> None:
        """Take in images [N, C, H, W] of one size."""
        if self._cut is not None:
            height, width = self._cut
            top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
            self._patches.add(images[..., top : top + height, left : left + width])
        if self._features is not None:
            self._rows.append(self._features(images))

    def distances(self, real: _Gathered) -> dict[str, float]:
        """Return the distances from the real images."""
        figures: dict[str, float] = {}
        if self._cut is not None:
            figures["swd"] = sliced_wasserstein(real._patches, self._patches, projections=PROJECTIONS).mean
        if self._features is not None:
            x, y = (torch.cat(each._rows).double().numpy() for each in (real, self))
            # From the rows: with fewer images than features, that is the same and quicker than from covariances.
            factors = factor_of_rows(x), factor_of_rows(y)
            figures["frechet"] = gaussian_distance(x.mean(0), factors[0], y.mean(0), factors[1])
            figures["kernel"] = kernel_distance(x, y).value
        return figures


def rounded(images: Tensor, domain: Domain) -> Tensor:
    """Return images in [-1, 1] as a file of their domain holds them, float32.

    It is what `from_signed` and `to_signed` make of them, on any device; what is not finite stays so.
    """
    signed, dtype = images.float().clamp(-1, 1), np.dtype(domain.dtype)
    if dtype.kind not in "iu":
        return signed
    low, high = value_range(dtype, domain.range)
    bounds, half = np.iinfo(dtype), (high - low) / 2
    levels = ((signed + 1) * half + low).round().clamp(int(bounds.min), int(bounds.max))
    return ((levels - low) / half - 1).clamp(-1, 1)


def _size(source: ImageSource, place: int, cropped: tuple[int, int] | None) -> tuple[int, int]:
    if cropped is not None and isinstance(source, CentreCropped):
        return cropped  # without reading it
    height, width = source[place].shape[:2]
    return height, width


def _nan(images: Tensor) -> Tensor:
    return torch.full((len(images),), math.nan)


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
