"""What is measured of a translator, image by image: reconstructions after disturbances, spectra, sensitivity.

x is an input, y = G(x) its translation, F the way back, d a disturbance. Measured are |F(d(y)) - x|; |d(x) - x|, what
the same disturbance does to a plain copy of the input; and |F(G(x')) - x| for another image x', the error that is left
when nothing of x comes back (chance). Errors are means over pixels and channels, in levels (1/255 of the range).
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.audit.disturb import (
    DEFAULT_QUALITY,
    LEVEL,
    Disturbance,
    applies_to,
    disturb,
    disturbances_for,
    fits_jpeg,
    jpeg_coded,
)
from unpaired.data.values import Domain
from unpaired.metrics.spectrum import high_frequency_share, radial_spectrum
from unpaired.models.padding import crop_back, pad_to
from unpaired.models.translator import Translator, images_per_batch
from unpaired.networks import Generator
from unpaired.networks.disturbance import blurred

Values = NDArray[np.float64]
"""[N], one value for each image."""
OnProgress = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""

FAINT_SIGMA = 2.0
"""Pixels of the blur that is subtracted from a translation to get its detail."""
FAINT_LEVELS = 2.0
"""Detail is clamped to this many levels, so that it cannot be seen."""
_IMAGES_PER_BATCH = 8


class Images(Protocol):
    """Inputs of one direction, by number."""

    def __len__(self) -> int:
        """Return how many images there are."""
        ...

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1]; all of one size."""
        ...


@dataclass(frozen=True, slots=True)
class Effect:
    """What one disturbance of the translations does."""

    disturbance: Disturbance
    error: Values
    """Mean |F(d(y)) - x| in levels."""
    squared: Values
    """Mean (F(d(y)) - x)^2 in levels^2."""
    change: Values
    """Mean (d(y) - y)^2 in levels^2: how visible the disturbance is."""
    copy: Values | None = None
    """Mean |d(x) - x| in levels; None where x cannot be disturbed so."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What comes back when one kind of detail of a translation is taken from another image's translation."""

    name: Literal["faint", "jpeg"]
    title: str
    """What the detail is."""
    follows: Values
    """Where the reconstruction then lies between the own image's (0) and the other's (1): the projection
    <F(z) - F(y), F(y') - F(y)> / |F(y') - F(y)|^2. NaN where F(y') is F(y)."""
    change: Values
    """Mean squared change of y by the exchange, in levels^2."""
    copy: Values | None = None
    """`follows` of the inputs themselves; None where they cannot be treated so."""


@dataclass(frozen=True, slots=True)
class Reconstructions:
    """Everything that disturbing the translations of one direction showed."""

    effects: list[Effect]
    """The undisturbed translation first."""
    chance: Values | None
    """Mean |F(G(x')) - x| in levels for another image x'; None for a single image."""
    exchanges: list[Exchange]
    """Empty for a single image."""
    notices: list[str]

    @property
    def clean(self) -> Effect:
        """Without any disturbance."""
        return self.effects[0]


def measure(
    forward: Translator, backward: Translator, images: Images, *, seed: int, progress: OnProgress | None = None
) -> Reconstructions:
    """Disturb the translations of all images and bring them back; memory does not grow with their number.

    Raises `UserError` where a network returns NaN or infinity.
    """
    disturbances, notices = disturbances_for(forward.target)
    details = [each for each in _DETAILS if each.fits(forward.target)]
    columns: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for numbers in batches(images):
        x = images.batch(numbers)
        y = forward.translate_tensor(x)
        batch = _Batch(forward, backward, numbers, x, y, backward.translate_tensor(y))
        found = [*_disturbed(batch, disturbances, seed)]
        if len(images) > 1:
            others = images.batch([partner_of(number, len(images)) for number in numbers])
            found += _exchanged(batch, others, details)
        for what, name, values in found:
            columns[what][name].append(values)
        if progress is not None:
            progress(numbers[-1] + 1, len(images))
    known = {what: {name: torch.cat(parts).numpy() for name, parts in each.items()} for what, each in columns.items()}
    return Reconstructions(
        effects=[Effect(each, **known[each.title]) for each in disturbances],
        chance=known[_CHANCE]["error"] if _CHANCE in known else None,
        exchanges=[Exchange(kind.name, kind.title, **known[kind.name]) for kind in details if kind.name in known],
        notices=notices,
    )


_Found = Iterator[tuple[str, str, Tensor]]
"""What was done to the translations, the quantity measured, and its value for each image."""
_CHANCE = "chance"


@dataclass(frozen=True, slots=True)
class _Batch:
    forward: Translator
    backward: Translator
    numbers: list[int]
    x: Tensor
    y: Tensor
    returned: Tensor


def _disturbed(batch: _Batch, disturbances: Sequence[Disturbance], seed: int) -> _Found:
    source, target = batch.forward.source, batch.forward.target
    for each in disturbances:
        disturbed = disturb(batch.y, each, target, batch.numbers, seed)
        back = batch.returned if disturbed is batch.y else batch.backward.translate_tensor(disturbed)
        yield each.title, "error", _mean_error(back, batch.x)
        yield each.title, "squared", _mean_square(back, batch.x)
        yield each.title, "change", _mean_square(disturbed, batch.y)
        if applies_to(each, source):
            yield each.title, "copy", _mean_error(disturb(batch.x, each, source, batch.numbers, seed), batch.x)


def _exchanged(batch: _Batch, other_x: Tensor, details: Sequence[_Detail]) -> _Found:
    other_y = batch.forward.translate_tensor(other_x)
    other = batch.backward.translate_tensor(other_y)
    yield _CHANCE, "error", _mean_error(other, batch.x)
    for kind in details:
        mixed = with_detail_of(batch.y, other_y, kind.detail)
        yield kind.name, "follows", _position_between(batch.backward.translate_tensor(mixed), batch.returned, other)
        yield kind.name, "change", _mean_square(mixed, batch.y)
        if kind.fits(batch.forward.source):
            copied = with_detail_of(batch.x, other_x, kind.detail)
            yield kind.name, "copy", _position_between(copied, batch.x, other_x)


def batches(images: Images) -> list[list[int]]:
    """Return the numbers of all images, in batches that fit into memory."""
    height, width = images.batch([0]).shape[-2:]
    step = images_per_batch(height, width, _IMAGES_PER_BATCH)
    return [list(range(start, min(start + step, len(images)))) for start in range(0, len(images), step)]


def partner_of(number: int, count: int) -> int:
    """Return another image than this one: half the set away, since neighbours are often frames of one film."""
    return (number + max(1, count // 2)) % count


def faint_detail(images: Tensor) -> Tensor:
    """Return what a blur of 2 pixels takes away, clamped to 2 levels: a change of this size cannot be seen."""
    return (images - blurred(images, FAINT_SIGMA)).clamp(-FAINT_LEVELS * LEVEL, FAINT_LEVELS * LEVEL)


def jpeg_detail(images: Tensor) -> Tensor:
    """Return what a JPEG file of quality 75 loses of images with 1 or 3 channels."""
    return images - jpeg_coded(images, DEFAULT_QUALITY)


def with_detail_of(own: Tensor, other: Tensor, detail: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `own` with the detail of `other` in place of its own, in [-1, 1]."""
    return (own - detail(own) + detail(other)).clamp(-1, 1)


@dataclass(frozen=True, slots=True)
class _Detail:
    name: Literal["faint", "jpeg"]
    title: str
    detail: Callable[[Tensor], Tensor]
    fits: Callable[[Domain], bool]


_DETAILS = (
    _Detail("faint", f"detail of at most {FAINT_LEVELS:g} levels", faint_detail, lambda _: True),
    _Detail("jpeg", f"what JPEG of quality {DEFAULT_QUALITY} loses", jpeg_detail, fits_jpeg),
)


def _position_between(reached: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Return where images lie between `own` (0) and `other` (1), by projection; NaN where those agree."""
    way = (other - own).flatten(1).double()
    return ((reached - own).flatten(1).double() * way).sum(1) / (way**2).sum(1)


def _mean_error(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).double() / LEVEL).abs().mean((1, 2, 3))


def _mean_square(one: Tensor, other: Tensor) -> Tensor:
    return ((one - other).double() / LEVEL).square().mean((1, 2, 3))


CUTOFF = 0.5
"""Share of the Nyquist frequency above which frequencies are called high."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The radial power spectrum of a set of images, and the share of each image's energy above half of Nyquist."""

    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    """Mean over the images."""
    high: Values
    """One share for each image; 0 for an image without any variation."""


def spectrum_of(images: Images, translator: Translator | None = None) -> Spectrum:
    """Return the spectrum of images, or of what a translator makes of them."""
    powers, shares, frequencies = [], [], np.zeros(0)
    for numbers in batches(images):
        batch = images.batch(numbers)
        measured = batch if translator is None else translator.translate_tensor(batch)
        found, power = radial_spectrum(measured)
        frequencies = np.asarray(found, np.float64)
        powers.append(np.asarray(power, np.float64) * len(numbers))
        shares.append(high_frequency_share(measured, cutoff=CUTOFF).double())
    return Spectrum(frequencies, np.add.reduce(powers) / len(images), torch.cat(shares).numpy())


STEPS = 10
"""Gradient steps that look for the most effective change."""
DRAWS = 4
"""Random changes that are averaged."""


@dataclass(frozen=True, slots=True)
class Response:
    """Root mean square of the output's change, in levels, for a change of one level in every value of the input."""

    random: Values
    """For random changes, +1 or -1 level at every value."""
    worst: Values
    """For the most effective change found of at most one level at every value."""


def response(translator: Translator, images: Sequence[Tensor], *, seed: int) -> Response:
    """Measure a translator's network in float32 at images [1, C, H, W] in [-1, 1].

    The most effective change is sought by repeated steps e <- sign of the gradient of |G(x + e) - G(x)|^2, the power
    iteration for a change whose largest value is bounded, from a random one (cf. Madry et al. 2018, section 2.1).
    """
    network = translator.network
    if translator.device.type != "cpu":  # the translator's own network stays on the CPU
        network = copy.deepcopy(network).to(translator.device)
    found = [
        _of_image(
            _Probe(network, image.to(translator.device)), torch.Generator().manual_seed(seed * 1_000_003 + number)
        )
        for number, image in enumerate(images)
    ]
    random, worst = zip(*found, strict=True)
    return Response(random=np.sqrt(random), worst=np.sqrt(worst))


class _Probe:
    def __init__(self, network: Generator, image: Tensor) -> None:
        self.image, self._size = pad_to(image, network.size_multiple, network.minimum_size)
        self._network = network
        with torch.no_grad():
            self._before = network(self.image)

    def output_change(self, change: Tensor) -> Tensor:
        """Return the mean squared change of the output, in levels^2, without padding."""
        difference = crop_back(self._network(self.image + change) - self._before, self._size) / LEVEL
        return difference.square().mean()


def _of_image(probe: _Probe, generator: torch.Generator) -> tuple[float, float]:
    """Return the mean squared response to random changes, and to the most effective one that was found."""
    draws = [_signs(probe.image, generator) for _ in range(DRAWS)]
    with torch.no_grad():
        found = [float(probe.output_change(draw)) for draw in draws]
    change, best = draws[0], max(found)
    for _ in range(STEPS):
        value = probe.output_change(change.requires_grad_())
        best = max(best, float(value.detach()))
        (gradient,) = torch.autograd.grad(value, change)
        change = gradient.sign() * LEVEL
    with torch.no_grad():
        best = max(best, float(probe.output_change(change)))
    return sum(found) / DRAWS, best


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return +1 or -1 level at every value, equally likely."""
    signs = torch.randint(0, 2, like.shape, generator=generator).to(like.device, like.dtype)
    return (signs * 2 - 1) * LEVEL
